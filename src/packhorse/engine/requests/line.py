"""What a queued task waits for that waits for no image and no data: others, or a size that its site does not have."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from packhorse.domain.errors import PackhorseError
from packhorse.engine.steps.base import Step
from packhorse.sites.site import Site
from packhorse.store.demands import place_in_line
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
        return "It is looked up whether an earlier task has left what it would."
    others = "another task" if number == 1 else f"{number:,} other tasks"
    return f"It waits for {others} of its run, which must end first."


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
