"""Runs: written once in one transaction, listed by cursor, counted without counting."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import TERMINAL, TaskState
from packhorse.store.data import DataKey, Link, add_data_edges, edges_for, link_data
from packhorse.store.schema import TASKS_PER_RUN, edges, events, in_run, run_counts, runs, tasks

_INSERT_CHUNK = 5000


@dataclass(frozen=True, slots=True)
class NewTask:
    """One task to insert. ``params`` is JSON text; ``waiting_on`` the number of upstream tasks that have not ended yet.

    ``data`` is what else it waits for.
    """

    role: str
    params: str
    name: str | None = None
    waiting_on: int = 0
    data: tuple[DataKey, ...] = ()


def find_by_client_key(connection: sa.Connection, user: str, client_key: str) -> Any | None:
    """The run that this user submitted under this key."""
    return connection.execute(sa.select(runs).where(runs.c.user == user, runs.c.client_key == client_key)).one_or_none()


def insert_run(
    connection: sa.Connection,
    values: dict[str, Any],
    new_tasks: Iterable[NewTask],
    edge_list: Sequence[tuple[int, int, bool]] = (),
    site: str = "",
) -> int:
    """Inserts a run with its tasks in order, whose data goes to ``site``, and returns its ``seq``.

    ``edge_list`` holds (upstream, downstream, accept_failure): ``downstream`` is an index in this run, ``upstream`` an
    index here or, negated and less one, the id of a task of an earlier run (a retry's gathering task reads what has
    completed before).
    """
    seq = int(connection.execute(sa.insert(runs).values(values).returning(runs.c.seq)).scalar_one())
    first, number = seq * TASKS_PER_RUN, 0
    links: dict[DataKey, Link] = {}
    for some in _batches(new_tasks):
        unknown = {key for task in some for key in task.data} - links.keys()
        if unknown:
            links |= link_data(connection, site, unknown)
        batch = [
            {
                "id": first + index,
                "role": task.role,
                "name": task.name,
                "params": task.params,
                "state": TaskState.QUEUED,
                "attempt": 0,
                "not_before": 0.0,
                "waiting_on": task.waiting_on + sum(links[key].sha256 is None for key in set(task.data)),
            }
            for index, task in enumerate(some, start=number)
        ]
        connection.execute(sa.insert(tasks), batch)
        add_data_edges(
            connection, edges_for(first, ((index, task.data) for index, task in enumerate(some, start=number)), links)
        )
        number += len(some)
    if edge_list:
        connection.execute(
            sa.insert(edges),
            [
                {"upstream": first + up if up >= 0 else -up - 1, "downstream": first + down, "accept_failure": accept}
                for up, down, accept in edge_list
            ],
        )
    counts = [
        {"run_seq": seq, "state": state, "tasks": number if state is TaskState.QUEUED else 0} for state in TaskState
    ]
    connection.execute(sa.insert(run_counts), counts)
    accepted = sa.select(
        tasks.c.id, sa.literal(values["created_at"], sa.Float), sa.literal(0), sa.literal(TaskState.QUEUED.value)
    )
    connection.execute(
        sa.insert(events).from_select(
            ["task_id", "at", "attempt", "to_state"], accepted.where(in_run(seq)).order_by(tasks.c.id)
        )
    )
    return seq


def _batches(new_tasks: Iterable[NewTask]) -> Iterator[Sequence[NewTask]]:
    remaining = iter(new_tasks)
    while some := list(islice(remaining, _INSERT_CHUNK)):
        yield some


def get_run(connection: sa.Connection, run_id: str) -> Any | None:
    """The run's row by public id."""
    return connection.execute(sa.select(runs).where(runs.c.id == run_id)).one_or_none()


def list_runs(connection: sa.Connection, user: str | None, before: int | None, limit: int) -> Sequence[Any]:
    """Newest first; ``before`` is the ``seq`` of the last one seen; ``user`` None lists everybody's."""
    columns = (
        runs.c.seq,
        runs.c.id,
        runs.c.user,
        runs.c.name,
        runs.c.app,
        runs.c.retry_of,
        runs.c.created_at,
        runs.c.ended_at,
    )
    query = sa.select(*columns).order_by(runs.c.seq.desc()).limit(limit)
    if user is not None:
        query = query.where(runs.c.user == user)
    if before is not None:
        query = query.where(runs.c.seq < before)
    return connection.execute(query).all()


def counts_of(connection: sa.Connection, run_seqs: Collection[int]) -> dict[int, dict[TaskState, int]]:
    """Tasks by state for each run; states without tasks are left out."""
    found: dict[int, dict[TaskState, int]] = {seq: {} for seq in run_seqs}
    query = sa.select(run_counts).where(run_counts.c.run_seq.in_(run_seqs), run_counts.c.tasks > 0)
    for row in connection.execute(query):
        found[row.run_seq][TaskState(row.state)] = row.tasks
    return found


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is: how many of its tasks have ended, and whether all have."""

    done: int
    ended: bool


def progress_of(connection: sa.Connection, run_seqs: Collection[int]) -> dict[int, RunProgress]:
    """Of each run of ``run_seqs``."""
    done = sa.func.sum(sa.case((run_counts.c.state.in_(TERMINAL), run_counts.c.tasks), else_=0))
    query = (
        sa.select(runs.c.seq, done.label("done"), runs.c.ended_at)
        .join(run_counts, run_counts.c.run_seq == runs.c.seq)
        .where(runs.c.seq.in_(run_seqs))
        .group_by(runs.c.seq, runs.c.ended_at)
    )
    return {row.seq: RunProgress(row.done, row.ended_at is not None) for row in connection.execute(query)}


def open_runs(connection: sa.Connection) -> Sequence[Any]:
    """(seq, id, user) of the runs that have active tasks, oldest first."""
    return connection.execute(
        sa.select(runs.c.seq, runs.c.id, runs.c.user).where(runs.c.ended_at.is_(None)).order_by(runs.c.seq)
    ).all()


def queued_by_user(connection: sa.Connection) -> dict[str, int]:
    """How many open runs of each user have tasks that are queued."""
    query = sa.select(runs.c.user, sa.func.count()).join(run_counts, run_counts.c.run_seq == runs.c.seq)
    queued = sa.and_(runs.c.ended_at.is_(None), run_counts.c.state == TaskState.QUEUED, run_counts.c.tasks > 0)
    rows = connection.execute(query.where(queued).group_by(runs.c.user))
    return {row[0]: row[1] for row in rows}


def spec_of_run(connection: sa.Connection, run_seq: int) -> str:
    """The run's spec as JSON text."""
    return str(connection.execute(sa.select(runs.c.spec).where(runs.c.seq == run_seq)).scalar_one())
