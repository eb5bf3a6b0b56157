"""What jobs of KBase's execution engine (EE2) are: their ids, statuses, codes, and what a request for one says. Pure.

Source: kbase/execution_engine2 (``execution_engine2.spec`` and the models of its database).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from packhorse.domain.errors import Conflict, InvalidRequest, NotAllowed, NotFound
from packhorse.domain.failures import FailureClass
from packhorse.domain.states import FAILED, TaskState
from packhorse.domain.text import value_problem

_ID = re.compile(r"[0-9a-fA-F]{24}")
_METHOD = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)\.([A-Za-z_][A-Za-z0-9_]*)")
MAX_WSID = (1 << 63) - 1
MAX_JOB_BYTES = 1_000_000  # of the parameters of one job

#: The user who may ask for what they like, without being an admin, and the client group of their jobs.
CONCIERGE, CONCIERGE_GROUP = "kbaseconcierge", "concierge"

#: What a narrative's cell says of itself.
META = ("run_id", "token_id", "tag", "cell_id", "status")


class Status(StrEnum):
    """The seven words that clients know."""

    CREATED = "created"
    ESTIMATING = "estimating"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    ERROR = "error"
    TERMINATED = "terminated"


OVER = frozenset({Status.COMPLETED, Status.ERROR, Status.TERMINATED})


class ErrorCode(IntEnum):
    """Why a job is in error."""

    UNKNOWN = 0
    CRASHED = 1
    TERMINATED_BY_AUTOMATION = 2
    OVER_TIMELIMIT = 3
    MISSING_OUTPUT = 4
    TOKEN_EXPIRED = 5
    SUBMIT_ISSUE = 6


class TerminatedCode(IntEnum):
    """Who ended a job."""

    USER = 0
    ADMIN = 1
    AUTOMATION = 2
    BATCH_ABORT = 3
    SERVER_FAILURE = 4


#: A task's state → the word for it. One whose cancel is under way is over: a cancel is final.
STATUS: dict[TaskState, Status] = {
    TaskState.QUEUED: Status.QUEUED,
    TaskState.INITIALIZING: Status.QUEUED,
    TaskState.RUNNING: Status.RUNNING,
    TaskState.COMPLETE: Status.COMPLETED,
    TaskState.CANCELING: Status.TERMINATED,
    TaskState.CANCELED: Status.TERMINATED,
    **dict.fromkeys(FAILED, Status.ERROR),
}

_CODES: dict[FailureClass, ErrorCode] = {
    FailureClass.OUT_OF_TIME: ErrorCode.OVER_TIMELIMIT,
    FailureClass.NODE_LOST: ErrorCode.TERMINATED_BY_AUTOMATION,
    FailureClass.PREEMPTED: ErrorCode.TERMINATED_BY_AUTOMATION,
    FailureClass.SCHEDULER: ErrorCode.SUBMIT_ISSUE,
    FailureClass.NO_SITE: ErrorCode.SUBMIT_ISSUE,
}


def error_code(failure: str | None, *, has_output: bool) -> ErrorCode:
    """The code of a task that failed with a class; ``has_output``: it left an output document, if only of an error."""
    if failure == FailureClass.APP:
        return ErrorCode.CRASHED if has_output else ErrorCode.MISSING_OUTPUT
    return _CODES.get(FailureClass(failure), ErrorCode.CRASHED) if failure else ErrorCode.UNKNOWN


# --- ids ------------------------------------------------------------
#
# An id is that of a document in MongoDB: 24 hexadecimal digits, of which the first eight are the second in which it was
# made. The other sixteen are the task's own id, so that no table has to say which is which; of the job that stands for
# a batch, it is one that no task has: a run's last index.

_WORD = 1 << 64


def job_id(task: int, created_at: float) -> str:
    """The id of a job whose run was made at ``created_at``, in seconds since the epoch."""
    return f"{int(created_at) & 0xFFFFFFFF:08x}{task:016x}"


def task_of(text: Any) -> int:
    """The task that an id names, if it is one of ours. Raises InvalidRequest for what is no id."""
    if not isinstance(text, str) or _ID.fullmatch(text) is None:
        shown = text[:60] if isinstance(text, str) else text if isinstance(text, int | float | None) else "..."
        raise InvalidRequest(
            f"'{shown}' is not a valid ObjectId, it must be a 12-byte input or a 24-character hex string"
        )
    task = int(text[8:], 16)
    return task if task < _WORD >> 1 else 0  # no database has a larger one


# --- requests ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JobRequest:
    """RunJobParams, checked: what is asked for of one job."""

    method: str
    params: list[Any]
    app_id: str | None = None
    service_ver: str | None = None
    source_ws_objects: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)
    wsid: int | None = None
    parent_job_id: str | None = None
    requirements: dict[str, Any] = field(default_factory=dict)
    """What the request itself asks for, which only an admin may."""
    as_admin: bool = False
    call_stack: list[Any] = field(default_factory=list)

    def stored(self) -> dict[str, Any]:
        """What is kept of it with its task."""
        told = {
            "method": self.method,
            "params": self.params,
            "app_id": self.app_id,
            "wsid": self.wsid,
            "parent_job_id": self.parent_job_id,
            "source_ws_objects": self.source_ws_objects,
            "meta": self.meta,
            "call_stack": self.call_stack,
        }
        return {name: value for name, value in told.items() if value not in (None, [], {}) or name == "params"}


def job_request(document: Any) -> JobRequest:
    """RunJobParams of a request. Raises InvalidRequest in EE2's words where it has some."""
    if not isinstance(document, dict):
        raise InvalidRequest("params must be a mapping of RunJobParams")
    if why := value_problem(document, "params"):
        raise InvalidRequest(f"{why}.")
    method = document.get("method")
    if not isinstance(method, str) or not method.strip():
        raise InvalidRequest("Missing input parameter: method ID")
    module_of(method)
    params = document.get("params")
    if params is not None and not isinstance(params, list):
        raise InvalidRequest("'params' must be a list")
    rpc = _mapping(document, "rpc_context")
    stack = rpc.get("call_stack") or []
    return JobRequest(
        method=method,
        params=params or [],
        app_id=_text(document, "app_id"),
        service_ver=_text(document, "service_ver"),
        source_ws_objects=_texts(document, "source_ws_objects"),
        meta={
            name: str(value) for name, value in _mapping(document, "meta").items() if name in META and value is not None
        },
        wsid=wsid_of(document.get("wsid")),
        parent_job_id=_text(document, "parent_job_id"),
        requirements=requirements_of(_mapping(document, "job_requirements")),
        as_admin=truth(document.get("as_admin")),
        call_stack=stack if isinstance(stack, list) else [],
    )


