"""What a report reads of a run: each table once, by the keys of the run's tasks."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.store.chunks import chunks
from packhorse.store.schema import (
    TASKS_PER_RUN,
    allocations,
    attempts,
    data,
    data_edges,
    deliveries,
    edges,
    estimates,
    images,
    in_run,
    journals,
    run_images,
    step_edges,
    steps,
    tasks,
)

_ROWS_AT_ONCE = 5000


def _tried_in(run_seq: int) -> sa.ColumnElement[bool]:
    return attempts.c.task_id.between(run_seq * TASKS_PER_RUN, (run_seq + 1) * TASKS_PER_RUN - 1)


def iter_attempts(connection: sa.Connection, run_seq: int) -> Iterator[Any]:
    """The ended attempts of a run in order of its tasks, each with ``demand_seq``, ``name``, ``state`` and ``last``
    (its number, so far) of its task.
    """
    columns = [column for column in attempts.c if column.name != "evidence"]
    of_task = (tasks.c.demand_seq, tasks.c.name, tasks.c.state, tasks.c.attempt.label("last"))
    query = sa.select(*columns, *of_task).join(tasks, tasks.c.id == attempts.c.task_id).where(_tried_in(run_seq))
    query = query.order_by(attempts.c.task_id, attempts.c.attempt)
    yield from connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE))


def iter_decided(connection: sa.Connection, run_seq: int) -> Iterator[Any]:
    """(task_id, decision, peak_memory, wall_s, failure) of the ended attempts of a run that were sized."""
    columns = (estimates.c.task_id, estimates.c.decision, attempts.c.peak_memory, attempts.c.wall_s, attempts.c.failure)
    same = sa.and_(attempts.c.task_id == estimates.c.task_id, attempts.c.attempt == estimates.c.attempt)
    mine = estimates.c.task_id.between(run_seq * TASKS_PER_RUN, (run_seq + 1) * TASKS_PER_RUN - 1)
    query = sa.select(*columns).join(attempts, same).where(mine).order_by(estimates.c.task_id, estimates.c.attempt)
    yield from connection.execute(query.execution_options(yield_per=_ROWS_AT_ONCE))


def places_of_run(connection: sa.Connection, run_seq: int) -> Sequence[Any]:
    """(allocation_seq, journal_id, node, attempts, first_start, last_end) of where attempts of a run ran: where most
    did first.
    """
    number = sa.func.count().label("attempts")
    where = (attempts.c.allocation_seq, attempts.c.journal_id)
    times = (
        sa.func.min(attempts.c.started_at).label("first_start"),
        sa.func.max(attempts.c.ended_at).label("last_end"),
    )
    counted = sa.select(*where, number, *times).where(_tried_in(run_seq)).group_by(*where).subquery()
    query = sa.select(counted, journals.c.node).join(journals, journals.c.id == counted.c.journal_id, isouter=True)
    query = query.order_by(counted.c.attempts.desc(), counted.c.allocation_seq, counted.c.journal_id)
    return connection.execute(query).all()


def allocations_by_seq(connection: sa.Connection, seqs: Collection[int]) -> dict[int, Any]:
    """Allocations, in the order in which they were made."""
    found: dict[int, Any] = {}
    for some in chunks(sorted(seqs)):
        query = sa.select(allocations).where(allocations.c.seq.in_(some)).order_by(allocations.c.seq)
        found |= {row.seq: row for row in connection.execute(query)}
    return found


def asked_in_run(connection: sa.Connection, run_seq: int) -> Sequence[Any]:
    """(step_seq, demand_seq, tasks): how many tasks of each step are counted with each demand."""
    of = (tasks.c.step_seq, tasks.c.demand_seq)
    query = sa.select(*of, sa.func.count().label("tasks")).where(in_run(run_seq)).group_by(*of)
    return connection.execute(query.order_by(*of)).all()


def failed_in_run(connection: sa.Connection, run_seq: int) -> Sequence[Any]:
    """(step_seq, failure, tasks): how many tasks of each step ended with each class of failure."""
    of = (tasks.c.step_seq, tasks.c.failure)
    ended = (in_run(run_seq), tasks.c.failure.is_not(None), tasks.c.state != TaskState.QUEUED)
    query = sa.select(*of, sa.func.count().label("tasks")).where(*ended).group_by(*of)
    return connection.execute(query.order_by(*of)).all()


def failed_tasks(connection: sa.Connection, run_seq: int, step_seq: int, failure: str, limit: int) -> Sequence[Any]:
    """Some tasks of a step that ended with a class of failure: those that were never tried first."""
    query = sa.select(tasks).where(in_run(run_seq), tasks.c.step_seq == step_seq, tasks.c.failure == failure)
    return connection.execute(query.order_by(tasks.c.attempt, tasks.c.id).limit(limit)).all()


def attempts_by_key(connection: sa.Connection, keys: Collection[tuple[int, int]]) -> dict[tuple[int, int], Any]:
    """Attempts by (task, attempt), with ``name`` and ``reason`` of the task, ``allocation`` and ``node``."""
    found: dict[tuple[int, int], Any] = {}
    query = (
        sa.select(attempts, tasks.c.name, tasks.c.reason, allocations.c.id.label("allocation"), journals.c.node)
        .join(tasks, tasks.c.id == attempts.c.task_id)
        .join(allocations, allocations.c.seq == attempts.c.allocation_seq, isouter=True)
        .join(journals, journals.c.id == attempts.c.journal_id, isouter=True)
    )
    for some in chunks({task for task, _ in keys}):
        for row in connection.execute(query.where(attempts.c.task_id.in_(some))):
            if (row.task_id, row.attempt) in keys:
                found[row.task_id, row.attempt] = row
    return found


def edges_of_run(connection: sa.Connection, run_seq: int) -> Sequence[Any]:
    """The edges that end at steps of a run; those that begin at one of an earlier run as well."""
    query = sa.select(step_edges).join(steps, steps.c.seq == step_edges.c.downstream)
    query = query.where(steps.c.run_seq == run_seq)
    return connection.execute(query.order_by(step_edges.c.downstream, step_edges.c.upstream, step_edges.c.kind)).all()


def images_of_run(connection: sa.Connection, run_seq: int) -> Sequence[Any]:
    """(reference, site, digest, size_bytes) of the images that a run wants."""
    same = sa.and_(images.c.site == run_images.c.site, images.c.digest == run_images.c.digest)
    query = sa.select(run_images, images.c.size_bytes).join(images, same, isouter=True)
    return connection.execute(query.where(run_images.c.run_seq == run_seq).order_by(run_images.c.reference)).all()


def data_of_run(connection: sa.Connection, run_seq: int, limit: int) -> tuple[Sequence[Any], int]:
    """(url, version, site, sha256, size, tasks) of what tasks of a run took by URL, and how many of these there are; at
    most ``limit`` are told, those of most tasks first.

    ``sha256`` is of the content that the tasks were given, ``size`` None where the URL has other content now.
    """
    mine = data_edges.c.task_id.between(run_seq * TASKS_PER_RUN, (run_seq + 1) * TASKS_PER_RUN - 1)
    of = (data_edges.c.data_id, data_edges.c.sha256)
    counted = sa.select(*of, sa.func.count().label("tasks")).where(mine).group_by(*of).subquery()
    size = sa.case((data.c.sha256 == counted.c.sha256, data.c.size)).label("size")
    columns = (data.c.url, data.c.version, data.c.site, counted.c.sha256, size, counted.c.tasks)
    query = sa.select(*columns).join(counted, counted.c.data_id == data.c.id)
    number = int(connection.execute(sa.select(sa.func.count()).select_from(counted)).scalar_one())
    rows = connection.execute(query.order_by(counted.c.tasks.desc(), data.c.id).limit(limit)).all()
    return rows, number


def delivered_of(connection: sa.Connection, ids: Collection[int]) -> dict[tuple[int, int, str], Any]:
    """(url, sha256, size) of outputs of tasks that were delivered, by (task, attempt, path)."""
    found: dict[tuple[int, int, str], Any] = {}
    for some in chunks(ids):
        query = sa.select(deliveries).where(deliveries.c.task_id.in_(some)).order_by(deliveries.c.id)
        found |= {(row.task_id, row.attempt, row.path): row for row in connection.execute(query)}
    return found


def iter_tasks_of_step(connection: sa.Connection, first: int, number: int) -> Iterator[Any]:
    """(id, name, params, state) of ``number`` tasks from the id ``first`` on."""
    columns = (tasks.c.id, tasks.c.name, tasks.c.params, tasks.c.state)
    query = sa.select(*columns).where(tasks.c.id.between(first, first + number - 1))
    yield from connection.execute(query.order_by(tasks.c.id).execution_options(yield_per=_ROWS_AT_ONCE))


def task_edges_of_run(connection: sa.Connection, run_seq: int) -> Sequence[Any]:
    """The edges between tasks that end at tasks of a run, in order."""
    first = run_seq * TASKS_PER_RUN
    query = sa.select(edges).where(edges.c.downstream.between(first, first + TASKS_PER_RUN - 1))
    return connection.execute(query.order_by(edges.c.downstream, edges.c.upstream)).all()


def last_files(connection: sa.Connection, run_seq: int, most_tasks: int) -> Iterator[tuple[str, int, str, int]]:
    """(step, index in the run, path, size) of the files that complete tasks left of steps that no other of the run
    follows, and that have at most ``most_tasks``.
    """
    of_run = sa.select(steps.c.seq).where(steps.c.run_seq == run_seq)
    follow = sa.select(step_edges.c.upstream).where(step_edges.c.downstream.in_(of_run))
    last = sa.select(steps).where(steps.c.run_seq == run_seq, steps.c.seq.not_in(follow), steps.c.tasks <= most_tasks)
    done = sa.and_(attempts.c.task_id == tasks.c.id, attempts.c.attempt == tasks.c.attempt)
    for step in connection.execute(last.order_by(steps.c.number)).all():
        first = run_seq * TASKS_PER_RUN + step.first
        mine = tasks.c.id.between(first, first + (step.tasks or 0) - 1)
        query = sa.select(tasks.c.id, attempts.c.files).join(attempts, done)
        query = query.where(mine, tasks.c.state == TaskState.COMPLETE, attempts.c.files.is_not(None))
        for row in connection.execute(query.order_by(tasks.c.id)):
            for file in json.loads(row.files):
                yield step.name, row.id % TASKS_PER_RUN, str(file["path"]), int(file.get("size") or 0)
