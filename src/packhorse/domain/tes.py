"""What the TES API says besides the task document: views, states, and which of a client's fields count. Pure.

Source: https://github.com/ga4gh/task-execution-schemas (v1.1.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from packhorse.domain.errors import InvalidRequest, Problem
from packhorse.domain.numbers import truth
from packhorse.domain.resources import BACKEND_PARAMETERS
from packhorse.domain.run import MAX_NAME, NamedTask, TesRun
from packhorse.domain.submitted import task_run
from packhorse.domain.text import value_problem

#: What the server says of a task; what a client sends of it is left out, as of a document that it was given by us.
READ_ONLY = frozenset({"id", "state", "logs", "creation_time"})
#: A number that clients send as 0 who do not say it: their protocol buffers know no absent number.
_UNSAID_AT_ZERO = ("cpu_cores", "ram_gb", "disk_gb")
#: What the only task of such a run is called there; nobody is shown it.
_NAME = "task"


class View(StrEnum):
    """How much of a task is shown."""

    MINIMAL = "MINIMAL"
    """Its id and its state."""
    BASIC = "BASIC"
    """All but what may be large: contents of inputs, stdout, stderr, and system logs."""
    FULL = "FULL"


class ListedState(StrEnum):
    """The states that a list may be asked for: those of TES, of which no task here is ever UNKNOWN or PAUSED."""

    UNKNOWN = "UNKNOWN"
    QUEUED = "QUEUED"
    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETE = "COMPLETE"
    EXECUTOR_ERROR = "EXECUTOR_ERROR"
    SYSTEM_ERROR = "SYSTEM_ERROR"
    CANCELED = "CANCELED"
    PREEMPTED = "PREEMPTED"
    CANCELING = "CANCELING"


def tes_run(document: Any) -> TesRun:
    """The run of one task that a TES document asks for. Raises InvalidRequest with all that is wrong."""
    if not isinstance(document, Mapping):
        raise InvalidRequest("The task was not accepted: expected a TES task, an object with 'executors'.")
    if "executors" not in document:
        raise InvalidRequest(
            "The task was not accepted.", problems=[Problem("field 'executors'", "is required and missing.")]
        )
    if why := value_problem(document, "task"):
        raise InvalidRequest(f"The task was not accepted: {why}.")
    asked = {name: value for name, value in document.items() if name not in READ_ONLY and value is not None}
    warnings: list[str] = []
    if isinstance(resources := asked.get("resources"), Mapping):
        asked["resources"], warnings = _known_resources(resources)
    if isinstance(outputs := asked.get("outputs"), list):
        asked["outputs"] = [_with_url(output) for output in outputs]
    name = asked.get("name")
    if foreign := next((field for field in ("task", "tasks") if field in asked), None):  # those of runs
        found = Problem(f"field '{foreign}'", "is not a field that is known here.")
        raise InvalidRequest("The task was not accepted.", problems=[found])
    try:
        [item] = task_run(asked).tasks
    except InvalidRequest as error:
        raise of_one_task(error) from None
    own = name[:MAX_NAME] if isinstance(name, str) else ""
    return TesRun(name=own, tasks=[NamedTask(name=_NAME, task=item.task)], warnings=warnings)


def _with_url(output: Any) -> Any:
    """An output whose URL is a path: workflow engines write those of their own filesystem so."""
    url = output.get("url") if isinstance(output, Mapping) else None
    return {**output, "url": f"file://{quote(url)}"} if isinstance(url, str) and url.startswith("/") else output


def of_one_task(error: InvalidRequest) -> InvalidRequest:
    """A refusal of the only task of a run, without the name that it has there."""
    problems = [Problem(_without_task(problem.where), problem.what, problem.hint) for problem in error.problems]
    message = "The task was not accepted." if error.problems else error.message
    return type(error)(message, hint=error.hint, problems=problems)


def _without_task(where: str) -> str:
    return where.removeprefix(f"task '{_NAME}'").removeprefix(", ")


def _known_resources(resources: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The resources without what does not count here, and what is to be said of that.

    TES: keys of ``backend_parameters`` have no case; one that is not supported is left out, not kept, and told, but
    with ``backend_parameters_strict`` the task is refused.
    """
    known = {name: value for name, value in resources.items() if value is not None}
    for name in _UNSAID_AT_ZERO:
        if known.get(name) == 0 and not isinstance(known[name], bool):
            del known[name]
    given = known.get("backend_parameters")
    if not isinstance(given, Mapping):
        return known, []
    supported = {name.lower(): name for name in BACKEND_PARAMETERS}
    unknown = [name for name in given if str(name).lower() not in supported]
    kept = {supported[str(name).lower()]: value for name, value in given.items() if name not in unknown}
    if unknown and _is_true(known.get("backend_parameters_strict")):
        hint = f"Known: {', '.join(BACKEND_PARAMETERS)}."
        problems = [Problem("resources.backend_parameters", f"'{name}' is not known here.", hint) for name in unknown]
        raise InvalidRequest("The task was not accepted.", problems=problems[:100])
    known["backend_parameters"] = kept
    return known, [
        f"The backend parameter '{str(name)[:100]}' is not known here, and was left out." for name in unknown
    ]


def _is_true(value: Any) -> bool:
    try:
        return value is not None and truth(value)
    except ValueError:
        return False  # it is refused where it stands
