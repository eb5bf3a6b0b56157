"""Reference data that is being made: by one task for each key, for which the others wait. Rows of tasks that have ended
leave when others come.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from packhorse.domain.states import ACTIVE, TaskState
from packhorse.store.chunks import chunks
from packhorse.store.schema import makers, tasks
from packhorse.store.upserts import insert_or_set

_UNDER_WAY = (
    sa.select(makers.c.cache_key, makers.c.task_id)
    .join(tasks, tasks.c.id == makers.c.task_id)
    .where(makers.c.cache_key.in_(sa.bindparam("keys", expanding=True)), tasks.c.state.in_(ACTIVE))
)
_MAKES = sa.exists().where(tasks.c.id == makers.c.task_id, tasks.c.state.in_(ACTIVE))
_OVER = sa.select(makers.c.cache_key).where(sa.not_(_MAKES)).limit(1000)
_FORGET = sa.delete(makers).where(makers.c.cache_key.in_(_OVER))
_WAITS = "Another task makes the same reference data at this site. It is waited for."


def under_way(connection: sa.Connection, keys: Collection[str]) -> dict[str, int]:
    """The tasks that make the reference data with these keys now."""
    found: dict[str, int] = {}
    for some in chunks(keys):
        found |= {row.cache_key: row.task_id for row in connection.execute(_UNDER_WAY, {"keys": some})}
    return found


def note_makers(connection: sa.Connection, by_key: Mapping[str, int]) -> None:
    """The tasks that make the reference data with these keys from now on."""
    rows = [{"cache_key": key, "task_id": task} for key, task in sorted(by_key.items())]
    if rows:
        connection.execute(_FORGET)
        connection.execute(insert_or_set(connection, makers, "task_id"), rows)


def note_waiting(connection: sa.Connection, ids: Collection[int]) -> None:
    """Tells of tasks that they wait for another one."""
    for some in chunks(ids):
        waiting = sa.and_(tasks.c.id.in_(some), tasks.c.state == TaskState.QUEUED)
        connection.execute(sa.update(tasks).where(waiting).values(reason=_WAITS))
