"""What a server tells of itself: how many tasks are in which state, and how long allocations waited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import ACTIVE, AllocationState
from packhorse.store.schema import allocations, runs, step_counts, steps

_MOST = 10_000  # allocations that are looked at
_C, _A = step_counts.c, allocations.c

_ACTIVE = (
    sa.select(steps.c.site, _C.state, sa.func.sum(_C.tasks).label("tasks"))
    .join(runs, runs.c.seq == _C.run_seq)
    .join(steps, steps.c.seq == _C.step_seq)
    .where(runs.c.ended_at.is_(None), runs.c.visible, _C.state.in_(ACTIVE))
    .group_by(steps.c.site, _C.state)
)
_RECENT = (
    sa.select(_A.site, _A.state, _A.created_at, _A.started_at)
    .where(sa.or_(_A.state != AllocationState.ENDED, _A.ended_at >= sa.bindparam("since")))
    .order_by(_A.seq.desc())
    .limit(_MOST)
)


def active_tasks(connection: sa.Connection) -> Sequence[Any]:
    """(site, state, tasks) of what has not ended."""
    return connection.execute(_ACTIVE).all()


def recent_allocations(connection: sa.Connection, since: float) -> Sequence[Any]:
    """(site, state, created_at, started_at) of allocations that live, or ended after ``since``."""
    return connection.execute(_RECENT, {"since": since}).all()
