"""Commands that start, wait for, cancel and retry runs."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from packhorse.cli.output import duration, note, print_facts, print_json, print_table, say, size
from packhorse.cli.streams import Stopped
from packhorse.client import Client, RunHandle
from packhorse.client.tables import read_table
from packhorse.domain.app import Session
from packhorse.domain.errors import InvalidRequest, NotFound
from packhorse.domain.images import refuse_image_beside
from packhorse.domain.jsontext import read_json
from packhorse.domain.numbers import number
from packhorse.domain.run import SubmittedRun
from packhorse.domain.states import TERMINAL, TaskState
from packhorse.domain.submitted import run_of, task_run
from packhorse.domain.utf8 import utf8_text
from packhorse.domain.views import TaskView
from packhorse.domain.yamltext import read_yaml

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_TASK_FILE = 16_000_000  # bytes
_EXAMPLES = 10_000  # failed tasks that are looked at for the summary


@dataclass(frozen=True, slots=True)
class RunArguments:
    """What was said on the command line."""

    app: str | None
    over: str | None
    settings: list[str]
    tasks: str | None
    name: str
    tags: list[str]
    cores: float | None
    memory_gb: float | None
    walltime: str | None
    session: str | None
    gather: bool
    key: str | None
    site: str | None = None
    queue: str | None = None
    nodes: int | None = None
    image: str | None = None
    outputs: str | None = None
    priority: int = 0


def run_app(arguments: RunArguments, *, detach: bool, as_json: bool) -> None:
    """``packhorse run``."""
    request = _request(arguments)
    rows = read_table(arguments.over) if arguments.over is not None else None
    with Client() as client:
        handle = client.submit(request, rows)
        for sentence in handle.view.notes:
            note(sentence)
        _go_on(handle, detach=detach, as_json=as_json)


def wait_for(run_id: str, *, as_json: bool) -> None:
    """``packhorse wait``."""
    with Client() as client:
        _go_on(client.get(run_id), detach=False, as_json=as_json)


def retry(run_id: str, key: str | None, *, detach: bool, as_json: bool) -> None:
    """``packhorse retry``."""
    with Client() as client:
        _go_on(client.get(run_id).retry(key), detach=detach, as_json=as_json)


def cancel(target: str, *, as_json: bool) -> None:
    """``packhorse cancel``: returns when nothing of it runs any more."""
    with Client() as client:
        if "." not in target:
            handle = client.get(target)
            with _interruptible(handle):
                view = handle.cancel()
            print_json(view) if as_json else say(f"Run {target}: {_counts(view.counts)}.")
            return
        with client.backend.working():
            task = client.backend.cancel_task(target)
            while task.state not in TERMINAL:
                client.backend.wait(target.partition(".")[0], seen_done=2**31, timeout_s=0.2)
                task = TaskView.model_validate(client.backend.task(target).model_dump())
        print_json(task) if as_json else say(f"Task {target} is {task.state}.")


def _go_on(handle: RunHandle, *, detach: bool, as_json: bool) -> None:
    """Waits for a run, unless ``detach``, and tells how it went; exit code 1 when a task failed."""
    if detach:
        print_json(handle.view) if as_json else say(handle.id)
        return
    if not as_json:
        note(f"Run {handle.id}: {handle.view.tasks} tasks")
    with _interruptible(handle):
        handle.wait(progress=not as_json)
    if as_json:
        gathered = {name: str(path) for name, path in handle.gathered().items()}
        print_json({"run": handle.view, "usage": handle.usage(), "gathered": gathered})
    else:
        summarise(handle)
    if handle.view.counts.get(TaskState.COMPLETE, 0) < handle.view.tasks:
        raise typer.Exit(1)


def summarise(handle: RunHandle) -> None:
    """A screen about a run that has ended."""
    usage = handle.usage()
    rate = _rate(usage.tasks_per_s) if usage.tasks_per_s else ""
    print_facts(
        [
            ("run", handle.id),
            ("tasks", _counts(handle.view.counts)),
            ("failures", f"{handle.view.failed:,}"),
            ("took", f"{duration(usage.elapsed_s)}{', ' + rate if rate else ''}"),
            ("CPU", f"{usage.cpu_s / 3600:.4f} CPU-hours used of {usage.core_s / 3600:.4f} core-hours granted"),
            ("memory", f"{size(usage.peak_memory)} at the most in one task"),
            ("results", f"packhorse results {handle.id} --csv"),
            *((name, str(path)) for name, path in handle.gathered().items()),
        ]
    )
    if handle.view.counts.get(TaskState.COMPLETE, 0) == handle.view.tasks:
        return
    failed = [task for _, task in zip(range(_EXAMPLES), handle.tasks(_not_complete()), strict=False)]
    if failed:
        examples: dict[str, TaskView] = {}
        numbers: Counter[str] = Counter()
        for task in failed:
            failure = task.failure or task.state.value
            numbers[failure] += 1
            examples.setdefault(failure, task)
        say()
        print_table(
            ["failure", "tasks", "for example", "because"],
            [
                (failure, number, examples[failure].id, examples[failure].reason)
                for failure, number in numbers.most_common()
            ],
        )
        example = next(iter(examples.values())).id
        say()
        say(f"More: packhorse show {example}; again: packhorse retry {handle.id}")


def _rate(per_s: float) -> str:
    """In a unit in which it is more than one."""
    for per, unit in ((1, "second"), (60, "minute")):
        if per_s * per >= 1:
            return f"{per_s * per:,.0f} a {unit}"
    return f"{per_s * 3600:.1f} an hour"


def _request(arguments: RunArguments) -> SubmittedRun:
    resources: dict[str, Any] = {}
    if arguments.cores is not None:
        resources["cpu_cores"] = arguments.cores
    if arguments.memory_gb is not None:
        resources["ram_gb"] = arguments.memory_gb
    if arguments.walltime is not None:
        resources["walltime_s"] = parse_duration(arguments.walltime)
    given = {"site": arguments.site, "queue": arguments.queue, "nodes": arguments.nodes}
    resources |= {name: value for name, value in given.items() if value is not None}
    common: dict[str, Any] = {
        "name": arguments.name,
        "tags": _pairs("--tag", arguments.tags),
        "client_key": arguments.key,
        "resources": resources,
        "session": _session(arguments.session),
        "image": arguments.image,
        "outputs": arguments.outputs,
        "priority": arguments.priority,
    }
    if arguments.image not in (None, "none", ""):
        refuse_image_beside(arguments.image or "", "this folder", lambda name: Path(name).exists())
    if (arguments.app is None) == (arguments.tasks is None):
        raise InvalidRequest(
            "Say what to run: an app, or --tasks with a file of tasks.", hint="See 'packhorse run --help'."
        )
    if arguments.app is not None:
        params = _pairs("--set", arguments.settings)
        return run_of({"app": arguments.app, "params": params, "gather": arguments.gather, **common})
    if arguments.over is not None or arguments.settings:
        raise InvalidRequest(
            "--over and --set are for an app, and --tasks has none.", hint="See 'packhorse run --help'."
        )
    said = {name: value for name, value in common.items() if value not in (None, "", {}, 0)}
    return task_run(_read_tasks(Path(arguments.tasks or "")), said)


def _read_tasks(path: Path) -> Any:
    if not path.is_file():
        raise NotFound(f"There is no file {path}.", hint="It holds a TES task, or a list of tasks: name, task, after.")
    with path.open("rb") as file:
        data = file.read(MAX_TASK_FILE + 1)
    if path.suffix.lower() == ".json":
        return read_json(data, str(path), MAX_TASK_FILE)
    found = read_yaml(utf8_text(data, str(path)), str(path), MAX_TASK_FILE)
    if found.problems:
        raise InvalidRequest(f"{path} is not accepted.", problems=found.problems)
    return found.value


def _pairs(option: str, texts: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidRequest(f"{option} {text}: expected NAME=VALUE.")
        if name in pairs:
            raise InvalidRequest(
                f"{option} {name} is there twice: '{pairs[name][:60]}' and '{value[:60]}'.", hint="Keep one of them."
            )
        pairs[name] = value
    return pairs


def _session(text: str | None) -> Session | None:
    if text is None:
        return None
    try:
        return Session(text)
    except ValueError:
        raise InvalidRequest(f"--session {text}: expected one of {', '.join(Session)}.") from None


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``10m``, ``2h``, ``1d`` or ``90``."""
    digits, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS_S else (text, "s")
    try:
        seconds = number(digits) * _UNITS_S[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InvalidRequest(f"'{text}' is not a duration.", hint="Give a number and a unit: 90s, 10m, 2h or 1d.")
    return seconds


def _not_complete() -> list[TaskState]:
    return sorted(TERMINAL - {TaskState.COMPLETE})


def _counts(counts: dict[TaskState, int]) -> str:
    return ", ".join(f"{number:,} {state}" for state, number in counts.items())


@contextlib.contextmanager
def _interruptible(handle: RunHandle) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, Stopped) as end:
        note()
        note(f"No longer waiting. The run is kept: 'packhorse wait {handle.id}' goes on with it,")
        note(f"'packhorse cancel {handle.id}' ends it.")
        if isinstance(end, Stopped):
            raise
        raise typer.Exit(130) from None