def module_of(method: str) -> tuple[str, str]:
    """('kb_uploadmethods.import', …) → (module, function). Raises InvalidRequest."""
    match = _METHOD.fullmatch(method)
    if match is None:
        raise InvalidRequest(f"Unrecognized method: '{method[:200]}'. Please input module_name.function_name")
    return match[1], match[2]


def wsid_of(value: Any) -> int | None:
    """A workspace's number; None where none is given. Raises InvalidRequest."""
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_WSID:
        raise InvalidRequest("wsid must be an integer > 0")
    return value


_WHOLE = {"request_cpus": "cpus", "request_memory": "memory", "request_disk": "disk"}


def requirements_of(given: Mapping[str, Any], source: str = "job requirements") -> dict[str, Any]:
    """What ``job_requirements`` ask for: cpus, memory (MB), disk (GB), clientgroup. Raises InvalidRequest, which names
    their ``source``.
    """
    found: dict[str, Any] = {}
    if given.get("scheduler_requirements"):
        hint = "Leave them out. The client groups of the configuration say which queue their jobs go to."
        raise InvalidRequest(
            "'scheduler_requirements' are words of another scheduler's, which nobody reads here.", hint=hint
        )
    for name, ours in _WHOLE.items():
        value = given.get(name)
        if value is None:
            continue
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:12])
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 1_000_000_000:
            raise InvalidRequest(f"Found illegal {name} request '{str(given[name])[:60]}' in {source}")
        found[ours] = value
    if (group := given.get("client_group")) is not None:
        if not isinstance(group, str) or not 0 < len(group) <= 100:
            raise InvalidRequest(f"client_group in {source} must be a name")
        found["clientgroup"] = group
    return found


def concierge_requirements(given: Any) -> dict[str, Any]:
    """What ``ConciergeParams`` ask for, in the same words. Raises InvalidRequest."""
    if not isinstance(given, Mapping):
        raise InvalidRequest("concierge_params must be a mapping")
    listed = given.get("requirements_list") or []
    if not isinstance(listed, list):
        raise InvalidRequest("requirements_list must be a list")
    if wrong := [one for one in listed if not isinstance(one, str) or "=" not in one]:
        raise InvalidRequest(f"Found illegal requirement in requirements_list: {str(wrong[0])[:60]}")
    said = {"request_cpus": given.get("request_cpu"), **given, "scheduler_requirements": listed}
    return {"clientgroup": CONCIERGE_GROUP, **requirements_of(said, "concierge parameters")}


def truth(value: Any) -> bool:
    """A boolean as KBase's clients write it: 0 and 1, their texts, or a boolean."""
    if value is None:
        return False
    if isinstance(value, str):
        if value.lower() in ("true", "1"):
            return True
        if value.lower() in ("false", "0", ""):
            return False
    elif isinstance(value, bool | int):
        return bool(value)
    raise InvalidRequest(f"Expected a boolean, 0 or 1, not {str(value)[:60]!r}")


def _mapping(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"'{name}' must be a mapping")
    return value


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > 1000:
        raise InvalidRequest(f"'{name}' must be a string of at most 1000 characters")
    return value


def _texts(document: Mapping[str, Any], name: str) -> list[str]:
    value = document.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidRequest(f"'{name}' must be a list of strings")
    return value


# --- refusals in EE2's words ------------------------------------------------------------


def not_found(*ids: str) -> NotFound:
    """No such job."""
    return NotFound(f"Cannot find job with ids: {list(ids)}")


def not_writable(user: str, wsid: int) -> NotAllowed:
    """A user may not run jobs in a workspace."""
    return NotAllowed(f"User {user} doesn't have permission to run jobs in workspace {wsid}.")


def not_readable(user: str, wsid: int) -> NotAllowed:
    """A user may not see the jobs of a workspace."""
    return NotAllowed(f"User {user} does not have permission to read jobs in workspace {wsid}")


def cannot_start(job: str, status: Status) -> Conflict:
    """A job that is over cannot be started."""
    begin = ["created", "queued", "estimating"]
    return Conflict(f"Unexpected job status for {job}: {status}.  You cannot start a job that is not in {begin}")


def cannot_finish(status: Status) -> Conflict:
    """A job that is over cannot be finished."""
    return Conflict(f"Cannot finish job with a status of {status}")
