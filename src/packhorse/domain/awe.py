"""Job documents of AWE (MG-RAST) as runs of tasks, and runs as AWE's jobs. Pure.

Source: MG-RAST/AWE (its job documents and states). A task's inputs and outputs are files by name in its work folder;
those of another task are named by its id (``origin``), others by the host and the node of a Shock server.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from packhorse.domain.errors import InvalidRequest, Problem
from packhorse.domain.problems import validated
from packhorse.domain.run import MAX_TASKS, TaskRun
from packhorse.domain.states import FAILED, TaskState
from packhorse.domain.text import value_problem

_INFO = ("pipeline", "project", "clientgroups", "user", "service")
_STATES: dict[TaskState, str] = {
    TaskState.QUEUED: "queued",
    TaskState.INITIALIZING: "queued",
    TaskState.RUNNING: "in-progress",
    TaskState.CANCELING: "deleted",
    TaskState.CANCELED: "deleted",
    TaskState.COMPLETE: "completed",
    **dict.fromkeys(FAILED, "failed-permanent"),
}


def run_of(document: Any) -> TaskRun:
    """The run that a job document asks for. Raises InvalidRequest with all that is wrong."""
    if not isinstance(document, dict):
        raise InvalidRequest("The job document is no JSON object.")
    if (why := value_problem(document, "job")) is not None:
        raise InvalidRequest(f"{why}.")
    info = document.get("info") if isinstance(document.get("info"), dict) else {}
    tasks = document.get("tasks")
    if not isinstance(tasks, list) or not tasks or len(tasks) > MAX_TASKS:
        raise InvalidRequest(f"The job document has no 'tasks', a list of 1 to {MAX_TASKS:,}.")
    problems: list[Problem] = []
    made = [_task(one, place, problems) for place, one in enumerate(tasks)]
    if problems:
        raise InvalidRequest("The job document was not accepted.", problems=problems[:100])
    tags = {name: str(info[name]) for name in _INFO if info.get(name)}  # type: ignore[index, union-attr]
    name = str((info or {}).get("name") or (info or {}).get("jobname") or "AWE job")[:200]
    return validated(TaskRun, {"name": name, "tags": tags, "tasks": made}, "The job document was not accepted.")


def _task(said: Any, place: int, problems: list[Problem]) -> dict[str, Any]:
    one = said if isinstance(said, dict) else {}
    where = f"task '{one.get('taskid', place)}'"
    command = one.get("cmd") if isinstance(one.get("cmd"), dict) else {}
    assert isinstance(command, dict)
    program, inputs = command.get("name"), _files(one, "inputs", where, problems)
    if not isinstance(program, str) or not program.strip():
        problems.append(Problem(f"{where}, cmd", "has no 'name', the program that it runs."))
    if one.get("totalwork") not in (None, 0, 1):
        problems.append(
            Problem(f"{where}, totalwork", "is more than 1.", "Split its input yourself, or use an app over a table.")
        )
    if one.get("skip"):
        problems.append(Problem(f"{where}, skip", "is set.", "Leave tasks out that are not to run."))
    environ = command.get("environ") if isinstance(command.get("environ"), dict) else {}
    assert isinstance(environ, dict)
    if environ.get("private"):
        problems.append(
            Problem(f"{where}, environ", "has private variables, which would be kept with the task.", "Leave them out.")
        )
    executor: dict[str, Any] = {"command": [str(program), *_arguments(command.get("args"), inputs, where, problems)]}
    if isinstance(public := environ.get("public"), dict):
        executor["env"] = {str(key): str(value) for key, value in public.items()}
    if image := command.get("Dockerimage") or command.get("DockerPull"):
        executor["image"] = str(image)
    outputs = [_output(name, about) for name, about in _files(one, "outputs", where, problems).items()]
    needed = one.get("dependsOn") or []
    return {
        "name": task_name(one.get("taskid", place)),
        "after": [task_name(need) for need in needed] if isinstance(needed, list) else [],
        "task": {
            "name": str(command.get("description") or program)[:200],
            "executors": [executor],
            "inputs": [_input(name, about, where, problems) for name, about in inputs.items()],
            "outputs": outputs,
        },
    }


def task_name(taskid: Any) -> str:
    """A task's name in its run: AWE's ids may begin with the id of their job."""
    return f"task-{re.sub(r'[^A-Za-z0-9_.-]', '-', str(taskid).rpartition('_')[2])}"[:100]


def _files(one: Mapping[str, Any], field: str, where: str, problems: list[Problem]) -> dict[str, Mapping[str, Any]]:
    """Files by name, of a mapping, or of a list with the name in ``filename``."""
    said = one.get(field) or {}
    rows: Sequence[tuple[Any, Any]] = []
    if isinstance(said, dict):
        rows = list(said.items())
    elif isinstance(said, list):
        rows = [(row.get("filename") if isinstance(row, dict) else None, row) for row in said]
    found: dict[str, Mapping[str, Any]] = {}
    for name, about in rows:
        if not isinstance(name, str) or not name or not isinstance(about, dict):
            problems.append(
                Problem(f"{where}, {field}", "has a file without a name, or one that says nothing of itself.")
            )
            continue
        found[name] = about
    return found


def _input(name: str, about: Mapping[str, Any], where: str, problems: list[Problem]) -> dict[str, Any]:
    if (origin := about.get("origin")) not in (None, ""):
        return {"path": name, "url": f"task://{task_name(origin)}/{name}"}
    if url := about.get("url"):
        return {"path": name, "url": str(url)}
    host, node = _host(about), about.get("node")
    if not host or not isinstance(node, str) or node in ("", "-"):
        problems.append(Problem(f"{where}, input '{name}'", "has neither 'origin', 'url', nor 'host' and 'node'."))
    return {"path": name, "url": f"shock://{host}/node/{node}"}


def _output(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    host = _host(about)
    return {"path": name, "url": f"shock://{host}"} if host else {"path": name}


def _host(about: Mapping[str, Any]) -> str:
    """The host of a Shock server, with its port: the configuration knows how it is reached."""
    said = about.get("host")
    if not isinstance(said, str) or not said:
        return ""
    try:
        return urlsplit(said if "://" in said else f"//{said}").netloc.rpartition("@")[2]
    except ValueError:
        return ""


def _arguments(said: Any, inputs: Mapping[str, Any], where: str, problems: list[Problem]) -> list[str]:
    """The words of a command line, in which @NAME is the file of an input."""
    try:
        words = [str(word) for word in said] if isinstance(said, list) else shlex.split(str(said or ""))
    except ValueError as error:
        problems.append(Problem(f"{where}, cmd.args", f"cannot be taken apart: {str(error).lower()}."))
        return []
    longest = sorted(inputs, key=len, reverse=True)
    return [_replaced(word, longest) for word in words]


def _replaced(word: str, names: Sequence[str]) -> str:
    for name in names:
        word = word.replace(f"@{name}", name)
    return word


def job_state(counts: Mapping[TaskState, int]) -> str:
    """What AWE calls a job whose tasks are in these states."""
    there = {_STATES[state] for state, number in counts.items() if number}
    for word in ("failed-permanent", "deleted", "in-progress"):
        if word in there and (word == "in-progress" or not there & {"queued", "in-progress"}):
            return word
    if "queued" in there:
        return "in-progress" if "completed" in there else "queued"
    return "completed"


def task_state(state: TaskState) -> str:
    """What AWE calls a task in this state."""
    return _STATES[state]
