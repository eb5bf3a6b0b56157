"""Runs: written once in one transaction, listed by cursor, counted without counting."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import TERMINAL, TaskState
from packhorse.store.data import DataKey, Link, add_data_edges, edges_for, link_data
from packhorse.store.demands import DemandKey, count_ready, demand_seqs, insert_step_demands
from packhorse.store.schema import (
    TASKS_PER_RUN,
    demands,
    edges,
    events,
    in_run,
    runs,
    step_counts,
    step_demands,
    step_edges,
    steps,
    tasks,
)
from packhorse.store.steps import StepEdge, add_counts

INSERT_CHUNK = 5000


@dataclass(frozen=True, slots=True)
class NewTask:
    """One task to insert. ``params`` is JSON text; ``waiting_on`` the number of upstream tasks and steps that have not
    ended yet.

    ``data`` is what else it waits for.
    """

    params: str
    demand: DemandKey
    name: str | None = None
    waiting_on: int = 0
    data: tuple[DataKey, ...] = ()


@dataclass(frozen=True, slots=True)
class NewStep:
    """One step to insert; ``tasks`` None: its list is not known yet. ``held``: its images are not there."""

    name: str
    site: str
    spec: str
    tasks: int | None
    held: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that is being written: its ``seq``, and those of its steps, in order, with the indexes where they begin."""

    seq: int
    steps: Sequence[int]
    firsts: Sequence[int]


def find_by_client_key(connection: sa.Connection, user: str, client_key: str) -> Any | None:
    """The run that this user submitted under this key."""
    mine = (runs.c.user == user, runs.c.client_key == client_key, runs.c.visible)
    return connection.execute(sa.select(runs).where(*mine)).one_or_none()


def insert_run(
    connection: sa.Connection,
    values: Mapping[str, Any],
    new_steps: Sequence[tuple[NewStep, Iterable[NewTask]]],
    step_edge_list: Sequence[StepEdge] = (),
    edge_list: Sequence[tuple[int, int, bool]] = (),
) -> int:
    """Inserts a run in this transaction and returns its ``seq``: see ``begin_run``, ``add_tasks``, ``publish_run``."""
    begun = begin_run(connection, values, [step for step, _ in new_steps], step_edge_list, edge_list)
    for number, (step, new_tasks) in enumerate(new_steps):
        done = 0
        for some in batches(new_tasks):
            add_tasks(connection, begun, number, some, done, values["user"], step.site)
            done += len(some)
    publish_run(connection, begun, values["created_at"])
    return begun.seq


def begin_run(
    connection: sa.Connection,
    values: Mapping[str, Any],
    new_steps: Sequence[NewStep],
    step_edge_list: Sequence[StepEdge] = (),
    edge_list: Sequence[tuple[int, int, bool]] = (),
) -> Begun:
    """Inserts a run that nobody sees yet, with its steps and edges.

    ``edge_list`` holds (upstream, downstream, accept_failure): ``downstream`` is an index in this run, ``upstream`` an
    index here or, negated and less one, the id of a task of an earlier run.
    """
    seq = int(connection.execute(sa.insert(runs).values({**values, "visible": False}).returning(runs.c.seq)).scalar_one())
    seqs: list[int] = []
    firsts: list[int] = []
    first = 0
    for number, step in enumerate(new_steps):
        row = {"run_seq": seq, "number": number, "name": step.name, "site": step.site, "spec": step.spec}
        row |= {"first": first, "tasks": step.tasks, "held": step.held}
        seqs.append(int(connection.execute(sa.insert(steps).values(row).returning(steps.c.seq)).scalar_one()))
        firsts.append(first)
        first += step.tasks or 0
    if step_edge_list:
        connection.execute(sa.insert(step_edges), [_edge_row(edge, seqs, new_steps) for edge in step_edge_list])
    if edge_list:
        start = seq * TASKS_PER_RUN
        rows = [
            {"upstream": start + up if up >= 0 else -up - 1, "downstream": start + down, "accept_failure": accept}
            for up, down, accept in edge_list
        ]
        connection.execute(sa.insert(edges), rows)
    return Begun(seq, seqs, firsts)


def _edge_row(edge: StepEdge, seqs: Sequence[int], new_steps: Sequence[NewStep]) -> dict[str, Any]:
    left = 0
    if edge.upstream >= 0 and edge.kind == "gather":
        number = new_steps[edge.upstream].tasks
        left = 1 if number is None else number  # a list that is not known is waited for as well
    return {
        "upstream": seqs[edge.upstream] if edge.upstream >= 0 else -edge.upstream,
        "downstream": seqs[edge.downstream],
        "kind": edge.kind,
        "accept_failure": edge.accept_failure,
        "left": left,
        "failed": 0,
    }


def add_tasks(
    connection: sa.Connection,
    begun: Begun,
    number: int,
    some: Sequence[NewTask],
    done: int,
    user: str,
    site: str,
) -> None:
    """Adds tasks to the step of this ``number``, of which ``done`` were added before; their data goes to ``site``."""
    step = begun.steps[number]
    first = begun.seq * TASKS_PER_RUN + begun.firsts[number] + done
    links: dict[DataKey, Link] = {}
    if needed := {key for task in some for key in task.data}:
        links = link_data(connection, site, needed)
    seqs = demand_seqs(connection, site, user, {task.demand for task in some})
    rows = [
        {
            "id": first + index,
            "step_seq": step,
            "demand_seq": seqs[task.demand],
            "name": task.name,
            "params": task.params,
            "state": TaskState.QUEUED,
            "attempt": 0,
            "not_before": 0.0,
            "waiting_on": task.waiting_on + sum(links[key].sha256 is None for key in set(task.data)),
        }
        for index, task in enumerate(some)
    ]
    connection.execute(sa.insert(tasks), rows)
    add_data_edges(connection, edges_for(first, ((index, task.data) for index, task in enumerate(some)), links))


