"""Reads of tasks, attempts, events and log chunks: by key or by cursor page, never a scan."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.store.bulk import Bulk, BulkRow
from packhorse.store.chunks import chunks
from packhorse.store.database import Database
from packhorse.store.schema import (
    HAS_ALLOCATION,
    TASKS_PER_RUN,
    allocations,
    attempts,
    demands,
    edges,
    events,
    in_run,
    journals,
    log_chunks,
    lookups,
    tasks,
)

_HAS_ALLOCATION = sa.text(HAS_ALLOCATION)


def get_task(connection: sa.Connection, task: int) -> Any | None:
    """The task's row."""
    return connection.execute(sa.select(tasks).where(tasks.c.id == task)).one_or_none()


_PARAMS = sa.select(tasks.c.id, tasks.c.params).where(tasks.c.id.in_(sa.bindparam("ids", expanding=True)))


def params_of(connection: sa.Connection, ids: Collection[int]) -> dict[int, str]:
    """What tasks are given, as JSON."""
    found: dict[int, str] = {}
    for some in chunks(ids):
        found |= {row.id: row.params for row in connection.execute(_PARAMS, {"ids": some})}
    return found


def page_of_tasks(
    connection: sa.Connection, run_seq: int, states: Collection[TaskState] | None, after: int | None, limit: int
) -> Sequence[Any]:
    """Tasks of a run in order; ``after`` is the id of the last one seen."""
    # one range, not two: SQLite seeks by the first condition on a column and filters by the second
    first = run_seq * TASKS_PER_RUN if after is None else max(after + 1, run_seq * TASKS_PER_RUN)
    rest_of_run = tasks.c.id.between(first, (run_seq + 1) * TASKS_PER_RUN - 1)
    query = sa.select(tasks).where(rest_of_run).order_by(tasks.c.id).limit(limit)
    if states is not None:
        query = query.where(tasks.c.state.in_(states))
    return connection.execute(query).all()


def iter_tasks(
    database: Database, run_seq: int, states: Collection[TaskState] | None = None, page: int = 2000
) -> Iterator[Any]:
    """All tasks of a run in constant memory, a page a transaction."""
    after: int | None = None
    while True:
        with database.read() as connection:
            rows = page_of_tasks(connection, run_seq, states, after, page)
        yield from rows
        if len(rows) < page:
            return
        after = rows[-1].id


def tasks_at_site(connection: sa.Connection, allocation_seq: int) -> Sequence[Any]:
    """(id, state, attempt, block) of the tasks that an allocation has."""
    columns = (tasks.c.id, tasks.c.state, tasks.c.attempt, tasks.c.block)
    return connection.execute(
        sa.select(*columns).where(tasks.c.allocation_seq == allocation_seq, _HAS_ALLOCATION)
    ).all()


def asked_in_allocations(connection: sa.Connection, allocation_seqs: Collection[int]) -> dict[int, set[str]]:
    """What the tasks of allocations ask for, as JSON, each once."""
    found: dict[int, set[str]] = {}
    for some in chunks(allocation_seqs):
        query = sa.select(tasks.c.allocation_seq, demands.c.resources).distinct()
        query = query.join(demands, demands.c.seq == tasks.c.demand_seq)
        for seq, resources in connection.execute(query.where(tasks.c.allocation_seq.in_(some), _HAS_ALLOCATION)):
            found.setdefault(seq, set()).add(resources)
    return found


def without_tasks(connection: sa.Connection, allocation_seqs: Collection[int]) -> set[int]:
    """The allocations that have no task."""
    idle: set[int] = set()
    for some in chunks(allocation_seqs):
        mine = sa.select(tasks.c.id).where(tasks.c.allocation_seq == allocations.c.seq, _HAS_ALLOCATION)
        query = sa.select(allocations.c.seq).where(allocations.c.seq.in_(some), ~mine.exists())
        idle.update(connection.execute(query).scalars())
    return idle


