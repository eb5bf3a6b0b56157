"""Where a task stands among what its user has ready at its site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from packhorse.store.schema import CAN_GIVE, READY, demands, step_demands, tasks


@dataclass(frozen=True, slots=True)
class PlaceInLine:
    """How many ready tasks of its user that are like it are before a task, of how many; how many ``others`` that user
    has ready at its site; and how many users have some there.
    """

    before: int
    of: int
    others: int
    users: int


def place_in_line(connection: sa.Connection, task: Any) -> PlaceInLine | None:
    """Of a task's row (store.tasks.get_task); None when it is not ready, or its step is held."""
    query = sa.select(step_demands, demands.c.site, demands.c.user, demands.c.ready.label("all_ready"))
    mine = connection.execute(
        query.join(demands, demands.c.seq == step_demands.c.demand_seq).where(
            step_demands.c.step_seq == task.step_seq, step_demands.c.demand_seq == task.demand_seq
        )
    ).one_or_none()
    if mine is None or mine.held or task.state != "QUEUED" or task.waiting_on or task.not_before:
        return None
    earlier = sa.or_(
        step_demands.c.rank < mine.rank,
        sa.and_(step_demands.c.rank == mine.rank, step_demands.c.step_seq < task.step_seq),
    )
    ours = sa.and_(step_demands.c.demand_seq == task.demand_seq, sa.text(CAN_GIVE), earlier)
    before = _sum(connection, step_demands.c.ready, ours)
    of_step = sa.and_(
        sa.text(READY), tasks.c.step_seq == task.step_seq, tasks.c.demand_seq == task.demand_seq, tasks.c.id < task.id
    )
    before += connection.execute(sa.select(sa.func.count()).select_from(tasks).where(of_step)).scalar_one()
    here = sa.and_(demands.c.site == mine.site, sa.text("demands.ready > 0"))
    others = _sum(connection, demands.c.ready, sa.and_(here, demands.c.user == mine.user)) - mine.all_ready
    users = connection.execute(sa.select(sa.func.count(sa.distinct(demands.c.user))).where(here)).scalar_one()
    return PlaceInLine(before, mine.all_ready, others, users)


def _sum(connection: sa.Connection, column: sa.Column[int], which: sa.ColumnElement[bool]) -> int:
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(column), 0)).where(which)).scalar_one())
