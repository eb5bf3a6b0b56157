"""What attempts used, kept by itself: added to as attempts end, read by who estimates, bounded by user and app."""

from __future__ import annotations

import secrets as random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from packhorse.store.schema import TASKS_PER_RUN, estimates, history, secrets
from packhorse.store.upserts import insert_missing, insert_or_set

_H, _E = history.c, estimates.c
_ROWS_AT_ONCE = 1000
_MOST_APPS = 200

_INSERT = sa.insert(history)
_SECRET = sa.select(secrets.c.value).where(secrets.c.name == sa.bindparam("name"))
_SINCE = sa.select(history).where(_H.seq > sa.bindparam("after")).order_by(_H.seq).limit(sa.bindparam("number"))
_LAST = sa.select(sa.func.max(_H.seq))
_APPS = (
    sa.select(_H.app, sa.func.max(_H.seq).label("last"))
    .group_by(_H.app)
    .order_by(sa.func.max(_H.seq).desc())
    .limit(_MOST_APPS)
)
_NEWEST = (
    sa.select(history)
    .where(_H.app == sa.bindparam("app"))
    .order_by(_H.seq.desc())
    .limit(sa.bindparam("number", type_=sa.Integer))
)
_ESTIMATES_OF_TASK = sa.select(estimates).where(_E.task_id == sa.bindparam("task")).order_by(_E.attempt)
_OWNERS = sa.select(_H.app, _H.owner, sa.func.count().label("rows")).group_by(_H.app, _H.owner)


class Kept(NamedTuple):
    """How much is kept: rows of one user and app, of all together, and for how many seconds."""

    of_owner: int
    rows: int
    seconds: float


def secret(connection: sa.Connection, name: str) -> str:
    """64 hexadecimal digits that this store keeps under a name; made where there are none yet."""
    known = connection.execute(_SECRET, {"name": name}).scalar()
    if known is None:
        connection.execute(insert_missing(connection, secrets), {"name": name, "value": random.token_hex(32)})
        known = connection.execute(_SECRET, {"name": name}).scalar_one()
    return str(known)


def add_history(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Remembers attempts; each row has every column but ``seq``."""
    if rows:
        connection.execute(_INSERT, list(rows))


def history_since(connection: sa.Connection, after: int, limit: int) -> Sequence[Any]:
    """At most ``limit`` rows after the one with ``seq`` ``after``, in order."""
    return connection.execute(_SINCE, {"after": after, "number": limit}).all()


def newest_history(connection: sa.Connection, of_app: int, together: int) -> list[Any]:
    """The newest rows of each app, at most ``of_app`` of one and about ``together`` of all, in order; apps of which
    something ended last come first.
    """
    apps = connection.execute(_APPS).all()
    number = max(1, min(of_app, together // max(1, len(apps))))
    found = [row for app in apps for row in connection.execute(_NEWEST, {"app": app.app, "number": number})]
    return sorted(found, key=lambda row: row.seq)


def last_history(connection: sa.Connection) -> int:
    """The ``seq`` of the last row; 0 where there is none."""
    return int(connection.execute(_LAST).scalar() or 0)


def keep_estimates(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Remembers what was decided for tasks; each row has every column."""
    if rows:
        statement = insert_or_set(connection, estimates, "memory_mb", "walltime_s", "decision")
        connection.execute(statement, list(rows))


def estimates_of_task(connection: sa.Connection, task: int) -> Sequence[Any]:
    """What was decided for the attempts at a task."""
    return connection.execute(_ESTIMATES_OF_TASK, {"task": task}).all()


def prune_history(connection: sa.Connection, kept: Kept, now: float) -> int:
    """Removes some of what is more than is kept, the oldest first; returns how many rows. Belongs in a transaction of
    its own; whoever calls it goes on until none are.
    """
    old = sa.select(_H.seq).where(_H.ended_at < now - kept.seconds).order_by(_H.seq).limit(_ROWS_AT_ONCE)
    removed = _remove(connection, old)
    for app, owner, rows in connection.execute(_OWNERS.having(sa.func.count() > kept.of_owner)).all():
        mine = sa.select(_H.seq).where(_H.app == app, _H.owner == owner).order_by(_H.seq)
        removed += _remove(connection, mine.limit(min(_ROWS_AT_ONCE, rows - kept.of_owner)))
    more = int(connection.execute(sa.select(sa.func.count()).select_from(history)).scalar_one()) - kept.rows
    if more > 0:
        removed += _remove(connection, sa.select(_H.seq).order_by(_H.seq).limit(min(_ROWS_AT_ONCE, more)))
    return removed


def _remove(connection: sa.Connection, which: sa.Select[Any]) -> int:
    seqs = connection.execute(which).scalars().all()
    if seqs:
        connection.execute(sa.delete(history).where(_H.seq.in_(seqs)))
    return len(seqs)


def estimated_in_run(connection: sa.Connection, run_seq: int) -> int:
    """For how many attempts of a run something was decided."""
    mine = _E.task_id.between(run_seq * TASKS_PER_RUN, (run_seq + 1) * TASKS_PER_RUN - 1)
    return int(connection.execute(sa.select(sa.func.count()).select_from(estimates).where(mine)).scalar_one())
