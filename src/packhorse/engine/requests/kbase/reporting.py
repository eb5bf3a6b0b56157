"""What is reported of jobs, and ends them: started, finished, canceled, no more counted by a batch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from packhorse.domain.errors import InvalidRequest, TooLarge
from packhorse.domain.failures import FailureClass
from packhorse.domain.kbase import (
    OVER,
    ErrorCode,
    Status,
    TerminatedCode,
    cannot_finish,
    cannot_start,
    not_found,
    task_of,
)
from packhorse.domain.states import ACTIVE, TaskState
from packhorse.domain.text import holdable_value, kept_json, value_problem
from packhorse.engine.requests.cancel import cancel_tasks
from packhorse.engine.requests.kbase.access import Access
from packhorse.engine.requests.kbase.context import KBaseContext
from packhorse.engine.requests.kbase.lookup import Lookup
from packhorse.engine.requests.kbase.notes import with_those_below
from packhorse.engine.requests.kbase.states import State, status_of
from packhorse.store.chunks import chunks
from packhorse.store.kbase.jobs import load_jobs, report, reported_of
from packhorse.store.kbase.runs import BATCH_INDEX
from packhorse.store.moves import Move, apply_moves, lock_tasks
from packhorse.store.schema import TASKS_PER_RUN

MAX_OUTPUT_BYTES = 15_000_000
_MISSING = "Missing job output required in order to successfully finish job. Something went wrong"
_HELD = "Job was terminated by automation due to an unexpected error. Please resubmit."
#: What is reported of a job that its scheduler holds.
HELD: Mapping[str, Any] = {
    "error_message": "Job was held",
    "error_code": ErrorCode.TERMINATED_BY_AUTOMATION.value,
    "error": {
        "code": ErrorCode.TERMINATED_BY_AUTOMATION.value,
        "name": "Job was held",
        "message": _HELD,
        "error": _HELD,
    },
}
_LATER = ACTIVE - {TaskState.CANCELING}


class Reporting:
    """What changes jobs, for one caller."""

    def __init__(self, context: KBaseContext, access: Access, lookup: Lookup) -> None:
        self._context = context
        self._access = access
        self._lookup = lookup

    def start_job(self, job: Any, *, as_admin: bool) -> None:
        """A job was started; once more for the same attempt changes nothing. Raises Conflict for one that is over."""
        with self._context.database.write() as connection:
            task, _ = self._required(connection, job, as_admin=as_admin)
            row, reported, status = self._status(connection, task, job)
            if status in OVER:
                raise cannot_start(job, status)
            if reported is None or reported.started != row.attempt:
                report(connection, [task], {"started": row.attempt, "started_at": time.time()})

    def update_job_status(self, job: Any, status: Any, *, as_admin: bool) -> str:
        """A status that somebody says a job has: taken where it is true, or leads there; else it is refused, since
        the states of tasks are the engine's.
        """
        words = [one.value for one in Status]
        if status not in words:
            raise InvalidRequest(f"{str(status)[:60]} is not a valid status {words}")
        if status == Status.RUNNING:
            self.start_job(job, as_admin=as_admin)
        elif status == Status.TERMINATED:
            self.cancel_job(job, None, as_admin=as_admin)
        else:
            with self._context.database.read() as connection:
                task, _ = self._required(connection, job, as_admin=as_admin)
                _, _, now = self._status(connection, task, job)
            begin = (Status.CREATED, Status.ESTIMATING, Status.QUEUED)
            if now != status and not (now in begin and status in begin):
                hint = "A job is finished by finish_job, and ended by cancel_job."
                raise InvalidRequest(f"The job {job} is {now}, and cannot be made {status}.", hint=hint)
        return str(job)

    def finish_job(self, job: Any, said: Mapping[str, Any], *, as_admin: bool) -> None:
        """The result of a job, or why it has none. Raises Conflict for one that is over."""
        output, message, code = said.get("job_output"), said.get("error_message"), _error_code(said.get("error_code"))
        error = said.get("error")
        if (why := value_problem(dict(said), "params")) is not None:
            raise InvalidRequest(f"{why}.")
        now = time.time()
        with self._context.database.write() as connection:
            task, _ = self._required(connection, job, as_admin=as_admin)
            current = lock_tasks(connection, [task])
            _, _, status = self._status(connection, task, job)
            if status in OVER:
                raise cannot_finish(status)
            if message or output is None:
                told = str(message or _MISSING)
                default = ErrorCode.CRASHED if message else ErrorCode.MISSING_OUTPUT
                end: dict[str, Any] = {"failure": FailureClass.APP, "reason": told, "ended_at": now}
                values = {"error_code": default.value if code is None else code, "errormsg": told}
                report(connection, [task], {**values, "error": kept_json(holdable_value(error)) if error else None})
                target = TaskState.EXECUTOR_ERROR
            else:
                end = {"failure": None, "reason": None, "ended_at": now, "result": _kept_output(output)}
                target = TaskState.COMPLETE
            moves = [Move(task, state, now, "It was reported.") for state in _way(current[task].state, target)]
            moves[-1].changes = end
            apply_moves(connection, moves, current)
        self._context.wake()

    def cancel_job(self, job: Any, code: Any, *, as_admin: bool) -> None:
        """Ends a job, or all of a batch, and what they have started; what is over stays as it is."""
        code = _terminated_code(code)
        with self._context.database.write() as connection:
            task, run = self._access.require(connection, job, write=True, as_admin=as_admin)
            if task % TASKS_PER_RUN == BATCH_INDEX:
                if not run.batch:
                    raise not_found(job)
                tasks = self._lookup.children(connection, run)
                report(connection, [task], {"terminated_code": code, "terminated_at": time.time()})
                code = TerminatedCode.BATCH_ABORT.value  # of its jobs
            else:
                tasks = [task]
            rows = list(load_jobs(connection, set(with_those_below(connection, tasks)), params=False, result=False))
            if not rows:
                raise not_found(job)
            active = [row.id for row in rows if row.state in _LATER]
            report(connection, active, {"terminated_code": code, "terminated_at": time.time()})
            for some in chunks(active):
                cancel_tasks(connection, some, f"Canceled by {self._access.caller.name}.")
        self._context.wake()

    def abandon_children(self, batch: Any, children: Any, *, as_admin: bool) -> State:
        """A batch does not count some of its jobs any more."""
        if not batch:
            raise InvalidRequest("Please provide valid batch_id")
        if not isinstance(children, list) or not children:
            raise InvalidRequest("Please provide job_ids of children to abandon")
        asked = {str(one): task_of(one) for one in children}
        with self._context.database.write() as connection:
            parent, run = self._access.require(connection, batch, write=True, as_admin=as_admin)
            if parent % TASKS_PER_RUN != BATCH_INDEX or not run.batch:
                raise InvalidRequest(f"{batch} is not a batch job")
            there = set(self._lookup.children(connection, run))
            if wrong := [one for one, task in asked.items() if task not in there]:
                raise InvalidRequest(f"Couldn't find {wrong[0]} in {[str(one) for one in children[:20]]}")
            report(connection, list(asked.values()), {"abandoned": True})
        states = self._lookup.by_id([batch], self._access, (), as_admin=as_admin)
        return {"batch_id": str(batch), "child_job_ids": states[str(batch)]["child_jobs"]}

    # --- parts ------------------------------------------------------------

    def _required(self, connection: sa.Connection, job: Any, *, as_admin: bool) -> tuple[int, Any]:
        task, run = self._access.require(connection, job, write=True, as_admin=as_admin)
        if task % TASKS_PER_RUN == BATCH_INDEX:
            raise InvalidRequest("The job stands for a batch: it is as its children are")
        return task, run

    def _status(self, connection: sa.Connection, task: int, job: str) -> tuple[Any, Any, Status]:
        rows = list(load_jobs(connection, {task}, params=False, result=False))
        if not rows:
            raise not_found(job)
        reported = reported_of(connection, [task]).get(task)
        return rows[0], reported, status_of(rows[0].state, reported, rows[0].attempt)


def _way(state: TaskState, target: TaskState) -> list[TaskState]:
    """The transitions that lead from a state to an end."""
    if state is TaskState.RUNNING or (state is TaskState.QUEUED and target is TaskState.COMPLETE):
        return [target]
    if state is TaskState.QUEUED:
        return [TaskState.INITIALIZING, TaskState.RUNNING, target]
    return [TaskState.RUNNING, target]


def _kept_output(output: Any) -> str:
    if not isinstance(output, dict) or "result" not in output:
        raise InvalidRequest("job_output must be a mapping with a 'result'")
    text = kept_json(output)
    if len(text) > MAX_OUTPUT_BYTES:
        raise TooLarge(
            f"The output is larger than {MAX_OUTPUT_BYTES:,} bytes.", hint="Keep large results in a data store."
        )
    return text


def _error_code(code: Any) -> int | None:
    codes = [one.value for one in ErrorCode]
    if code is not None and (isinstance(code, bool) or code not in codes):
        raise InvalidRequest(f"{str(code)[:60]} is not a valid ErrorCode {codes}")
    return code


def _terminated_code(code: Any) -> int:
    codes = [one.value for one in TerminatedCode]
    if code is None:
        return TerminatedCode.USER.value
    if isinstance(code, bool) or code not in codes:
        raise InvalidRequest(f"{str(code)[:60]} is not a valid TerminatedCode {codes}")
    return int(code)