def publish_run(connection: sa.Connection, begun: Begun, at: float) -> None:
    """Shows a run that was written: from now on its tasks are wanted."""
    by_step = {step: 0 for step in begun.steps}
    query = sa.select(tasks.c.step_seq, sa.func.count()).where(in_run(begun.seq)).group_by(tasks.c.step_seq)
    by_step |= {step: number for step, number in connection.execute(query)}
    add_counts(connection, {(begun.seq, step, TaskState.QUEUED): number for step, number in by_step.items()})
    accepted = (tasks.c.id, sa.literal(at, sa.Float), sa.literal(0), sa.literal(TaskState.QUEUED.value))
    told = sa.select(*accepted).where(in_run(begun.seq)).order_by(tasks.c.id)
    connection.execute(sa.insert(events).from_select(["task_id", "at", "attempt", "to_state"], told))
    over = {} if any(by_step.values()) else {"ended_at": at}
    connection.execute(sa.update(runs).where(runs.c.seq == begun.seq).values(visible=True, **over))
    offer(connection, in_run(begun.seq))


def offer(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Counts the ready ones of new tasks, whose steps have no others."""
    ready = count_ready(connection, which)
    held = insert_step_demands(connection, ready)
    by_demand: dict[int, int] = {}
    for (step, demand), number in ready.items():
        if not held[step, demand]:
            by_demand[demand] = by_demand.get(demand, 0) + number
    for demand, number in sorted(by_demand.items()):
        more = sa.update(demands).where(demands.c.seq == demand).values(ready=demands.c.ready + number)
        connection.execute(more)


def sweep_unfinished(connection: sa.Connection, created_before: float, limit: int = 10) -> int:
    """Removes runs whose writing was begun before then and never finished; returns how many."""
    query = sa.select(runs.c.seq).where(sa.not_(runs.c.visible), runs.c.created_at < created_before)
    gone = connection.execute(query.limit(limit)).scalars().all()
    for seq in gone:
        mine = sa.select(steps.c.seq).where(steps.c.run_seq == seq)
        connection.execute(sa.delete(tasks).where(in_run(seq)))
        for table, column in (
            (step_edges, step_edges.c.downstream), (step_demands, step_demands.c.step_seq)
        ):  # fmt: skip
            connection.execute(sa.delete(table).where(column.in_(mine)))
        connection.execute(sa.delete(steps).where(steps.c.run_seq == seq))
        connection.execute(sa.delete(runs).where(runs.c.seq == seq))
    return len(gone)


def batches(new_tasks: Iterable[NewTask]) -> Iterator[Sequence[NewTask]]:
    """Pieces of what is inserted."""
    remaining = iter(new_tasks)
    while some := list(islice(remaining, INSERT_CHUNK)):
        yield some


def get_run(connection: sa.Connection, run_id: str) -> Any | None:
    """The run's row by public id."""
    return connection.execute(sa.select(runs).where(runs.c.id == run_id, runs.c.visible)).one_or_none()


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
    query = sa.select(*columns).where(runs.c.visible).order_by(runs.c.seq.desc()).limit(limit)
    if user is not None:
        query = query.where(runs.c.user == user)
    if before is not None:
        query = query.where(runs.c.seq < before)
    return connection.execute(query).all()


def counts_of(connection: sa.Connection, run_seqs: Collection[int]) -> dict[int, dict[TaskState, int]]:
    """Tasks by state for each run; states without tasks are left out."""
    found: dict[int, dict[TaskState, int]] = {seq: {} for seq in run_seqs}
    c = step_counts.c
    query = sa.select(c.run_seq, c.state, sa.func.sum(c.tasks)).where(c.run_seq.in_(run_seqs), c.tasks > 0)
    for seq, state, number in connection.execute(query.group_by(c.run_seq, c.state)):
        found[seq][TaskState(state)] = int(number)
    return found


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is: how many of its tasks have ended, and whether all have."""

    done: int
    ended: bool


def progress_of(connection: sa.Connection, run_seqs: Collection[int]) -> dict[int, RunProgress]:
    """Of each run of ``run_seqs``."""
    done = sa.func.sum(sa.case((step_counts.c.state.in_(TERMINAL), step_counts.c.tasks), else_=0))
    query = (
        sa.select(runs.c.seq, done.label("done"), runs.c.ended_at)
        .join(step_counts, step_counts.c.run_seq == runs.c.seq)
        .where(runs.c.seq.in_(run_seqs))
        .group_by(runs.c.seq, runs.c.ended_at)
    )
    return {row.seq: RunProgress(row.done, row.ended_at is not None) for row in connection.execute(query)}


def open_runs_by_site(connection: sa.Connection) -> dict[str, int]:
    """How many runs have active tasks at each site."""
    query = sa.select(steps.c.site, sa.func.count(sa.distinct(runs.c.seq))).join(runs, runs.c.seq == steps.c.run_seq)
    still = query.where(runs.c.ended_at.is_(None), runs.c.visible).group_by(steps.c.site)
    return {site: number for site, number in connection.execute(still)}