_ATTEMPTS = (
    sa.select(attempts, allocations.c.id.label("allocation"), allocations.c.site, allocations.c.job_id, journals.c.node)
    .join(allocations, allocations.c.seq == attempts.c.allocation_seq, isouter=True)
    .join(journals, journals.c.id == attempts.c.journal_id, isouter=True)
    .where(attempts.c.task_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(attempts.c.task_id, attempts.c.attempt)
)


def attempts_of(connection: sa.Connection, task: int) -> Sequence[Any]:
    """The ended attempts of a task with their site, allocation and node."""
    return attempts_of_many(connection, [task])


def attempts_of_many(connection: sa.Connection, ids: Collection[int]) -> Sequence[Any]:
    """The same of several tasks, in order of their ids."""
    return [row for some in chunks(ids) for row in connection.execute(_ATTEMPTS, {"ids": some})]


def events_of(connection: sa.Connection, task: int) -> Sequence[Any]:
    """Every transition of a task, in order."""
    return connection.execute(sa.select(events).where(events.c.task_id == task).order_by(events.c.id)).all()


def log_chunks_of(connection: sa.Connection, task: int, attempt: int, stream: str) -> Sequence[Any]:
    """(start, length, allocation, site, agent) of an attempt's output, in order."""
    return connection.execute(
        sa.select(
            log_chunks.c.start,
            log_chunks.c.length,
            journals.c.agent,
            allocations.c.id.label("allocation"),
            allocations.c.site,
        )
        .join(journals, journals.c.id == log_chunks.c.journal_id)
        .join(allocations, allocations.c.seq == journals.c.allocation_seq)
        .where(log_chunks.c.task_id == task, log_chunks.c.attempt == attempt, log_chunks.c.stream == stream)
        .order_by(log_chunks.c.start)
    ).all()


def failures_of(connection: sa.Connection, task: int) -> Sequence[Any]:
    """(failure class, evidence as JSON text) of the failed attempts of a task, in order."""
    query = sa.select(attempts.c.failure, attempts.c.evidence).where(
        attempts.c.task_id == task, attempts.c.failure.is_not(None)
    )
    return connection.execute(query.order_by(attempts.c.attempt)).all()


def usage_of(connection: sa.Connection, run_seq: int) -> Any:
    """Sums over the ended attempts of a run: attempts, cpu_s used, wall_s, peak memory of the largest, bytes moved."""
    first = run_seq * TASKS_PER_RUN
    return connection.execute(
        sa.select(
            sa.func.count().label("attempts"),
            sa.func.coalesce(sa.func.sum(attempts.c.cpu_s), 0.0).label("cpu_s"),
            sa.func.coalesce(sa.func.sum(attempts.c.wall_s), 0.0).label("wall_s"),
            sa.func.coalesce(sa.func.max(attempts.c.peak_memory), 0).label("peak_memory"),
            sa.func.coalesce(sa.func.sum(attempts.c.read_bytes), 0).label("read_bytes"),
            sa.func.coalesce(sa.func.sum(attempts.c.write_bytes), 0).label("write_bytes"),
            sa.func.min(attempts.c.started_at).label("first_start"),
            sa.func.max(attempts.c.ended_at).label("last_end"),
        ).where(attempts.c.task_id.between(first, first + TASKS_PER_RUN - 1))
    ).one()


def tasks_of_block(connection: sa.Connection, allocation_seq: int, block: int) -> Sequence[Any]:
    """The tasks that are at a site in one block, with what is needed to render them again."""
    columns = (
        tasks.c.id, tasks.c.step_seq, tasks.c.demand_seq, tasks.c.params, tasks.c.attempt, tasks.c.overrides,
    )  # fmt: skip
    mine = sa.and_(tasks.c.allocation_seq == allocation_seq, tasks.c.block == block, _HAS_ALLOCATION)
    return connection.execute(sa.select(*columns).where(mine).order_by(tasks.c.id)).all()


_LAST = sa.and_(attempts.c.task_id == tasks.c.id, attempts.c.attempt == tasks.c.attempt)
_FILES = sa.func.coalesce(attempts.c.files, lookups.c.files).label("files")
_WITH_FILES = (
    sa.select(tasks, _FILES)
    .join(attempts, _LAST, isouter=True)
    .join(lookups, lookups.c.task_id == tasks.c.id, isouter=True)
    .order_by(tasks.c.id)
)


def tasks_with_files(connection: sa.Connection, ids: Collection[int]) -> Iterator[Any]:
    """Tasks with the outputs that their last attempt left, or that were taken from another, in order of id, a thousand
    at a time.
    """
    for some in chunks(ids):
        yield from connection.execute(_WITH_FILES.where(tasks.c.id.in_(some)))


def page_with_files(
    connection: sa.Connection, first: int, last: int, limit: int, states: Collection[TaskState] | None = None
) -> Sequence[Any]:
    """At most ``limit`` tasks whose ids are from ``first`` to ``last``, as ``tasks_with_files`` has them."""
    query = _WITH_FILES.where(tasks.c.id.between(first, last)).limit(limit)
    return connection.execute(query if states is None else query.where(tasks.c.state.in_(states))).all()


_CANCELING = (
    sa.select(tasks.c.id, tasks.c.attempt, tasks.c.allocation_seq, tasks.c.block)
    .where(tasks.c.state == "CANCELING")
    .order_by(tasks.c.id)
    .limit(sa.bindparam("number", type_=sa.Integer))
)


def canceling_tasks(connection: sa.Connection, limit: int) -> Sequence[Any]:
    """(id, attempt, allocation_seq, block) of the tasks whose cancel is under way."""
    return connection.execute(_CANCELING, {"number": limit}).all()


def edges_into(connection: sa.Connection, ids: Collection[int]) -> Iterator[tuple[int, int, bool]]:
    """(upstream, downstream, accept_failure) of every edge that ends in one of ``ids``."""
    for some in chunks(ids):
        query = sa.select(edges).where(edges.c.downstream.in_(some)).order_by(edges.c.downstream, edges.c.upstream)
        for row in connection.execute(query):
            yield row.upstream, row.downstream, row.accept_failure


def ids_in_states(connection: sa.Connection, run_seq: int, states: Collection[str]) -> Sequence[int]:
    """Ids of a run's tasks in these states, in order."""
    query = sa.select(tasks.c.id).where(in_run(run_seq), tasks.c.state.in_(states)).order_by(tasks.c.id)
    return connection.execute(query).scalars().all()


_INSERT_ATTEMPT = Bulk(sa.insert(attempts), attempts.c.keys())
_INSERT_CHUNK_OF_LOG = Bulk(sa.insert(log_chunks), log_chunks.c.keys())


def add_attempts(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Remembers attempts that ended; each row has every column of the table."""
    _INSERT_ATTEMPT.execute_dicts(connection, rows)


def add_log_chunks(connection: sa.Connection, rows: Sequence[BulkRow]) -> None:
    """Remembers where tasks' output lies; each row has every column of the table, in their order."""
    _INSERT_CHUNK_OF_LOG.execute(connection, rows)
