"""What UserAndJobState (UJS) says of jobs, and is told of them: a thin layer over EE2's methods.

Source: kbase/user_and_job_state (``userandjobstate.spec``).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from packhorse.domain.errors import InvalidRequest, NotFound
from packhorse.domain.kbase import OVER, Status, task_of, truth
from packhorse.engine.requests.kbase.notes import Notes, change_notes, notes_of, read_notes
from packhorse.engine.requests.kbase.service import KBaseCaller
from packhorse.engine.requests.kbase.states import State
from packhorse.store.kbase.jobs import reported_of

SERVICE = "packhorse"
WORKSPACE, _DEFAULT = "kbaseworkspace", "DEFAULT"
_STAGES = {
    Status.RUNNING: "started",
    Status.COMPLETED: "completed",
    Status.ERROR: "error",
    Status.TERMINATED: "canceled",
}
#: Letters of a filter → the stages of the jobs that it asks for.
_FILTERS = {"R": ("created", "started"), "C": ("completed",), "N": ("canceled",), "E": ("error",)}
_MOST_LISTED = 1000  # jobs, the newest
_MOST_WORKSPACES = 10  # that one list is of, as UJS says
_STATUS, _DESCRIPTION, _ERROR = 200, 1000, 100_000  # characters, as UJS says
_TYPES = ("none", "task", "percent")


class UjsCaller:
    """UJS's methods for one caller."""

    def __init__(self, caller: KBaseCaller) -> None:
        self._caller = caller
        self._database = caller.kbase.context.database

    # --- reading ------------------------------------------------------------

    def status(self, job: Any) -> tuple[Any, ...]:
        """(last update, stage, status, progress, estimate of the end, complete, error)."""
        return self.status_of(self.state(job), self.notes(job))

    def description(self, job: Any) -> tuple[Any, ...]:
        """(service, type of progress, its most, description, when it was started)."""
        state, notes = self.state(job), self.notes(job)
        return (
            SERVICE,
            notes.get("ptype", "none"),
            notes.get("max"),
            _described(state, notes),
            _time(state.get("running")),
        )

    def results(self, job: Any) -> Any:
        """Where the results are, as whoever completed the job said it; else its output."""
        notes = self.notes(job)
        return notes.get("results") or _results_of(self.state(job))

    def error(self, job: Any) -> str | None:
        """The whole error of a job that failed."""
        state = self.state(job)
        error = state.get("error")
        return str(error.get("error") or error.get("message")) if isinstance(error, dict) else state.get("errormsg")

    def info(self, job: Any, *, old: bool = False) -> tuple[Any, ...]:
        """job_info2, or its older form."""
        return self._info(self.state(job), self.notes(job), old=old)

    def _info(self, state: State, notes: Notes, *, old: bool) -> tuple[Any, ...]:
        job = state["job_id"]
        last, stage, status, progress, est, complete, error = self.status_of(state, notes)
        most, ptype, described, results = (
            notes.get("max"),
            notes.get("ptype", "none"),
            _described(state, notes),
            notes.get("results"),
        )
        started = _time(state.get("running"))
        if old:
            return (
                job,
                SERVICE,
                stage,
                started,
                status,
                last,
                progress,
                most,
                ptype,
                est,
                complete,
                error,
                described,
                results,
            )
        workspace = state.get("wsid")
        auth = (WORKSPACE, str(workspace)) if workspace is not None else (_DEFAULT, _DEFAULT)
        meta = state.get("job_input", {}).get("narrative_cell_info", {})
        ended_by = state["user"] if state["status"] == Status.TERMINATED else None
        users, times, how = (state["user"], ended_by), (started, last, est), (progress, most, ptype)
        return (job, users, SERVICE, stage, status, times, how, complete, error, auth, meta, described, results)

    def owner(self, job: Any) -> str:
        """Whose job it is."""
        return str(self.state(job)["user"])

    def shared(self, job: Any) -> list[str]:
        """With whom a job is shared: rights come from workspaces."""
        self.state(job)
        return []

    def jobs(self, services: Any, wanted: Any) -> list[tuple[Any, ...]]:
        """One's own jobs that belong to no workspace, newest first, as job_info."""
        return self._listed(services, wanted, self._caller.own_jobs(_MOST_LISTED), old=True)

    def jobs2(self, said: Any) -> list[tuple[Any, ...]]:
        """Those, or those of workspaces, as job_info2."""
        strategy, asked = said.get("authstrat") or _DEFAULT, said.get("authparams") or []
        if strategy == _DEFAULT:
            found = self._caller.own_jobs(_MOST_LISTED)
        elif strategy != WORKSPACE:
            raise InvalidRequest(f"Invalid authorization strategy: {str(strategy)[:60]}")
        elif not isinstance(asked, list) or not 0 < len(asked) <= _MOST_WORKSPACES:
            raise InvalidRequest(f"'authparams' must be a list of 1 to {_MOST_WORKSPACES} workspace ids")
        else:
            listed = [self._caller.check_workspace_jobs({"workspace_id": one, "return_list": 0}) for one in asked]
            found = [state for states in listed for state in reversed(states.values())]
        return self._listed(said.get("services"), said.get("filter"), found, old=False)

    def services(self) -> list[str]:
        """Who reports jobs here."""
        return [SERVICE] if self._caller.own_jobs(_MOST_LISTED) else []

    def _listed(self, services: Any, wanted: Any, states: Iterable[State], *, old: bool) -> list[tuple[Any, ...]]:
        if not isinstance(services, list | None) or not isinstance(wanted, str | None):
            raise InvalidRequest("The services must be a list, and the filter a string")
        if services and SERVICE not in services:
            return []
        stages = [stage for letter in wanted or "" for stage in _FILTERS.get(letter, ())]
        found = [one for one in states if not stages or _stage(one) in stages][:_MOST_LISTED]
        with self._database.read() as connection:
            reported = reported_of(connection, [task_of(one["job_id"]) for one in found])
        return [self._info(one, notes_of(reported.get(task_of(one["job_id"]))), old=old) for one in found]

    # --- keys and values ------------------------------------------------------------

    @staticmethod
    def get_state(service: Any, key: Any, authed: Any) -> Any:
        """There is never one. Raises NotFound."""
        how = "" if truth(authed) else "un"
        raise NotFound(f"There is no key {str(key)[:60]} for the {how}authorized service {str(service)[:60]}")

    # --- reporting ------------------------------------------------------------

    def start(self, job: Any, _token: Any, status: Any, description: Any, progress: Any, est: Any) -> None:
        """A job has begun: what it says of itself, and how its progress is counted."""
        how = progress if isinstance(progress, dict) else {}
        ptype = how.get("ptype", "none")
        if ptype not in _TYPES:
            raise InvalidRequest(f"Illegal progress type: {str(ptype)[:60]}")
        most = 100 if ptype == "percent" else _whole(how.get("max"), "max") if ptype == "task" else None
        self._caller.start_job({"job_id": job})
        told = {"ptype": ptype, "max": most, "desc": _short(description, _DESCRIPTION, "description"), "progress": 0}
        self._note(job, status, est, told)

    def update(self, job: Any, _token: Any, status: Any, progress: Any, est: Any) -> None:
        """How far a job is: ``progress`` is added to what it was."""
        more = 0 if progress is None else _whole(progress, "progress")
        self._note(job, status, est, {}, more)

    def complete(self, job: Any, _token: Any, status: Any, error: Any, results: Any) -> None:
        """A job is over, with its results, or with an error."""
        state = self.state(job)
        if results is not None and not isinstance(results, dict):
            raise InvalidRequest("The results must be a mapping")
        told = {"results": results} if results else {}
        self._note(job, status, None, told)
        if Status(state["status"]) in OVER:
            return
        if error is not None:
            text = _short(error, _ERROR, "error")
            shape = {"code": -32000, "name": "Server error", "message": str(status or "error"), "error": text}
            self._caller.finish_job(
                {"job_id": job, "error_message": str(status or text), "error_code": 1, "error": shape}
            )
        else:
            self._caller.finish_job({"job_id": job, "job_output": {"version": "1.1", "id": job, "result": [results]}})

    def cancel(self, job: Any, status: Any) -> None:
        """Ends a job, which says ``status`` of that."""
        self._note(job, status, None, {})
        self._caller.cancel_job({"job_id": job})

    # --- parts ------------------------------------------------------------

    def _note(self, job: Any, status: Any, est: Any, told: Notes, more: int = 0) -> None:
        said = {"status": _short(status, _STATUS, "status"), **told, **({"est": str(est)[:100]} if est else {})}
        task = self._caller.task_to_change(job)

        def change(notes: Notes) -> None:
            notes.update(said)
            if more:
                notes["progress"] = int(notes.get("progress") or 0) + more

        change_notes(self._database, task, change)

    def state(self, job: Any) -> State:
        """EE2's state of a job. Raises InvalidRequest where the caller may not see it."""
        state = self._caller.check_job({"job_id": job})
        if "failure" in state:
            raise InvalidRequest(state["failure"])
        return state

    def notes(self, job: Any) -> Notes:
        """What was reported of a job's progress."""
        return read_notes(self._database, self._caller.task_to_read(job))

    def status_of(self, state: State, notes: Notes) -> tuple[Any, ...]:
        """UJS's status of a job, of EE2's state."""
        status = Status(state["status"])
        over, failed = status in OVER, status is Status.ERROR
        words = (
            notes.get("status")
            or state.get("errormsg")
            or ("canceled" if status is Status.TERMINATED else status.value)
        )
        progress = notes.get("max") if over and notes.get("max") is not None else notes.get("progress")
        return (
            _time(state["updated"]),
            _stage(state),
            words[:_STATUS],
            progress,
            notes.get("est"),
            int(over),
            int(failed),
        )


def _stage(state: State) -> str:
    return _STAGES.get(Status(state["status"]), "created")


def _described(state: State, notes: Notes) -> str:
    return notes.get("desc") or f"Execution engine job for {state.get('job_input', {}).get('method', 'a batch')}"


def _results_of(state: State) -> Any:
    output = state.get("job_output")
    return (
        None
        if output is None
        else {"results": [], "workspaceids": [], "shocknodes": [], "job_output": output.get("result")}
    )


def _short(text: Any, limit: int, name: str) -> str | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidRequest(f"The {name} must be a string")
    if len(text) > limit:
        raise InvalidRequest(f"The {name} exceeds the maximum length of {limit}")
    return text


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise InvalidRequest(f"The {name} must be an integer of 0 or more")
    return value


def _time(ms: int | None) -> str | None:
    """As KBase's services write times."""
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
