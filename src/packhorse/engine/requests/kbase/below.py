"""Jobs that a running job starts below its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from packhorse.domain.errors import InvalidRequest, TooLarge
from packhorse.domain.kbase import OVER, Status, module_of
from packhorse.domain.text import kept_json, value_problem
from packhorse.engine.requests.kbase.notes import Notes, change_notes, read_notes
from packhorse.engine.requests.kbase.service import KBase, KBaseCaller
from packhorse.engine.requests.kbase.states import State
from packhorse.store.kbase.jobs import load_jobs
from packhorse.store.schema import TASKS_PER_RUN

MAX_BELOW = 10_000  # that one job starts
_MAX_PROVENANCE = 1_000_000
_DESCRIPTION = "KBase SDK method run via the KBase Execution Engine"


@dataclass(frozen=True, slots=True)
class JobBelow:
    """What a running job may ask for: to start others, what became of them, and its own provenance."""

    kbase: KBase
    caller: KBaseCaller
    task: int
    run: Any

    @classmethod
    def of(cls, kbase: KBase, secret: str, task: int) -> JobBelow:
        """The job that a secret belongs to. Raises NotFound."""
        caller, of, run = kbase.of_job(secret, task)
        return cls(kbase, caller, of, run)

    def start(self, asked: Any) -> str:
        """Starts a job; its id."""
        if len(self._notes().get("below", ())) >= MAX_BELOW:
            raise TooLarge(f"A job may start {MAX_BELOW:,} others.")
        started = self.caller.running.run_below(self.task, self.run, asked, self._shared())
        method = self.kbase.context.methods.find(asked["method"], asked.get("service_ver"))
        name = module_of(asked["method"])[0]
        entry = {"name": name, "ver": method.app.manifest.version, "code_url": "", "commit": method.about.git_commit}

        def add(notes: Notes) -> None:
            notes.setdefault("below", []).append(started)
            if entry not in (actions := notes.setdefault("subactions", [])):
                actions.append(entry)

        change_notes(self.kbase.context.database, self.task, add)
        return started

    def check(self, job: Any) -> State:
        """What became of a job that this one has started."""
        if job not in self._notes().get("below", ()):
            raise InvalidRequest(f"The job {str(job)[:60]} was not started by this one")
        state = self.caller.check_job({"job_id": job, "exclude_fields": ["job_input"]})
        if state["status"] not in OVER:
            return {"finished": 0}
        if state["status"] == Status.COMPLETED:
            return {"finished": 1, "result": state["job_output"]["result"]}
        told = state.get("error") or {"code": -32000, "name": "Server error", "error": ""}
        message = told.get("message") or state.get("errormsg") or f"The job {job} is {state['status']}"
        return {"finished": 1, "error": {**told, "message": message}}

    def provenance(self) -> list[Any]:
        """What a job says of how the data came to be that it makes."""
        notes = self._notes()
        if "provenance" in notes:
            return [notes["provenance"]]
        with self.kbase.context.database.read() as connection:
            [row] = load_jobs(connection, {self.task}, params=True, result=False)
            common = self.kbase.context.steps.of(connection, row.step_seq).spec.params
        stored = json.loads(row.params)
        module, function = module_of(stored["method"])
        return [
            {
                "time": datetime.fromtimestamp(self.run.created_at, UTC).replace(microsecond=0).isoformat(),
                "service": module,
                "service_ver": common.get("service_ver"),
                "method": function,
                "method_params": stored["params"],
                "input_ws_objects": stored.get("source_ws_objects", []),
                "subactions": notes.get("subactions", []),
                "description": _DESCRIPTION,
            }
        ]

    def set_provenance(self, said: Any) -> list[Any]:
        """The same, as the job has it."""
        if not isinstance(said, dict) or (why := value_problem(said)) is not None:
            raise InvalidRequest("The provenance must be a mapping" if not isinstance(said, dict) else f"{why}.")
        if len(kept_json(said)) > _MAX_PROVENANCE:
            raise TooLarge(f"The provenance is larger than {_MAX_PROVENANCE:,} bytes.")
        change_notes(self.kbase.context.database, self.task, lambda notes: notes.update(provenance=said))
        return [said]

    # --- parts ------------------------------------------------------------

    def _shared(self) -> str:
        with self.kbase.context.database.read() as connection:
            [row] = load_jobs(connection, {self.task}, params=True, result=False)
            step = self.kbase.context.steps.of(connection, row.step_seq)
        folder = self.kbase.context.sites_by_name[step.row.site].output_folder(self.run.id, self.task % TASKS_PER_RUN)
        return str(json.loads(row.params).get("shared") or f"{folder}.shared")

    def _notes(self) -> Notes:
        return read_notes(self.kbase.context.database, self.task)
