"""Tasks that are looked up before they start: an earlier one with the same key may have left what they would.

All of it by an index, and for thousands of tasks at a time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.store.chunks import chunks
from packhorse.store.data import DataKey
from packhorse.store.demands import count_made_ready
from packhorse.store.schema import (
    REUSABLE,
    TASKS_PER_RUN,
    TO_LOOK_UP,
    attempts,
    data,
    data_edges,
    file_sums,
    lookups,
    runs,
    step_counts,
    steps,
    tasks,
)
from packhorse.store.tasks import get_task
from packhorse.store.upserts import insert_or_set

_NEWEST = (1 << 63) - 1
_LAST = sa.and_(attempts.c.task_id == tasks.c.id, attempts.c.attempt == tasks.c.attempt)
_FILES = sa.func.coalesce(attempts.c.files, lookups.c.files).label("files")
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_WITH_FILES = tasks.join(attempts, _LAST, isouter=True).join(lookups, lookups.c.task_id == tasks.c.id, isouter=True)

# statements are made once: making one takes longer than executing it
_TO_LOOK_UP = (
    sa.select(tasks.c.id, tasks.c.step_seq, tasks.c.params)
    .where(sa.text(TO_LOOK_UP), tasks.c.step_seq.in_(_IDS))
    .order_by(tasks.c.step_seq, tasks.c.id)
    .limit(sa.bindparam("number", type_=sa.Integer))
)
_EARLIER = (
    sa.select(tasks.c.id, tasks.c.result, tasks.c.exit_code, lookups.c.taken_from, runs.c.id.label("run_id"), _FILES)
    .select_from(_WITH_FILES.join(steps, steps.c.seq == tasks.c.step_seq).join(runs, runs.c.seq == steps.c.run_seq))
    .where(tasks.c.id.in_(_IDS))
)
_FILES_LEFT = (
    sa.select(tasks.c.id, _FILES)
    .select_from(_WITH_FILES)
    .where(tasks.c.id.in_(_IDS), tasks.c.state == TaskState.COMPLETE)
)
_RUN_IDS = sa.select(runs.c.id, runs.c.seq).where(runs.c.seq.in_(_IDS))
_RUN_SEQS = sa.select(runs.c.id, runs.c.seq).where(runs.c.id.in_(_IDS))


def steps_to_look_up(connection: sa.Connection, site: str) -> Sequence[Any]:
    """(seq, run_seq) of the steps of a site some of whose tasks may still have to be looked up, oldest first."""
    query = sa.select(steps.c.seq, steps.c.run_seq).join(runs, runs.c.seq == steps.c.run_seq)
    ours = sa.and_(steps.c.site == site, sa.text("steps.reuse"), runs.c.visible)
    return connection.execute(query.where(ours).order_by(steps.c.seq)).all()


def tasks_to_look_up(connection: sa.Connection, step_seqs: Collection[int], limit: int) -> Sequence[Any]:
    """(id, step_seq, params) of at most ``limit`` tasks of steps that wait for nothing else."""
    found: list[Any] = []
    for some in chunks(step_seqs):
        found += connection.execute(_TO_LOOK_UP, {"ids": some, "number": limit - len(found)})
        if len(found) >= limit:
            break
    return found


def steps_looked_up(connection: sa.Connection, step_seqs: Collection[int]) -> list[int]:
    """Those of the steps that have no task left to look up, nor will have one."""
    found: list[int] = []
    c = step_counts.c
    queued = sa.exists(
        sa.select(1).where(
            c.run_seq == steps.c.run_seq, c.step_seq == steps.c.seq, c.state == TaskState.QUEUED, c.tasks > 0
        )
    )
    over = sa.or_(runs.c.ended_at.is_not(None), sa.and_(steps.c.tasks.is_not(None), sa.not_(queued)))
    query = sa.select(steps.c.seq).join(runs, runs.c.seq == steps.c.run_seq)
    for some in chunks(step_seqs):
        found += connection.execute(query.where(steps.c.seq.in_(some), over)).scalars()
    return found


def end_lookups(connection: sa.Connection, step_seqs: Collection[int]) -> None:
    """Notes that all tasks of steps were looked up."""
    for some in chunks(step_seqs):
        connection.execute(sa.update(steps).where(steps.c.seq.in_(some)).values(reuse=False))


class Earlier(NamedTuple):
    """A task that completed, and what it left; ``origin`` is the one that was executed for that."""

    id: int
    run_id: str
    origin: int
    result: str | None
    exit_code: int | None
    files: str | None


def newest_with_keys(connection: sa.Connection, before: Mapping[str, int | None]) -> dict[str, int]:
    """The newest task that completed with each key, older than the one that ``before`` names, if it does: a look at the
    index for each, in one statement.
    """
    pairs = [[key, _NEWEST if task is None else task] for key, task in sorted(before.items())]
    rows = connection.execute(_newest(connection.dialect.name == "sqlite"), {"pairs": pairs})
    return {row.key: row.id for row in rows if row.id is not None}


@cache
def _newest(is_sqlite: bool) -> sa.Select[Any]:
    pairs: sa.BindParameter[Any] = sa.bindparam("pairs", type_=sa.JSON)
    key: sa.ColumnElement[str]
    older: sa.ColumnElement[int]
    if is_sqlite:
        listed = sa.func.json_each(pairs).table_valued("value")
        key, older = (sa.func.json_extract(listed.c.value, f"$[{place}]") for place in (0, 1))
    else:
        listed = sa.func.json_array_elements(pairs).table_valued(sa.column("value", sa.JSON))
        key, older = listed.c.value[0].as_string(), sa.cast(listed.c.value[1].as_string(), sa.BigInteger)
    mine = sa.and_(sa.text(REUSABLE), tasks.c.cache_key == key, tasks.c.id < older)
    newest = sa.select(sa.func.max(tasks.c.id)).select_from(tasks).where(mine).correlate(listed)
    if is_sqlite:  # which would look through all that are complete for the largest id
        newest = newest.with_hint(tasks, "INDEXED BY ix_tasks_reusable", "sqlite")
    return sa.select(key.label("key"), newest.scalar_subquery().label("id"))


def earlier_tasks(connection: sa.Connection, ids: Collection[int]) -> dict[int, Earlier]:
    """What tasks left that completed."""
    found: dict[int, Earlier] = {}
    for some in chunks(ids):
        for row in connection.execute(_EARLIER, {"ids": some}):
            origin = row.id if row.taken_from is None else row.taken_from
            found[row.id] = Earlier(row.id, row.run_id, origin, row.result, row.exit_code, row.files)
    return found


def files_left(connection: sa.Connection, ids: Collection[int]) -> dict[int, str | None]:
    """The outputs (JSON) of those tasks that completed, by task."""
    found: dict[int, str | None] = {}
    for some in chunks(ids):
        found |= {row.id: row.files for row in connection.execute(_FILES_LEFT, {"ids": some})}
    return found


def run_ids(connection: sa.Connection, seqs: Collection[int]) -> dict[int, str]:
    """The ids of runs, by ``seq``."""
    found: dict[int, str] = {}
    for some in chunks(seqs):
        found |= {row.seq: row.id for row in connection.execute(_RUN_IDS, {"ids": some})}
    return found


def run_seqs(connection: sa.Connection, run_ids: Collection[str]) -> dict[str, int]:
    """The ``seq`` of runs, by id."""
    found: dict[str, int] = {}
    for some in chunks(run_ids):
        found |= {row.id: row.seq for row in connection.execute(_RUN_SEQS, {"ids": some})}
    return found


def data_sums(connection: sa.Connection, ids: Collection[int]) -> dict[int, dict[DataKey, str]]:
    """The content of the data that tasks were given, by task."""
    found: dict[int, dict[DataKey, str]] = {}
    columns = (data_edges.c.task_id, data_edges.c.sha256, data.c.url, data.c.version)
    query = sa.select(*columns).join(data, data.c.id == data_edges.c.data_id).where(data_edges.c.sha256.is_not(None))
    for some in chunks(ids):
        for row in connection.execute(query.where(data_edges.c.task_id.in_(some))):
            found.setdefault(row.task_id, {})[DataKey(row.url, row.version)] = row.sha256
    return found


class LeftByTask(NamedTuple):
    """What a gathering task is told of one that it reads."""

    id: int
    name: str | None
    state: str
    cache_key: str | None
    result: str | None
    reason: str | None
    files: str | None


def page_left(
    connection: sa.Connection, first: int, last: int, limit: int, states: Collection[TaskState] | None
) -> Sequence[LeftByTask]:
    """Of at most ``limit`` tasks whose ids are from ``first`` to ``last``, in order."""
    c = tasks.c
    query = sa.select(c.id, c.name, c.state, c.cache_key, c.result, c.reason, _FILES).select_from(
        tasks.join(attempts, _LAST, isouter=True).join(lookups, lookups.c.task_id == tasks.c.id, isouter=True)
    )
    query = query.where(c.id.between(first, last)).order_by(c.id).limit(limit)
    rows = connection.execute(query if states is None else query.where(c.state.in_(states)))
    return [LeftByTask(*row) for row in rows]


class FileLook(NamedTuple):
    """A file as it was when its checksum was computed."""

    path: str
    size: int
    mtime_ns: int


def known_sums(connection: sa.Connection, looks: Collection[FileLook]) -> dict[FileLook, str]:
    """The checksums of files that are as they were."""
    by_hash = {_path_hash(look.path): look for look in looks}
    found: dict[FileLook, str] = {}
    for some in chunks(by_hash):
        for row in connection.execute(sa.select(file_sums).where(file_sums.c.path_hash.in_(some))):
            look = by_hash[row.path_hash]
            if (row.size, row.mtime_ns) == (look.size, look.mtime_ns):
                found[look] = row.sha256
    return found


def keep_sums(connection: sa.Connection, sums: Mapping[FileLook, str]) -> None:
    """Remembers checksums of files."""
    rows = [
        {"path_hash": _path_hash(look.path), "size": look.size, "mtime_ns": look.mtime_ns, "sha256": sha256}
        for look, sha256 in sums.items()
    ]
    if rows:
        connection.execute(insert_or_set(connection, file_sums, "size", "mtime_ns", "sha256"), rows)


def _path_hash(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def keep_lookups(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Remembers what came of looking tasks up; each row has every column of the table."""
    if rows:
        connection.execute(sa.insert(lookups), list(rows))


