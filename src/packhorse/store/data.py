"""Data that tasks and steps wait for: by URL and site, who waits, what came of it, and what is in a site's cache.

What all tasks of a step need is in ``store.stepdata``.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from packhorse.domain.states import ACTIVE, DataState, TaskState
from packhorse.store.chunks import chunks
from packhorse.store.demands import add_ready, count_ready
from packhorse.store.schema import cached, data, data_edges, runs, step_data, steps, tasks
from packhorse.store.upserts import insert_missing, insert_or_set

_LOOK_AGAIN_S = 86400.0
_OVER = (DataState.READY, DataState.FAILED)


class DataKey(NamedTuple):
    """What a task needs at its site: the content of a URL now, or, with ``version``, the reference data of that
    version.

    Of this machine: the folder of an app (``app:NAME``; its digest is the version), the table that the tasks of a step
    read (``results:RUN/STEP``), or a file (``file://PATH``; the version says how it was when it was asked for).
    """

    url: str
    version: str = ""


class Link(NamedTuple):
    """A row of data, and where its content is when there is nothing to wait for."""

    data_id: int
    sha256: str | None
    path: str | None


def _awaited(data_id: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    who = data_edges.join(tasks, tasks.c.id == data_edges.c.task_id)
    waits = sa.and_(data_edges.c.data_id == data_id, data_edges.c.sha256.is_(None), tasks.c.state == TaskState.QUEUED)
    needing = step_data.join(steps, steps.c.seq == step_data.c.step_seq).join(runs, runs.c.seq == steps.c.run_seq)
    of_step = sa.and_(step_data.c.data_id == data_id, step_data.c.path.is_(None), runs.c.ended_at.is_(None))
    return sa.or_(
        sa.exists(sa.select(1).select_from(who).where(waits)),
        sa.exists(sa.select(1).select_from(needing).where(of_step)),
    )


_IS_OPEN = sa.and_(data.c.site == sa.bindparam("site"), sa.text("data.state NOT IN ('READY', 'FAILED')"))
_ANY_OPEN = sa.select(data.c.id).where(_IS_OPEN).limit(1)


_GIVEN = (
    sa.select(data_edges.c.task_id, data_edges.c.path, data.c.url, data.c.version)
    .join(data, data.c.id == data_edges.c.data_id)
    .where(data_edges.c.path.is_not(None), data_edges.c.task_id.in_(sa.bindparam("ids", expanding=True)))
)


def link_data(connection: sa.Connection, site: str, keys: Collection[DataKey]) -> dict[DataKey, Link]:
    """The rows of ``keys`` at a site, made where there are none, locked.

    What is over is queued again, to be looked at by the engine.

    Reference data that is there already is taken as it is: a version does not change. A file is looked at again after a
    day: some sites remove what is old.
    """
    statement = insert_missing(connection, data)
    new = {"state": DataState.QUEUED, "tries": 0, "wrong": 0, "not_before": 0.0, "bytes_done": 0, "best_bytes": 0}
    links: dict[DataKey, Link] = {}
    ordered = sorted(keys)
    for start in range(0, len(ordered), 500):
        some = ordered[start : start + 500]
        connection.execute(statement, [{"site": site, "url": key.url, "version": key.version, **new} for key in some])
        mine = sa.and_(data.c.site == site, data.c.url.in_({key.url for key in some}))
        for row in connection.execute(sa.select(data).where(mine).order_by(data.c.id).with_for_update()).all():
            key = DataKey(row.url, row.version)
            if key not in keys:
                continue
            is_known = row.state == DataState.READY and bool(row.version)
            if kind_of(row.url) == "file":
                is_known = is_known and (row.fetched_at or 0.0) > time.time() - _LOOK_AGAIN_S
            there = is_known and _is_cached(connection, site, row.sha256)
            links[key] = Link(row.id, row.sha256, row.path) if there else Link(row.id, None, None)
            if row.state in _OVER and not there:
                connection.execute(sa.update(data).where(data.c.id == row.id).values({**new, "error": None}))
    return links


def _is_cached(connection: sa.Connection, site: str, sha256: str) -> bool:
    """Locked, so that it does not leave the cache before this transaction ends."""
    return connection.execute(_content(site, sha256).with_for_update()).first() is not None


def add_data_edges(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Remembers who needs what; each row has every column of the table."""
    if rows:
        connection.execute(sa.insert(data_edges), rows)


#: What has places of its own among what is under way, so that none waits for what may be large.
KINDS: Mapping[str, sa.ColumnElement[bool]] = {
    "program": sa.or_(data.c.url.like("app:%"), data.c.url.like("results:%")),
    "file": sa.or_(data.c.url.like("file:%"), data.c.url.like("output:%")),
    "url": sa.and_(data.c.url.like("%://%"), data.c.url.not_like("file:%"), data.c.url.not_like("output:%")),
}


def kind_of(url: str) -> str:
    """Which of ``KINDS`` it is."""
    scheme = url.partition(":")[0]
    return "program" if scheme in ("app", "results") else "file" if scheme in ("file", "output") else "url"


def open_data(
    connection: sa.Connection, site: str, under_way: Collection[int], room: Mapping[str, int], now: float, latest: float
) -> Sequence[Any]:
    """The rows of a site that are ``under_way``, and, oldest first, as many of each kind as there is ``room`` for that
    are to be brought now; and whether anybody waits for each (``is_wanted``).

    A back-off that ends after ``latest`` was set by a clock that has jumped since: it is over.
    """
    if connection.execute(_ANY_OPEN, {"site": site}).first() is None:
        return []
    still_open = sa.and_(data.c.site == site, sa.text("data.state NOT IN ('READY', 'FAILED')"))
    query = sa.select(data, _awaited(data.c.id).label("is_wanted")).where(still_open).order_by(data.c.id)
    found = list(connection.execute(query.where(data.c.id.in_(under_way))).all()) if under_way else []
    due = sa.and_(sa.or_(data.c.not_before <= now, data.c.not_before > latest), data.c.id.not_in(under_way))
    for kind, number in room.items():
        if number > 0:
            found += connection.execute(query.where(due, KINDS[kind]).limit(number)).all()
    return found


def lock_data(connection: sa.Connection, data_id: int) -> Any:
    """One row, for this transaction.

    Taken before anything is settled: who comes to wait for it meanwhile is seen, or queues it again.
    """
    return connection.execute(sa.select(data).where(data.c.id == data_id).with_for_update()).one()


def update_data(connection: sa.Connection, data_id: int, **values: Any) -> None:
    """Sets columns of one row."""
    connection.execute(sa.update(data).where(data.c.id == data_id).values(values))


def give_data(connection: sa.Connection, data_id: int, sha256: str, path: str) -> None:
    """Lets everybody who waits for a row have ``sha256`` at ``path``: a few statements, however many they are."""
    waiting = sa.and_(data_edges.c.data_id == data_id, data_edges.c.sha256.is_(None))
    who = sa.select(data_edges.c.task_id).where(waiting)
    connection.execute(sa.update(tasks).where(tasks.c.id.in_(who)).values(waiting_on=tasks.c.waiting_on - 1))
    add_ready(connection, count_ready(connection, tasks.c.id.in_(who)))
    connection.execute(sa.update(data_edges).where(waiting).values(sha256=sha256, path=path))


def is_awaited(connection: sa.Connection, data_id: int) -> bool:
    """Whether anybody waits for a row; of one that is locked, nobody can have come since."""
    return bool(connection.execute(sa.select(_awaited(sa.literal(data_id)))).scalar_one())


def waiting_tasks(connection: sa.Connection, data_id: int) -> Sequence[int]:
    """Ids of the queued tasks that wait for a row."""
    query = (
        sa.select(tasks.c.id)
        .join(data_edges, data_edges.c.task_id == tasks.c.id)
        .where(data_edges.c.data_id == data_id, data_edges.c.sha256.is_(None), tasks.c.state == TaskState.QUEUED)
    )
    return connection.execute(query.order_by(tasks.c.id)).scalars().all()


def given_data(connection: sa.Connection, ids: Collection[int]) -> dict[int, dict[DataKey, str]]:
    """Where the data of tasks is at their site, by task."""
    found: dict[int, dict[DataKey, str]] = {}
    for some in chunks(ids):
        for row in connection.execute(_GIVEN, {"ids": some}):
            found.setdefault(row.task_id, {})[DataKey(row.url, row.version)] = row.path
    return found


def awaited_data(connection: sa.Connection, ids: Collection[int]) -> dict[int, list[Any]]:
    """The rows of data that tasks wait for, by task: those of which most is missing last."""
    found: dict[int, list[Any]] = {}
    query = (
        sa.select(data_edges.c.task_id, data)
        .join(data, data.c.id == data_edges.c.data_id)
        .where(data_edges.c.sha256.is_(None))
    )
    for some in chunks(ids):
        for row in connection.execute(query.where(data_edges.c.task_id.in_(some)).order_by(data.c.id)):
            found.setdefault(row.task_id, []).append(row)
    return found


def data_of_task(connection: sa.Connection, task: int) -> Sequence[Any]:
    """(url, version, sha256, path) of what a task needs; ``sha256`` is None while it waits."""
    columns = (data.c.url, data.c.version, data_edges.c.sha256, data_edges.c.path)
    query = sa.select(*columns).join(data, data.c.id == data_edges.c.data_id).where(data_edges.c.task_id == task)
    return connection.execute(query.order_by(data.c.id)).all()


def sizes_of_data(connection: sa.Connection, site: str, urls: Collection[str]) -> dict[str, int]:
    """The size in bytes of what is known at a site by these URLs, of any version the last one."""
    found: dict[str, int] = {}
    for some in chunks(urls):
        query = sa.select(data.c.url, data.c.size).where(data.c.site == site, data.c.url.in_(some))
        found |= {row.url: row.size for row in connection.execute(query.where(data.c.size.is_not(None)))}
    return found


def remember_cached(connection: sa.Connection, site: str, sha256: str, size: int, at: float) -> None:
    """Content is in the cache of a site, and was used just now."""
    row = {"site": site, "sha256": sha256, "size": size, "last_used_at": at}
    connection.execute(insert_or_set(connection, cached, "last_used_at"), row)


def cached_bytes(connection: sa.Connection, site: str) -> int:
    """How much is in the cache of a site."""
    return int(
        connection.execute(
            sa.select(sa.func.coalesce(sa.func.sum(cached.c.size), 0)).where(cached.c.site == site)
        ).scalar_one()
    )


def least_used(connection: sa.Connection, site: str) -> Sequence[Any]:
    """(sha256, size) of what is in a site's cache and no active task has, least recently used first."""
    query = sa.select(cached.c.sha256, cached.c.size).where(cached.c.site == site, sa.not_(_in_use(cached.c.sha256)))
    return connection.execute(query.order_by(cached.c.last_used_at, cached.c.sha256)).all()


def forget_cached(connection: sa.Connection, site: str, sha256: str) -> bool:
    """Takes content out of the cache's list, unless somebody has come to use it; whether it did.

    The files are the caller's.
    """
    connection.execute(_content(site, sha256).with_for_update())
    if connection.execute(sa.select(_in_use(sa.literal(sha256)))).scalar_one():
        return False
    connection.execute(sa.delete(cached).where(cached.c.site == site, cached.c.sha256 == sha256))
    return True


def is_cached(connection: sa.Connection, site: str, sha256: str) -> bool:
    """Whether the cache's list has it."""
    return connection.execute(_content(site, sha256)).first() is not None


def _content(site: str, sha256: str) -> sa.Select[Any]:
    return sa.select(cached).where(cached.c.site == site, cached.c.sha256 == sha256)


def _in_use(sha256: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    users = data_edges.join(tasks, tasks.c.id == data_edges.c.task_id)
    needing = step_data.join(steps, steps.c.seq == step_data.c.step_seq).join(runs, runs.c.seq == steps.c.run_seq)
    of_step = sa.and_(step_data.c.sha256 == sha256, runs.c.ended_at.is_(None))
    return sa.or_(
        sa.exists(sa.select(1).select_from(users).where(data_edges.c.sha256 == sha256, tasks.c.state.in_(ACTIVE))),
        sa.exists(sa.select(1).select_from(needing).where(of_step)),
    )


def edges_for(
    first: int, batch: Iterable[tuple[int, Collection[DataKey]]], links: Mapping[DataKey, Link]
) -> list[dict[str, Any]]:
    """The rows of ``data_edges`` for (index, what it needs) of tasks whose ids start at ``first``."""
    return [
        {"data_id": links[key].data_id, "task_id": first + index, "sha256": links[key].sha256, "path": links[key].path}
        for index, keys in batch
        for key in sorted(set(keys))
    ]
