"""Commands that start, wait for, cancel and retry runs."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

import typer

from packhorse.cli.output import duration, note, print_facts, print_json, print_table, say, size
from packhorse.cli.requests import RunArguments, request_of
from packhorse.cli.streams import Stopped
from packhorse.client import Client, RunHandle
from packhorse.client.tables import read_table
from packhorse.domain.states import TERMINAL, TaskState
from packhorse.domain.views import StepView, TaskView

_EXAMPLES = 10_000  # failed tasks that are looked at for the summary


def run_app(arguments: RunArguments, *, detach: bool, as_json: bool) -> None:
    """``packhorse run``."""
    request = request_of(arguments)
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
        number = handle.view.tasks
        note(f"Run {handle.id}: {number} {'task' if number == 1 else 'tasks'}")
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
            ("reused", f"{usage.reused:,} of them took earlier results" if usage.reused else None),
            ("took", f"{duration(usage.elapsed_s)}{', ' + rate if rate else ''}"),
            ("CPU", f"{usage.cpu_s / 3600:.4f} CPU-hours used of {usage.core_s / 3600:.4f} core-hours granted"),
            ("memory", f"{size(usage.peak_memory)} at the most in one task"),
            ("results", f"packhorse results {handle.id} --csv"),
            *((name, str(path)) for name, path in handle.gathered().items()),
        ]
    )
    if len(handle.view.steps) > 1:
        say()
        print_steps(handle.view.steps)
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


def print_steps(steps: list[StepView]) -> None:
    """A line for each step of a run."""
    columns = ["step", "site", "tasks", "states", *(["waits for"] if any(step.waits_for for step in steps) else [])]
    rows = [
        (
            step.name,
            step.site,
            "not known yet" if step.tasks is None else f"{step.tasks:,}",
            _counts(step.counts) + (f", without {step.without}" if step.without else ""),
            *([step.waits_for or ""] if len(columns) > 4 else []),
        )
        for step in steps
    ]
    print_table(columns, rows)


def _rate(per_s: float) -> str:
    """In a unit in which it is more than one."""
    for per, unit in ((1, "second"), (60, "minute")):
        if per_s * per >= 1:
            return f"{per_s * per:,.0f} a {unit}"
    return f"{per_s * 3600:.1f} an hour"


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
