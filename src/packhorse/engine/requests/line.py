"""What a queued task waits for that waits for no image and no data: others before it, or a size that no node has."""

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


def why_queued(connection: sa.Connection, run: Any, task: Any, spec: RunSpec, site: Site | None) -> str | None:
    """One sentence about a queued task; None where its own reason says more, such as a back-off after a failure."""
    if task.waiting_on:
        others = "another task" if task.waiting_on == 1 else f"{task.waiting_on:,} other tasks"
        return f"It waits for {others} of its run, which must end first."
    if task.not_before > time.time():
        return None
    if site is not None and (lacking := _lacking(site, spec, task)):
        return lacking
    queued = counts_of(connection, [run.seq])[run.seq].get(TaskState.QUEUED, 0)
    place = ready_before(connection, run.seq, task.id) + 1
    by_user = queued_by_user(connection)
    own, users = by_user.get(run.user, 1) - 1, len(by_user.keys() - {run.user})
    beside = [_number(own, "other run") + f" of {run.user}"] * (own > 0) + [_number(users, "other user")] * (users > 0)
    also = f" {' and '.join(beside).capitalize()} wait{'s' * (own + users == 1)} at the same time." if beside else ""
    return f"It is number {place:,} in the line of {queued:,} queued tasks of its run.{also}"


def _lacking(site: Site, spec: RunSpec, task: Any) -> str | None:
    try:
        why = site.why_not(spec.resources_of(task.role, task.params, task.overrides))
    except (PackhorseError, OSError) as error:
        said = error.message if isinstance(error, PackhorseError) else str(error)
        return f"Its site '{site.name}' does not answer now: {said}"
    return f"It waits until '{site.name}' can run it again: {why}." if why else None


def _number(number: int, what: str) -> str:
    return f"one {what}" if number == 1 else f"{number:,} {what}s"
