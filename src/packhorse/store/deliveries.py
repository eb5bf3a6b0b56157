"""Outputs on their way to URLs. A task that has some is complete when all of them are there."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.domain.outputpath import normal
from packhorse.domain.states import DataState, TaskState
from packhorse.domain.text import kept_json
from packhorse.store.schema import attempts, deliveries, tasks

_FRESH = {
    "state": DataState.QUEUED,
    "tries": 0,
    "wrong": 0,
    "not_before": 0.0,
    "error": None,
    "size": None,
    "sha256": None,
}
_OPEN = sa.text("deliveries.state NOT IN ('READY', 'FAILED')")


def hold_for_delivery(
    connection: sa.Connection, site: str, held: Mapping[int, dict[str, Any]], outputs: Sequence[dict[str, Any]]
) -> None:
    """Lets tasks that ended well stay as they are until ``outputs`` (task_id, attempt, path, url) are delivered.

    ``held`` are columns of each. They no longer belong to their allocation: its end does not concern them.
    """
    for task, values in held.items():
        connection.execute(sa.update(tasks).where(tasks.c.id == task).values(**values, allocation_seq=None, block=None))
    add_deliveries(connection, site, outputs)


def add_deliveries(connection: sa.Connection, site: str, outputs: Sequence[dict[str, Any]]) -> None:
    """More to deliver; each has task_id, attempt, path and url."""
    if outputs:
        connection.execute(sa.insert(deliveries), [{**_FRESH, "site": site, **output} for output in outputs])


_STILL_OPEN = (
    sa.select(deliveries, tasks.c.state.label("task_state"))
    .select_from(deliveries.join(tasks, tasks.c.id == deliveries.c.task_id))
    .where(deliveries.c.site == sa.bindparam("site"), _OPEN)
)
_UNDER_WAY = _STILL_OPEN.where(deliveries.c.id.in_(sa.bindparam("under_way", expanding=True)))
_DUE_NEXT = (
    _STILL_OPEN.where(deliveries.c.id.not_in(sa.bindparam("under_way", expanding=True)))
    .order_by(deliveries.c.not_before, deliveries.c.id)
    .limit(sa.bindparam("number", type_=sa.Integer))
)


def open_deliveries(connection: sa.Connection, site: str, limit: int, under_way: Collection[int] = ()) -> Sequence[Any]:
    """What is still to be delivered from a site, with its task's state (``task_state``): those ``under_way``, then
    those due next.
    """
    asked = {"site": site, "under_way": list(under_way)}
    known = connection.execute(_UNDER_WAY, asked).all() if under_way else []
    return [*known, *connection.execute(_DUE_NEXT, {**asked, "number": limit})]


def lock_delivery(connection: sa.Connection, delivery: int) -> Any:
    """One row, for this transaction."""
    return connection.execute(sa.select(deliveries).where(deliveries.c.id == delivery).with_for_update()).one()


def update_delivery(connection: sa.Connection, delivery: int, **values: Any) -> None:
    """Sets columns of one row."""
    connection.execute(sa.update(deliveries).where(deliveries.c.id == delivery).values(values))


def drop_deliveries(connection: sa.Connection, task: int) -> None:
    """Nothing more of a task is delivered: it was canceled, or one of its outputs could not be."""
    mine = sa.and_(deliveries.c.task_id == task, _OPEN)
    connection.execute(sa.update(deliveries).where(mine).values(state=DataState.FAILED, error="Its task has ended."))


def remove_delivery(connection: sa.Connection, delivery: int) -> None:
    """Forgets one: a folder, whose files stand for it."""
    connection.execute(sa.delete(deliveries).where(deliveries.c.id == delivery))


def are_files_open(connection: sa.Connection, task: int, attempt: int) -> bool:
    """Whether a file of an attempt is still to be delivered.

    A row whose path ends with '/' is the folders of a folder.
    """
    files = sa.and_(
        deliveries.c.task_id == task, deliveries.c.attempt == attempt, _OPEN, deliveries.c.path.not_like("%/")
    )
    return connection.execute(sa.select(deliveries.c.id).where(files).limit(1)).first() is not None


def are_all_delivered(connection: sa.Connection, task: int, attempt: int) -> bool:
    """Whether nothing of an attempt is left to deliver."""
    left = sa.and_(deliveries.c.task_id == task, deliveries.c.attempt == attempt, deliveries.c.state != DataState.READY)
    return connection.execute(sa.select(deliveries.c.id).where(left).limit(1)).first() is None


def note_delivered(connection: sa.Connection, task: int, attempt: int) -> None:
    """Writes where its outputs went, with size and checksum, to the files of an attempt."""
    mine = sa.and_(attempts.c.task_id == task, attempts.c.attempt == attempt)
    kept = json.loads(connection.execute(sa.select(attempts.c.files).where(mine)).scalar() or "[]")
    sent = sa.and_(deliveries.c.task_id == task, deliveries.c.attempt == attempt)
    rows = connection.execute(sa.select(deliveries).where(sent).order_by(deliveries.c.id)).all()
    paths = sorted(row.path for row in rows)
    shown = [row for row in rows if not row.path.endswith("/") or not _has_below(paths, row.path)]
    files = [{"path": row.path, "size": row.size, "sha256": row.sha256, "url": row.url} for row in shown]
    rest = [
        file
        for file in kept
        if not _is_in(paths, path := normal(file["path"])) and not _has_below(paths, f"{path}/", itself=True)
    ]
    connection.execute(sa.update(attempts).where(mine).values(files=kept_json([*files, *rest])))


def note_reason(connection: sa.Connection, task: int, reason: str) -> None:
    """What a task whose outputs are on their way is told."""
    connection.execute(
        sa.update(tasks).where(tasks.c.id == task, tasks.c.state == TaskState.RUNNING).values(reason=reason)
    )


def unfinished_cancels(connection: sa.Connection, site: str) -> Sequence[int]:
    """Tasks whose cancel came while their outputs were on their way from a site."""
    mine = sa.and_(tasks.c.state == "CANCELING", tasks.c.allocation_seq.is_(None), deliveries.c.site == site)
    joined = tasks.join(deliveries, deliveries.c.task_id == tasks.c.id)
    return (
        connection.execute(sa.select(tasks.c.id).select_from(joined).where(mine).distinct().order_by(tasks.c.id))
        .scalars()
        .all()
    )


def _is_in(paths: Sequence[str], path: str) -> bool:
    """Whether sorted ``paths`` have ``path``."""
    at = bisect_left(paths, path)
    return at < len(paths) and paths[at] == path


def _has_below(paths: Sequence[str], folder: str, *, itself: bool = False) -> bool:
    """Whether sorted ``paths`` have one that begins with ``folder``, which ends with '/'."""
    at = bisect_left(paths, folder)
    at += not itself and at < len(paths) and paths[at] == folder
    return at < len(paths) and paths[at].startswith(folder)
