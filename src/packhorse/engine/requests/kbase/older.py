"""What the services before EE2 say of jobs: NarrativeJobService (NJS) and UserAndJobState (UJS), made of EE2's states.

Sources: kbase/njs_wrapper (``NJSWrapper.spec``), kbase/user_and_job_state (``userandjobstate.spec``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.kbase import OVER, Status, truth
from packhorse.engine.requests.kbase.notes import Notes, change_notes, read_notes
from packhorse.engine.requests.kbase.service import KBaseCaller
from packhorse.engine.requests.kbase.states import State

SERVICE = "packhorse"
_NJS_WORDS = {
    Status.RUNNING: "in-progress",
    Status.CREATED: "queued",
    Status.ESTIMATING: "queued",
    Status.QUEUED: "queued",
}
_STAGES = {Status.RUNNING: "started", Status.COMPLETED: "completed", Status.ERROR: "error", Status.TERMINATED: "error"}
_STATUS, _DESCRIPTION, _ERROR = 200, 1000, 100_000  # characters, as UJS says
_TYPES = ("none", "task", "percent")


class OlderCaller:
    """NJS's and UJS's methods for one caller: a thin layer over EE2's."""

    def __init__(self, caller: KBaseCaller) -> None:
        self._caller = caller
        self._database = caller.kbase.context.database

    # --- NJS ------------------------------------------------------------

    def njs_job(self, job: Any) -> State:
        """NJS's JobState."""
        return self._njs(self._state(job), self._task_notes(job))

    def njs_jobs(self, said: Mapping[str, Any]) -> State:
        """Those of several, with their parameters where these are wanted; errors by id."""
        jobs = said.get("job_ids")
        if not isinstance(jobs, list):
            raise InvalidRequest("'job_ids' must be a list of job ids")
        states = self._caller.job_states(jobs)
        good = {job: state for job, state in states.items() if "failure" not in state}
        wrong = {job: state["failure"] for job, state in states.items() if "failure" in state}
        found: State = {"job_states": {job: self._njs(state, self._task_notes(job)) for job, state in good.items()}}
        if truth(said.get("with_job_params")):
            found["job_params"] = {job: self.njs_params(job)[0] for job in good}
        if wrong:
            found["check_error"] = {
                job: {"code": -32000, "name": "Server error", "message": why, "error": why}
                for job, why in wrong.items()
            }
        return found

    def njs_params(self, job: Any) -> tuple[State, State]:
        """(RunJobParams, configuration)."""
        asked = self._caller.get_job_params({"job_id": job})
        return {name: value for name, value in asked.items() if value is not None}, {}

    def njs_finish(self, job: Any, said: Mapping[str, Any]) -> None:
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

    def _njs(self, state: State, notes: Notes) -> State:
        status = Status(state["status"])
        over = status in OVER
        word = "suspend" if status in (Status.ERROR, Status.TERMINATED) else "completed" if over else _NJS_WORDS[status]
        found: State = {
            "job_id": state["job_id"],
            "finished": int(over),
            "canceled": int(status is Status.TERMINATED),
            "ujs_url": "",
            "status": list(self._ujs_status(state, notes)),
            "job_state": word,
            "creation_time": state["created"],
        }
        names = {"running": "exec_start_time", "finished": "finish_time", "error": "error"}
        found |= {theirs: state[ours] for ours, theirs in names.items() if ours in state}
        if status is Status.COMPLETED and "job_output" in state:
            found["result"] = state["job_output"].get("result")
        return found

    # --- UJS: reading ------------------------------------------------------------

    def ujs_status(self, job: Any) -> tuple[Any, ...]:
        """(last update, stage, status, progress, estimate of the end, complete, error)."""
        return self._ujs_status(self._state(job), self._task_notes(job))

    def ujs_description(self, job: Any) -> tuple[Any, ...]:
        """(service, type of progress, its most, description, when it was started)."""
        state, notes = self._state(job), self._task_notes(job)
        return (
            SERVICE,
            notes.get("ptype", "none"),
            notes.get("max"),
            _described(state, notes),
            _time(state.get("running")),
        )

    def ujs_results(self, job: Any) -> Any:
        """Where the results are, as whoever completed the job said it; else its output."""
        notes = self._task_notes(job)
        return notes.get("results") or _results_of(self._state(job))

    def ujs_error(self, job: Any) -> str | None:
        """The whole error of a job that failed."""
        state = self._state(job)
        error = state.get("error")
        return str(error.get("error") or error.get("message")) if isinstance(error, dict) else state.get("errormsg")

    def ujs_info(self, job: Any, *, old: bool = False) -> tuple[Any, ...]:
        """job_info2, or its older form."""
        state, notes = self._state(job), self._task_notes(job)
        last, stage, status, progress, est, complete, error = self._ujs_status(state, notes)
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
        auth = ("kbaseworkspace", str(workspace)) if workspace is not None else ("DEFAULT", "DEFAULT")
        meta = state.get("job_input", {}).get("narrative_cell_info", {})
        times, how = (started, last, est), (progress, most, ptype)
        return (job, SERVICE, stage, status, times, how, complete, error, auth, meta, described, results)

    def ujs_owner(self, job: Any) -> str:
        """Whose job it is."""
        return str(self._state(job)["user"])

    def ujs_shared(self, job: Any) -> list[str]:
        """With whom a job is shared: rights come from workspaces."""
        self._state(job)
        return []

    # --- UJS: reporting ------------------------------------------------------------

    def ujs_start(self, job: Any, _token: Any, status: Any, description: Any, progress: Any, est: Any) -> None:
        """A job has begun: what it says of itself, and how its progress is counted."""
        how = progress if isinstance(progress, dict) else {}
        ptype = how.get("ptype", "none")
        if ptype not in _TYPES:
            raise InvalidRequest(f"Illegal progress type: {str(ptype)[:60]}")
        most = 100 if ptype == "percent" else _whole(how.get("max"), "max") if ptype == "task" else None
        self._caller.start_job({"job_id": job})
        told = {"ptype": ptype, "max": most, "desc": _short(description, _DESCRIPTION, "description"), "progress": 0}
        self._note(job, status, est, told)

    def ujs_update(self, job: Any, _token: Any, status: Any, progress: Any, est: Any) -> None:
        """How far a job is: ``progress`` is added to what it was."""
        more = 0 if progress is None else _whole(progress, "progress")
        self._note(job, status, est, {}, more)

    def ujs_complete(self, job: Any, _token: Any, status: Any, error: Any, results: Any) -> None:
        """A job is over, with its results, or with an error."""
        state = self._state(job)
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

    # --- parts ------------------------------------------------------------

    def _note(self, job: Any, status: Any, est: Any, told: Notes, more: int = 0) -> None:
        said = {"status": _short(status, _STATUS, "status"), **told, **({"est": str(est)[:100]} if est else {})}
        task = self._caller.task_to_change(job)

        def change(notes: Notes) -> None:
            notes.update(said)
            if more:
                notes["progress"] = int(notes.get("progress") or 0) + more

        change_notes(self._database, task, change)

    def _state(self, job: Any) -> State:
        state = self._caller.check_job({"job_id": job})
        if "failure" in state:
            raise InvalidRequest(state["failure"])
        return state

    def _task_notes(self, job: Any) -> Notes:
        return read_notes(self._database, self._caller.task_to_read(job))

    def _ujs_status(self, state: State, notes: Notes) -> tuple[Any, ...]:
        status = Status(state["status"])
        over, failed = status in OVER, status in (Status.ERROR, Status.TERMINATED)
        words = (
            notes.get("status")
            or state.get("errormsg")
            or ("canceled" if status is Status.TERMINATED else status.value)
        )
        progress = notes.get("max") if over and notes.get("max") is not None else notes.get("progress")
        stage = _STAGES.get(status, "created")
        return (_time(state["updated"]), stage, words[:_STATUS], progress, notes.get("est"), int(over), int(failed))


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
