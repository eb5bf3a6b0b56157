"""Runs: written once in one transaction, listed by cursor, counted without counting."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.store.schema import TASKS_PER_RUN, edges, events, run_counts, runs, tasks

_INSERT_CHUNK = 5000


@dataclass(frozen=True, slots=True)
class NewTask:
    """One task to insert. ``params`` is JSON text; ``waiting_on`` the number of upstream tasks that have not ended yet."""

    role: str
    params: str
    name: str | None = None
    waiting_on: int = 0


def find_by_client_key(connection: sa.Connection, user: str, client_key: str) -> Any | None:
    """The run that this user submitted under this key."""
    return connection.execute(sa.select(runs).where(runs.c.user == user, runs.c.client_key == client_key)).one_or_none()


def insert_run(
    connection: sa.Connection, values: dict[str, Any], new_tasks: Iterable[NewTask], edge_list: Sequence[tuple[int, int, bool]] = ()
) -> int:
    """Inserts a run with its tasks in order, and returns its ``seq``.

    ``edge_list`` holds (upstream, downstream, accept_failure): ``downstream`` is an index in this run, ``upstream`` an index here or,
    negated and less one, the id of a task of an earlier run (a retry's gathering task reads what has completed before).
    """
    seq = int(connection.execute(sa.insert(runs).values(values).returning(runs.c.seq)).scalar_one())
    first, number = seq * TASKS_PER_RUN, 0
    batch: list[dict[str, Any]] = []
    for number, task in enumerate(new_tasks, start=1):
        batch.append(
            {"id": first + number - 1, "role": task.role, "name": task.name, "params": task.params, "waiting_on": task.waiting_on,
             "state": TaskState.QUEUED, "attempt": 0, "not_before": 0.0}
        )  # fmt: skip
        if len(batch) == _INSERT_CHUNK:
            connection.execute(sa.insert(tasks), batch)
            batch = []
    if batch:
        connection.execute(sa.insert(tasks), batch)
    if edge_list:
        connection.execute(
            sa.insert(edges),
            [
                {"upstream": first + up if up >= 0 else -up - 1, "downstream": first + down, "accept_failure": accept}
                for up, down, accept in edge_list
            ],
        )
    counts = [{"run_seq": seq, "state": state, "tasks": number if state is TaskState.QUEUED else 0} for state in TaskState]
    connection.execute(sa.insert(run_counts), counts)
    accepted = sa.select(tasks.c.id, sa.literal(values["created_at"], sa.Float), sa.literal(0), sa.literal(TaskState.QUEUED.value))
    connection.execute(
        sa.insert(events).from_select(["task_id", "at", "attempt", "to_state"], accepted.where(in_run(seq)).order_by(tasks.c.id))
    )
    return seq


def in_run(seq: int) -> sa.ColumnElement[bool]:
    """Selects the tasks of a run by primary key."""
    return tasks.c.id.between(seq * TASKS_PER_RUN, (seq + 1) * TASKS_PER_RUN - 1)


def get_run(connection: sa.Connection, run_id: str) -> Any | None:
    """The run's row by public id."""
    return connection.execute(sa.select(runs).where(runs.c.id == run_id)).one_or_none()


def list_runs(connection: sa.Connection, user: str | None, before: int | None, limit: int) -> Sequence[Any]:
    """Newest first; ``before`` is the ``seq`` of the last one seen; ``user`` None lists everybody's."""
    columns = (runs.c.seq, runs.c.id, runs.c.user, runs.c.name, runs.c.app, runs.c.retry_of, runs.c.created_at, runs.c.ended_at)
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


def open_runs(connection: sa.Connection) -> Sequence[Any]:
    """(seq, id, user) of the runs that have active tasks, oldest first."""
    return connection.execute(sa.select(runs.c.seq, runs.c.id, runs.c.user).where(runs.c.ended_at.is_(None)).order_by(runs.c.seq)).all()


def spec_of_run(connection: sa.Connection, run_seq: int) -> str:
    """The run's spec as JSON text."""
    return str(connection.execute(sa.select(runs.c.spec).where(runs.c.seq == run_seq)).scalar_one())