def let_start(connection: sa.Connection, keys: Mapping[int, str | None]) -> None:
    """Tasks that were looked up, by id with their keys, start as others do: they no longer wait for that."""
    if keys:
        one = sa.update(tasks).where(tasks.c.id == sa.bindparam("of"))
        values = {"cache_key": sa.bindparam("key"), "waiting_on": tasks.c.waiting_on - 1}
        connection.execute(one.values(values), [{"of": task, "key": key} for task, key in sorted(keys.items())])
        count_made_ready(connection, keys)


def taken_in(connection: sa.Connection, run_seq: int) -> int:
    """How many tasks of a run took the result of an earlier one."""
    mine = lookups.c.task_id.between(run_seq * TASKS_PER_RUN, (run_seq + 1) * TASKS_PER_RUN - 1)
    query = sa.select(sa.func.count()).select_from(lookups).where(mine, lookups.c.taken_from.is_not(None))
    return int(connection.execute(query).scalar_one())


def lookup_of(connection: sa.Connection, task: int) -> Any | None:
    """What came of looking a task up."""
    return connection.execute(sa.select(lookups).where(lookups.c.task_id == task)).one_or_none()


def source_of(connection: sa.Connection, task: Any) -> Any:
    """The row of the task that was executed for a task's result: its own, or that of the one it was taken from, if that
    is the same user's.
    """
    lookup = lookup_of(connection, task.id) if task.attempt == 0 and task.cache_key else None
    if lookup is None or lookup.taken_from is None:
        return task
    seqs = [one // TASKS_PER_RUN for one in (task.id, lookup.taken_from)]
    users = connection.execute(sa.select(runs.c.user).where(runs.c.seq.in_(seqs)).distinct()).scalars().all()
    return (get_task(connection, lookup.taken_from) if len(users) == 1 else None) or task


_RUNS_BACK = 1000
_STEPS_BACK = 10


def steps_like(connection: sa.Connection, user: str, name: str, before: int) -> Sequence[Any]:
    """(seq, run_seq, first, tasks) of the steps of this name in a user's last runs, older than one, newest first."""
    last = sa.select(runs.c.seq).where(runs.c.user == user, runs.c.visible).order_by(runs.c.seq.desc())
    recent = last.limit(_RUNS_BACK).subquery()
    query = sa.select(steps.c.seq, steps.c.run_seq, steps.c.first, steps.c.tasks)
    mine = query.join(recent, recent.c.seq == steps.c.run_seq).where(steps.c.name == name, steps.c.seq < before)
    return connection.execute(mine.order_by(steps.c.seq.desc()).limit(_STEPS_BACK)).all()


def tasks_like(connection: sa.Connection, first: int, last: int, params: str) -> set[int]:
    """A task with these parameters, if there is one, whose id is from ``first`` to ``last``."""
    query = sa.select(tasks.c.id).where(tasks.c.id.between(first, last), tasks.c.params == params)
    return set(connection.execute(query.order_by(tasks.c.id).limit(1)).scalars())
