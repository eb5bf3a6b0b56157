"""What all tasks of a step need at their site before any of them may start. While some of it is missing, the step is
held.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import DataState, TaskState
from packhorse.store.chunks import chunks
from packhorse.store.data import DataKey, link_data
from packhorse.store.demands import hold_steps
from packhorse.store.holds import free_steps
from packhorse.store.schema import TASKS_PER_RUN, data, runs, step_data, steps, tasks
from packhorse.store.upserts import insert_missing

_GIVEN_TO_RUNS = (
    sa.select(data.c.id, data.c.path)
    .join(step_data, step_data.c.data_id == data.c.id)
    .join(steps, steps.c.seq == step_data.c.step_seq)
    .join(runs, runs.c.seq == steps.c.run_seq)
    .where(
        data.c.site == sa.bindparam("site"),
        sa.or_(data.c.url.like("results:%"), data.c.url.like("output:%")),
        data.c.path.is_not(None),
        runs.c.ended_at.is_not(None),
    )
    .order_by(data.c.id)
    .limit(100)
)


def need_data(connection: sa.Connection, site: str, needs: Mapping[int, Collection[DataKey]]) -> set[int]:
    """Notes what steps need, and holds those for which some of it is missing; returns these."""
    known: dict[int, dict[DataKey, str | None]] = {seq: {} for seq in needs}
    columns = (step_data.c.step_seq, step_data.c.path, data.c.url, data.c.version)
    query = sa.select(*columns).join(data, data.c.id == step_data.c.data_id)
    for some in chunks(needs):
        for row in connection.execute(query.where(step_data.c.step_seq.in_(some))):
            known[row.step_seq][DataKey(row.url, row.version)] = row.path
    new = {seq: [key for key in keys if key not in known[seq]] for seq, keys in needs.items()}
    links = link_data(connection, site, {key for keys in new.values() for key in keys})
    rows = [
        {"step_seq": seq, "data_id": links[key].data_id, "sha256": links[key].sha256, "path": links[key].path}
        for seq, keys in new.items()
        for key in keys
    ]
    if rows:
        connection.execute(insert_missing(connection, step_data), rows)
    missing = {seq for seq, of_step in known.items() if None in of_step.values()}
    missing |= {seq for seq, keys in new.items() if any(links[key].path is None for key in keys)}
    hold_steps(connection, missing, held=True)
    return missing


def give_to_steps(connection: sa.Connection, row: Any, sha256: str, path: str, *, keep: bool) -> None:
    """Lets all steps that wait for a row of data have it; ``keep``: they are to be asked later where it is."""
    waiting = sa.and_(step_data.c.data_id == row.id, step_data.c.path.is_(None))
    seqs = connection.execute(sa.select(step_data.c.step_seq).where(waiting)).scalars().all()
    if keep:
        connection.execute(sa.update(step_data).where(waiting).values(sha256=sha256, path=path))
    else:
        connection.execute(sa.delete(step_data).where(waiting))
    free_steps(connection, row.site, seqs)


def given_to_steps(connection: sa.Connection, seqs: Collection[int]) -> dict[int, dict[DataKey, str]]:
    """Where the data of steps is at their site, by step."""
    found: dict[int, dict[DataKey, str]] = {}
    columns = (step_data.c.step_seq, step_data.c.path, data.c.url, data.c.version)
    query = sa.select(*columns).join(data, data.c.id == step_data.c.data_id).where(step_data.c.path.is_not(None))
    for some in chunks(seqs):
        for row in connection.execute(query.where(step_data.c.step_seq.in_(some))):
            found.setdefault(row.step_seq, {})[DataKey(row.url, row.version)] = row.path
    return found


def awaited_by_steps(connection: sa.Connection, seqs: Collection[int]) -> dict[int, Any]:
    """By step, the first row of data that it waits for."""
    found: dict[int, Any] = {}
    query = sa.select(step_data.c.step_seq, data).join(data, data.c.id == step_data.c.data_id)
    for some in chunks(seqs):
        missing = sa.and_(step_data.c.step_seq.in_(some), step_data.c.path.is_(None))
        for row in connection.execute(query.where(missing).order_by(data.c.id)):
            found.setdefault(row.step_seq, row)
    return found


def steps_in_vain(connection: sa.Connection, site: str, limit: int = 100) -> Sequence[Any]:
    """(step_seq, data_id, url, version, error, and the ids ``first`` to ``last`` of its tasks) of steps that wait for
    what will not come.
    """
    first = steps.c.run_seq * TASKS_PER_RUN + steps.c.first
    number = sa.func.coalesce(steps.c.tasks, 0)
    columns = (step_data.c.step_seq, step_data.c.data_id, data.c.url, data.c.version, data.c.error)
    query = sa.select(*columns, first.label("first"), (first + number - 1).label("last"))
    joined = step_data.join(data, data.c.id == step_data.c.data_id).join(steps, steps.c.seq == step_data.c.step_seq)
    lost = sa.and_(step_data.c.path.is_(None), data.c.site == site, data.c.state == DataState.FAILED)
    return connection.execute(query.select_from(joined).where(lost).limit(limit)).all()


def queued_between(connection: sa.Connection, first: int, last: int, limit: int) -> Sequence[int]:
    """Ids of at most ``limit`` queued tasks."""
    some = sa.and_(tasks.c.id.between(first, last), tasks.c.state == TaskState.QUEUED)
    return connection.execute(sa.select(tasks.c.id).where(some).order_by(tasks.c.id).limit(limit)).scalars().all()


def forget_need(connection: sa.Connection, site: str, step_seq: int, data_id: int) -> None:
    """A step does not wait for a row of data any more."""
    mine = sa.and_(step_data.c.step_seq == step_seq, step_data.c.data_id == data_id)
    connection.execute(sa.delete(step_data).where(mine))
    free_steps(connection, site, [step_seq])


def given_to_ended_runs(connection: sa.Connection, site: str) -> Sequence[Any]:
    """(id, path) of tables that gathering tasks read at a site, and of outputs that were brought from other sites, of
    runs that have ended; not all at once.
    """
    return connection.execute(_GIVEN_TO_RUNS, {"site": site}).all()


def forget_data(connection: sa.Connection, ids: Collection[int]) -> None:
    """Forgets data that nobody needs any more, and who needed it."""
    for some in chunks(ids):
        connection.execute(sa.delete(step_data).where(step_data.c.data_id.in_(some)))
        connection.execute(sa.delete(data).where(data.c.id.in_(some)))
