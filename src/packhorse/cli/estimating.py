"""``packhorse estimate`` and ``packhorse estimates``: what runs are expected to need, and the history behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from packhorse.cli.accounts import hours
from packhorse.cli.historyfiles import read_history, write_history
from packhorse.cli.output import duration, note, print_facts, print_json, print_table, say, size
from packhorse.cli.requests import RunArguments, request_of
from packhorse.client import Client
from packhorse.client.tables import read_table
from packhorse.domain.expectations import Decided, Expected, RunExpectation, StepExpectation, TaskEstimate
from packhorse.domain.numbers import plain_number

_ROWS_AT_ONCE = 1000

Show = Callable[[float | None], str]


def show_expectation(arguments: RunArguments, *, as_json: bool) -> None:
    """``packhorse estimate``."""
    request = request_of(arguments)
    rows = read_table(arguments.over) if arguments.over is not None else None
    with Client() as client:
        found = client.backend.estimate(request, rows)
    if as_json:
        print_json(found)
        return
    print_table(
        ["step", "tasks", "history", "", "asked for", "expected", "half need", "nine in ten need"],
        [row for step in found.steps for row in _rows(step)],
    )
    say()
    print_facts(_facts(found))


def _rows(step: StepExpectation) -> list[tuple[object, ...]]:
    number = "not known yet" if step.tasks is None else f"{step.tasks:,}"
    whose = ", others' too" if step.others and step.history else ""
    known = f"{step.history:,} {'attempt' if step.history == 1 else 'attempts'}{whose}" if step.history else "none"
    return [
        (step.step, number, known, *_cells("memory", step.memory_mb, _memory)),
        ("", "", "", *_cells("time", step.walltime_s, duration)),
        ("", "", "", *_cells("cores", step.cores, lambda cores: plain_number(round(cores or 0, 2)))),
    ]


def _cells(name: str, one: Expected, show: Show) -> tuple[str, ...]:
    told = [one.asked, one.request, one.median]
    shown = ["" if value is None else str(show(value)) for value in told]
    between = "" if one.low is None or one.high is None else f"{show(one.low)} to {show(one.high)}"
    return name, *shown, between


def _memory(mb: float | None) -> str:
    return size(None if mb is None else mb * 1e6)


def _facts(found: RunExpectation) -> list[tuple[str, object]]:
    unknown = "not known yet: no task like these has ended"
    cost = unknown
    if found.core_hours is not None:
        cost = f"{hours(found.core_hours * 3600)} core-hours, at most {hours((found.core_hours_high or 0) * 3600)}"
    wait = "not known yet: no allocation has started there"
    if found.queue_wait_s is not None:
        wait = f"{duration(found.queue_wait_s)}, seldom more than {duration(found.queue_wait_high_s)}"
        wait += f" (the last {found.allocations} allocations)"
    modes = {step.mode.value for step in found.steps}
    goes_by = "tasks are granted what is expected" if modes == {"on"} else "tasks are granted what was asked for"
    return [("cost", cost), ("queue wait", wait), ("estimates", f"{', '.join(sorted(modes))}: {goes_by}")]


def sentences(estimate: TaskEstimate) -> list[str]:
    """What was decided for an attempt at a task, for ``packhorse why``."""
    begin = f"Attempt {estimate.attempt}: " if estimate.attempt else "If it was placed now: "
    told = [f"{begin}{estimate.why}"]
    if estimate.memory_mb is not None:
        told.append(f"  memory: {_decided(estimate.memory_mb, _memory)}")
    if estimate.walltime_s is not None:
        told.append(f"  time: {_decided(estimate.walltime_s, duration)}")
    return told


def _decided(one: Decided, show: Show) -> str:
    asked = "nothing was asked for" if one.asked is None else f"{show(one.asked)} asked for"
    granted = "no limit" if one.granted is None else f"{show(one.granted)} granted"
    told = f"{asked}, {granted}"
    if one.median is not None and one.high is not None and one.history:
        told += f"; half of such tasks need {show(one.median)}, one in twenty more than {show(one.high)}"
    return f"{told}. {one.reason}".rstrip()


def _attempts(number: int) -> str:
    return "One attempt" if number == 1 else f"{number:,} attempts"


def export_history(file: str, *, as_json: bool) -> None:
    """``packhorse estimates export``."""
    with Client() as client:
        number = write_history(Path(file), client.backend.history)
    print_json({"file": file, "rows": number}) if as_json else say(f"{_attempts(number)} in {file}.")


def import_history(file: str, form: str | None, app: str | None, site: str, *, as_json: bool) -> None:
    """``packhorse estimates import``."""
    number = left_out = 0
    pending = []
    with Client() as client:
        for row in read_history(file, form, app, site):
            if row is None:
                left_out += 1
                continue
            pending.append(row)
            if len(pending) == _ROWS_AT_ONCE:
                number += client.backend.add_history(pending)
                pending = []
        if pending:
            number += client.backend.add_history(pending)
    if as_json:
        print_json({"rows": number, "left_out": left_out})
        return
    say(f"{_attempts(number)} taken in.")
    if left_out:
        note(f"{left_out:,} rows were left out: they are no ended attempts, or say nothing of what was used.")
