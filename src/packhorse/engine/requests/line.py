"""What a queued task waits for that waits for no image and no data: others, or a size that its site does not have."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from packhorse.domain.errors import PackhorseError
from packhorse.domain.states import TaskState
from packhorse.engine.spec import RunSpec
from packhorse.sites.site import Site
from packhorse.store.runs import counts_of, queued_by_user
from packhorse.store.tasks import ready_before


def waits_for_others(connection: sa.Connection, run: Any, task: Any) -> str | None:
    """The tasks that a queued one needs, or its place in line; None in a back-off, of which its own reason tells."""
    if task.waiting_on:
        others = "another task" if task.waiting_on == 1 else f"{task.waiting_on:,} other tasks"
        return f"It waits for {others} of its run, which must end first."
    if task.not_before > time.time():
        return None
    queued = counts_of(connection, [run.seq])[run.seq].get(TaskState.QUEUED, 0)
    place = ready_before(connection, run.seq, task.id) + 1
    by_user = queued_by_user(connection)
    runs, users = by_user.get(run.user, 1) - 1, len(by_user.keys() - {run.user})
    told = ([f"{_number(runs, 'other run')} of {run.user}"] if runs else []) + (
        [_number(users, "other user")] if users else []
    )
    sentence = f"It is number {place:,} in the line of {_number(queued, 'queued task')} of its run"
    return f"{sentence}, beside {' and '.join(told)}." if told else f"{sentence}."


def waits_for_size(site: Site, spec: RunSpec, task: Any) -> str | None:
    """What a site lacks for a task now, although the task was accepted. May ask the site: no transaction is open."""
    asked = spec.resources_of(task.role, task.params, task.overrides)
    try:
        why = site.why_not(asked)
    except (PackhorseError, OSError) as error:
        said = error.message if isinstance(error, PackhorseError) else str(error)
        return f"Its site '{site.name}' does not answer now: {said}"
    return f"It waits until '{site.name}' can run it again: {why}." if why else None


def _number(number: int, what: str) -> str:
    return f"one {what}" if number == 1 else f"{number:,} {what}s"
