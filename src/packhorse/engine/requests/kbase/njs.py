"""What NarrativeJobService (NJS) says of jobs and of apps of several jobs: a thin layer over EE2's methods.

Source: kbase/njs_wrapper (``NJSWrapper.spec``), as it was when it still ran apps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from packhorse.domain.errors import InvalidRequest, NotFound
from packhorse.domain.kbase import OVER, Status, truth
from packhorse.domain.njs import app_of, app_state
from packhorse.engine.requests.kbase.notes import Notes
from packhorse.engine.requests.kbase.service import KBaseCaller
from packhorse.engine.requests.kbase.states import State
from packhorse.engine.requests.kbase.ujs import UjsCaller
from packhorse.store.kbase.runs import BATCH_INDEX, runs_made, sizes_of
from packhorse.store.schema import TASKS_PER_RUN

_WORDS = {
    Status.RUNNING: "in-progress",
    Status.CREATED: "queued",
    Status.ESTIMATING: "queued",
    Status.QUEUED: "queued",
}
_MOST_LISTED = 1000  # runs, the newest, among which apps are looked for


class NjsCaller:
    """NJS's methods for one caller."""

    def __init__(self, caller: KBaseCaller) -> None:
        self._caller = caller
        self._ujs = UjsCaller(caller)
        self._database = caller.kbase.context.database

    # --- jobs ------------------------------------------------------------

    def update_job(self, said: Mapping[str, Any]) -> State:
        """Whether a job has started; there is never anything to be told of that."""
        if truth(said.get("is_started")):
            self._caller.start_job({"job_id": said.get("job_id")})
        else:
            self._caller.task_to_change(said.get("job_id"))
        return {"messages": []}

    def list_job_statuses(self, wsid: Any) -> list[State]:
        """The JobStates of a workspace."""
        states = self._caller.check_workspace_jobs({"workspace_id": wsid, "return_list": 0})
        return [self._shown(state, self._ujs.notes(job)) for job, state in states.items()]

    def check_job(self, job: Any) -> State:
        """NJS's JobState."""
        return self._shown(self._ujs.state(job), self._ujs.notes(job))

    def check_jobs(self, said: Mapping[str, Any]) -> State:
        """Those of several, with their parameters where these are wanted; errors by id."""
        jobs = said.get("job_ids")
        if not isinstance(jobs, list):
            raise InvalidRequest("'job_ids' must be a list of job ids")
        states = self._caller.job_states(jobs)
        good = {job: state for job, state in states.items() if "failure" not in state}
        wrong = {job: state["failure"] for job, state in states.items() if "failure" in state}
        found: State = {"job_states": {job: self._shown(state, self._ujs.notes(job)) for job, state in good.items()}}
        if truth(said.get("with_job_params")):
            found["job_params"] = {job: self.get_job_params(job)[0] for job in good}
        if wrong:
            found["check_error"] = {
                job: {"code": -32000, "name": "Server error", "message": why, "error": why}
                for job, why in wrong.items()
            }
        return found

    def get_job_params(self, job: Any) -> tuple[State, State]:
        """(RunJobParams, configuration)."""
        asked = self._caller.get_job_params({"job_id": job})
        return {name: value for name, value in asked.items() if value is not None}, {}

    def finish_job(self, job: Any, said: Mapping[str, Any]) -> None:
        """A result, an error, or that the job was canceled."""
        if truth(said.get("is_cancelled") or said.get("is_canceled")):
            self._caller.cancel_job({"job_id": job})
        elif (error := said.get("error")) is not None:
            message = error.get("message") if isinstance(error, dict) else error
            self._caller.finish_job(
                {"job_id": job, "error_message": str(message or "error"), "error_code": 1, "error": error}
            )
        else:
            output = None if said.get("result") is None else {"version": "1.1", "id": job, "result": said["result"]}
            self._caller.finish_job({"job_id": job, "job_output": output})

    def _shown(self, state: State, notes: Notes) -> State:
        status = Status(state["status"])
        over = status in OVER
        word = "suspend" if status in (Status.ERROR, Status.TERMINATED) else "completed" if over else _WORDS[status]
        found: State = {
            "job_id": state["job_id"],
            "finished": int(over),
            "canceled": int(status is Status.TERMINATED),
            "ujs_url": "",
            "status": list(self._ujs.status_of(state, notes)),
            "job_state": word,
            "creation_time": state["created"],
        }
        names = {"running": "exec_start_time", "finished": "finish_time", "error": "error"}
        found |= {theirs: state[ours] for ours, theirs in names.items() if ours in state}
        if status is Status.COMPLETED and "job_output" in state:
            found["result"] = state["job_output"].get("result")
        return found

    # --- apps ------------------------------------------------------------

    def run_app(self, document: Any) -> State:
        """Starts an app: each of its steps begins when the one before is done."""
        app = app_of(document)
        return self.check_app_state(self._caller.running.run_in_order(app.requests, {"app": app.kept}))

    def check_app_state(self, job: Any) -> State:
        """How far an app is. Raises NotFound for a job that is none."""
        run, app = self._app(job)
        with self._database.read() as connection:
            number = sizes_of(connection, [run.run_seq])[run.run_seq]
        order = json.loads(run.meta).get("order") or range(number)
        first = run.run_seq * TASKS_PER_RUN
        states = self._caller.kbase.lookup.states([first + index for index in order], {run.run_seq: run}, ())
        return app_state(str(job), app, [states[first + index] for index in order])

    def delete_app(self, job: Any) -> str:
        """Ends an app."""
        self._app(job)
        self._caller.cancel_job({"job_id": job})
        return f"App {job} was marked for deletion"

    def list_running_apps(self) -> list[State]:
        """Those of one's own that are not over."""
        with self._database.read() as connection:
            now = time.time() + 1
            runs = runs_made(connection, self._caller.caller.name, 0, now, _MOST_LISTED, ascending=False)
        apps = [row for row in runs if row.ended_at is None and "app" in json.loads(row.meta)]
        return [self.check_app_state(self._caller.job_of_run(row)) for row in apps]

    def _app(self, job: Any) -> tuple[Any, Mapping[str, Any]]:
        """(its run, what is kept of it)."""
        task, run = self._caller.run_to_read(job)
        app = json.loads(run.meta).get("app")
        if app is None or task % TASKS_PER_RUN != (BATCH_INDEX if run.batch else 0):
            raise NotFound("Information is not available", hint=f"The job {job} is no app: ask check_job for it.")
        return run, app


def cannot_pause(*_: Any) -> Any:
    """Neither did NJS, for apps of this kind. Raises InvalidRequest."""
    hint = "'delete_app' ends an app; what its steps have left stays."
    raise InvalidRequest("This function is not supported for service calling APPs", hint=hint)
