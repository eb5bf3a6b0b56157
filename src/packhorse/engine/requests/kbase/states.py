"""What clients are shown of jobs: EE2's JobState, made of tasks and of what was reported of them. Pure."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.kbase import OVER, STATUS, Status, TerminatedCode, error_code, job_id
from packhorse.domain.states import ACTIVE, AT_SITE, TaskState
from packhorse.domain.text import shown_json
from packhorse.engine.steps.kbase import message_of
from packhorse.store.schema import TASKS_PER_RUN

_AUTHSTRAT = "kbaseworkspace"
_SCHEDULER = "packhorse"
#: As KBase's own runner says it.
_NO_OUTPUT = "No output generated"

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """A job's task, its run, and what was reported of it, if anything was; ``retries`` are rows of its retries, and
    ``is_undecided`` says that it waits for the decision of what it is granted.
    """

    task: Any
    run: Any
    reported: Any | None
    retries: Sequence[Any] = ()
    is_undecided: bool = False


def is_fresh(task: Any) -> bool:
    """Whether a task has not been tried yet, and waits for nothing but its turn."""
    return task.state == TaskState.QUEUED and not task.attempt and not task.waiting_on


def status_of(state: str, reported: Any | None, attempt: int) -> Status:
    """The word for where a job is: one that was reported as started runs, also where its agent has not said so yet."""
    status = STATUS[TaskState(state)]
    started = reported is not None and reported.started == attempt and state in AT_SITE
    return Status.RUNNING if status is Status.QUEUED and started else status


def job_state(known: Known, common: Mapping[str, Any], exclude: Collection[str]) -> State:
    """The JobState of a job; ``common`` is what its step says of all of its jobs (``StepSpec.params``)."""
    task, run, reported = known.task, known.run, known.reported
    status = status_of(task.state, reported, task.attempt)
    if status is Status.QUEUED and known.is_undecided:
        status = Status.ESTIMATING
    created = _ms(run.created_at)
    state: State = {
        "job_id": job_id(task.id, run.created_at),
        "user": run.user,
        "authstrat": _AUTHSTRAT,
        "wsid": run.wsid,
        "status": status.value,
        "created": created,
        "queued": created,
        "updated": created,
        "batch_job": False,
        "batch_id": batch_of(run, reported),
        "child_jobs": [],
        "retry_ids": [job_id(row.run_seq * TASKS_PER_RUN, row.created_at) for row in known.retries],
        "retry_count": len(known.retries),
        "retry_saved_toggle": run.retry_of is not None,
        "scheduler_type": _SCHEDULER,
        "scheduler_id": public_task_id(run.id, task.id % TASKS_PER_RUN),
        "condor_job_ads": {},
    }
    if status is Status.ESTIMATING:
        state["estimating"] = state.pop("queued")
    if run.retry_of is not None:
        state["retry_parent"] = retry_parent_of(run)
    began = task.started_at or (reported.started_at if reported is not None else None)
    if began and status in (Status.RUNNING, *OVER):
        state["running"] = state["updated"] = _ms(began)
    if status in OVER:
        _add_end(state, status, task, reported)
    if status is Status.COMPLETED and task.result is not None and "job_output" not in exclude:
        state["job_output"] = shown_json(task.result)
    if "job_input" not in exclude:
        state["job_input"] = job_input(json.loads(task.params), common, run.wsid)
    for name in exclude:
        state.pop(name, None)
    return state


def _add_end(state: State, status: Status, task: Any, reported: Any | None) -> None:
    ended = task.ended_at or (reported.terminated_at if reported is not None else None)
    if ended is not None:
        state["finished"] = state["updated"] = _ms(ended)
    if status is Status.TERMINATED:
        code = reported.terminated_code if reported is not None else None
        state["terminated_code"] = TerminatedCode.USER.value if code is None else code
        state["msg"] = task.reason or ""
    elif status is Status.ERROR:
        state |= error_of(task, reported)


def error_of(task: Any, reported: Any | None) -> State:
    """``errormsg``, ``error_code`` and ``error`` of a job that failed."""
    if reported is not None and (reported.error_code is not None or reported.errormsg is not None):
        told: State = {"error_code": reported.error_code, "errormsg": reported.errormsg or ""}
        return {**told, "error": shown_json(reported.error)} if reported.error else told
    output = shown_json(task.result) if task.result else None
    said = output.get("error") if isinstance(output, dict) else None
    code = error_code(task.failure, has_output=output is not None)
    if said:
        shape = {"code": -32000, "name": "Server error", "message": "", "error": ""}
        error = {**shape, **said} if isinstance(said, dict) else {**shape, "message": str(said)}
        return {"error_code": code.value, "errormsg": message_of(said), "error": error}
    reason = task.reason or "It failed, and nothing is known of why."
    name = _NO_OUTPUT if task.failure == "app" else f"The job failed: {str(task.failure).replace('_', ' ')}"
    return {
        "error_code": code.value,
        "errormsg": reason,
        "error": {"code": -32601, "name": name, "message": reason, "error": reason},
    }


def job_input(stored: Mapping[str, Any], common: Mapping[str, Any], wsid: int | None) -> State:
    """What a job was asked for with."""
    asked = common.get("requirements", {})
    found: State = {
        "wsid": wsid,
        "method": stored["method"],
        "params": stored["params"],
        "service_ver": common.get("service_ver"),
        "app_id": stored.get("app_id"),
        "source_ws_objects": stored.get("source_ws_objects", []),
        "requirements": {
            "clientgroup": asked.get("clientgroup"),
            "cpu": asked.get("cpus"),
            "memory": asked.get("memory"),
            "disk": asked.get("disk"),
        },
        "narrative_cell_info": stored.get("meta", {}),
    }
    if stored.get("parent_job_id"):
        found["parent_job_id"] = stored["parent_job_id"]
    return found


def batch_state(
    run: Any, children: Sequence[str], counts: Mapping[TaskState, int], reported: Any | None, exclude: Collection[str]
) -> State:
    """The JobState of the job that stands for a batch: it is over when its children are."""
    status = batch_status(counts)
    created = _ms(run.created_at)
    meta = json.loads(run.meta)
    state: State = {
        "job_id": job_id(run.run_seq * TASKS_PER_RUN + TASKS_PER_RUN - 1, run.created_at),
        "user": run.user,
        "authstrat": _AUTHSTRAT,
        "wsid": run.wsid,
        "status": status.value,
        "created": created,
        "queued": created,
        "updated": created,
        "batch_job": True,
        "batch_id": None,
        "child_jobs": list(children),
        "retry_ids": [],
        "retry_count": 0,
        "retry_saved_toggle": False,
        "job_input": {
            "wsid": run.wsid,
            "method": "batch",
            "params": [],
            "service_ver": "batch",
            "app_id": "batch",
            "source_ws_objects": [],
            "narrative_cell_info": meta.get("cell", {}),
        },
    }
    if status in OVER:
        ended = run.ended_at or time.time()
        state["finished"] = state["updated"] = _ms(ended)
    if status is Status.TERMINATED:
        code = reported.terminated_code if reported is not None else None
        state["terminated_code"] = TerminatedCode.USER.value if code is None else code
    for name in exclude:
        state.pop(name, None)
    return state


def batch_status(counts: Mapping[TaskState, int]) -> Status:
    """The word for a batch whose children are in these states."""
    there = {state for state, number in counts.items() if number}
    if there & (ACTIVE - {TaskState.CANCELING}):
        begun = there - {TaskState.QUEUED, TaskState.INITIALIZING}
        return Status.RUNNING if begun else Status.QUEUED
    words = {STATUS[state] for state in there}
    if Status.COMPLETED in words or not words:
        return Status.COMPLETED
    return Status.ERROR if Status.ERROR in words else Status.TERMINATED


def batch_of(run: Any, reported: Any | None) -> str | None:
    """The job that stands for the batch of a job."""
    if reported is not None and reported.abandoned:
        return None
    if run.batch:
        return job_id(run.run_seq * TASKS_PER_RUN + TASKS_PER_RUN - 1, run.created_at)
    return json.loads(run.meta).get("batch_id") if run.batch_seq is not None else None


def retry_parent_of(run: Any) -> str | None:
    """The job that the only one of a run tries again."""
    return None if run.retry_of is None else str(json.loads(run.meta)["retry_parent"])


def _ms(at: float) -> int:
    return int(at * 1000)
