"""Runs of tasks as users write them: a list of named tasks, ``{"tasks": [...]}`` with options, or TES documents by
themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from packhorse.domain.errors import InvalidRequest, Problem
from packhorse.domain.problems import problems_of, validated
from packhorse.domain.run import MAX_NAME, TASK_NAME, AppRun, NamedTask, PipelineRun, StepRun, SubmittedRun, TaskRun

MAX_PROBLEMS = 100
_SHAPES = (
    "Give a TES task, a list of tasks, or {tasks: [...]}. A task of a list is {name, task, after}, where 'task' is a"
    " TES task."
)


def is_tes_task(document: Any) -> bool:
    """Whether a document is a TES task by itself."""
    return (
        isinstance(document, Mapping) and "executors" in document and "task" not in document and "tasks" not in document
    )


def run_of(document: Any, name: str = "The run") -> SubmittedRun:
    """The run that a document asks for: with ``steps`` a StepRun, with ``pipeline`` a PipelineRun; with ``tasks``, or
    of a TES task by itself, a TaskRun; else an AppRun.

    Raises InvalidRequest with all that is wrong.
    """
    if not isinstance(document, dict):
        raise InvalidRequest(
            f"{name} is not a run: expected an object with 'app', 'pipeline', 'steps' or 'tasks', or a TES task."
        )
    if "steps" in document:
        return validated(StepRun, document, f"{name} was not accepted.")
    if "pipeline" in document:
        return validated(PipelineRun, document, f"{name} was not accepted.")
    if "tasks" in document or is_tes_task(document):
        return task_run(document)
    return validated(AppRun, document, f"{name} was not accepted.")


def task_run(document: Any, options: Mapping[str, Any] | None = None) -> TaskRun:
    """The run that a document asks for; ``options`` go over its own.

    Raises InvalidRequest that says what is wrong in which task.
    """
    own: dict[str, Any] = {}
    items: Any
    bare = is_tes_task(document)
    if bare:
        own, items = {"name": _text(document.get("name"))[:MAX_NAME]}, [document]
    elif isinstance(document, Mapping):
        own, items = {str(name): value for name, value in document.items() if name != "tasks"}, document.get("tasks")
    else:
        items = document
    if not isinstance(items, list | tuple):
        found = "no 'tasks'" if isinstance(document, Mapping) and "tasks" not in document else "no list of tasks"
        raise InvalidRequest(f"The run was not accepted: there is {found} in it.", hint=_SHAPES)
    if not items:
        raise InvalidRequest("There are no tasks to run.", hint=_SHAPES)
    named = _named(items)
    try:
        return TaskRun.model_validate({**own, **(options or {}), "tasks": named})
    except ValidationError as error:
        raise InvalidRequest("The run was not accepted.", problems=_problems(error, items, named, bare=bare)) from None


def _named(items: list[Any] | tuple[Any, ...]) -> list[Any]:
    """TES documents among them get names: their own, where it is one that another task can name, and is free."""
    taken = {
        item.name if isinstance(item, NamedTask) else _text(item.get("name"))
        for item in items
        if isinstance(item, Mapping | NamedTask)
    }
    named: list[Any] = []
    used: set[str] = set()
    for number, item in enumerate(items, start=1):
        if not is_tes_task(item):
            named.append(item)
            continue
        name = _text(item.get("name"))
        if not re.match(TASK_NAME, name) or name in used:
            name = "task" if len(items) == 1 else f"task-{number}"
            while name in taken or name in used:
                name += "-x"
        used.add(name)
        named.append({"name": name, "task": item})
    return named


def _problems(error: ValidationError, items: Any, named: list[Any], *, bare: bool) -> list[Problem]:
    problems = []
    for detail in error.errors(include_url=False)[:MAX_PROBLEMS]:
        location = list(detail["loc"])
        where = ""
        if location[:1] == ["tasks"] and len(location) > 1:
            index = int(location[1])
            location = location[2:]
            if is_tes_task(items[index]):
                location = location[1:]  # what we have put around it
            where = "" if bare else _place(index, named[index])
        field = _field(location)
        place = ", ".join(part for part in (where, f"field '{field}'" if field else "") if part)
        problems.append(_problem(detail, place))
    return problems


def _problem(detail: Any, place: str) -> Problem:
    match detail["type"]:
        case "model_type":
            return Problem(place, f"expected an object with fields, found {ascii(detail['input'])[:60]}.")
        case "string_pattern_mismatch":
            return Problem(
                place,
                f"'{str(detail['input'])[:100]}' is no name of a task.",
                "It has letters, digits, '_', '.' and '-', at most 100.",
            )
    alone = {"type": detail["type"], "loc": (), "input": detail.get("input"), "ctx": detail.get("ctx", {})}
    [problem] = problems_of(ValidationError.from_exception_data("", [alone]), place)  # type: ignore[list-item]
    return problem


def _place(index: int, item: Any) -> str:
    name = item.get("name") if isinstance(item, Mapping) else None
    return f"task '{name[:100]}'" if isinstance(name, str) and name else f"task {index + 1}"


def _field(location: list[Any]) -> str:
    """('executors', 0, 'command') → 'executors[0].command'."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
