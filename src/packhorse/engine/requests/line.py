"""What a queued task waits for that waits for no image and no data: others, or a size that its site does not have."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.domain.errors import PackhorseError
from packhorse.domain.states import TERMINAL, TaskState
from packhorse.engine.steps.base import Step
from packhorse.sites.site import Site
from packhorse.store.line import place_in_line
from packhorse.store.steps import edges_into_step, steps_of_run


def waits_for_others(connection: sa.Connection, run: Any, task: Any) -> str | None:
    """The tasks that a queued one needs, or its place in line; None in a back-off, of which its own reason tells."""
    if task.waiting_on:
        return _upstream(connection, run, task)
    if task.not_before > time.time():
        return None
    place = place_in_line(connection, task)
    if place is None:
        return "It waits until its step may start." if task.not_before == 0 else "It is its turn in a moment."
    sentence = f"It is number {place.before + 1:,} in the line of {_number(place.of, 'task')} like it"
    told = ([f"{_number(place.others, 'other task')} of {run.user}"] if place.others else []) + (
        [_number(place.users - 1, "other user")] if place.users > 1 else []
    )
    return f"{sentence}, beside {' and '.join(told)}." if told else f"{sentence}."


def _upstream(connection: sa.Connection, run: Any, task: Any) -> str:
    """What a task waits for in its run: steps by name, with how many of their tasks are left."""
    names = {row.seq: row.name for row in steps_of_run(connection, run.seq)}
    left = [
        f"step '{names[edge.upstream]}', of which {_number(edge.left, 'task')} {'has' if edge.left == 1 else 'have'}"
        " not ended"
        for edge in edges_into_step(connection, task.step_seq)
        if edge.kind == "gather" and edge.left > 0 and edge.upstream in names
    ]
    if left:
        return f"It waits for {', and for '.join(left)}."
    number = task.waiting_on - (task.cache_key == "")
    if not number:
        return task.reason or "It is looked up whether an earlier task has left what it would."
    others = "another task" if number == 1 else f"{number:,} other tasks"
    return f"It waits for {others} of its run, which must end first."


def steps_wait_for(
    steps: Sequence[Any], edges: Sequence[Any], counts: Mapping[int, Mapping[TaskState, int]]
) -> dict[int, str]:
    """What steps of a run (rows of ``steps_of_run``) wait for, by ``seq``: those of which tasks could not start now.

    ``edges`` are those between them.
    """
    by_seq = {step.seq: step for step in steps}
    left = {seq: sum(n for state, n in counts.get(seq, {}).items() if state not in TERMINAL) for seq in by_seq}
    needs: dict[int, list[str]] = {}
    for edge in edges:
        source, step = by_seq.get(edge.upstream), by_seq.get(edge.downstream)
        if source is None or step is None or edge.kind == "tasks" or not (left[step.seq] or step.tasks is None):
            continue
        if source.tasks is None:
            needs.setdefault(step.seq, []).append(f"the tasks of '{source.name}', which are not known yet")
        elif edge.kind == "items" and left[source.seq]:
            needs.setdefault(step.seq, []).append(f"the list of '{source.name}'")
        elif left[source.seq]:
            needs.setdefault(step.seq, []).append(f"{_number(left[source.seq], 'task')} of '{source.name}'")
    placed = (TaskState.RUNNING, TaskState.INITIALIZING)
    waits = {seq: " and ".join(words) for seq, words in needs.items()}
    for step in steps:
        if (
            left[step.seq]
            and step.seq not in waits
            and not any(counts.get(step.seq, {}).get(state) for state in placed)
        ):
            waits[step.seq] = "its image" if step.held else "its turn"
    return waits


def steps_gathered_without(steps: Sequence[Any], edges: Sequence[Any]) -> dict[int, str]:
    """What steps that accept failures went on without, by ``seq``."""
    names = {step.seq: step.name for step in steps}
    found: dict[int, list[str]] = {}
    for edge in edges:
        if edge.kind == "gather" and edge.accept_failure and edge.failed and not edge.left:
            told = f"{_number(edge.failed, 'task')} of '{names[edge.upstream]}'"
            found.setdefault(edge.downstream, []).append(told)
    return {seq: " and ".join(words) for seq, words in found.items()}


def waits_for_size(site: Site, step: Step, task: Any) -> str | None:
    """What a site lacks for a task now, although the task was accepted. May ask the site: no transaction is open."""
    asked = step.resources(task.params, task.overrides)
    try:
        why = site.why_not(asked)
    except (PackhorseError, OSError) as error:
        said = error.message if isinstance(error, PackhorseError) else str(error)
        return f"Its site '{site.name}' does not answer now: {said}"
    return f"It waits until '{site.name}' can run it again: {why}." if why else None


def _number(number: int, what: str) -> str:
    return f"one {what}" if number == 1 else f"{number:,} {what}s"
