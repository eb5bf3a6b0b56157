"""Runs: written whole or not at all, listed by cursor, counted without counting."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from packhorse.domain.errors import Unavailable
from packhorse.domain.states import ACTIVE, TERMINAL, TaskState
from packhorse.store.data import DataKey, Link, add_data_edges, edges_for, link_data
from packhorse.store.demands import Delta, DemandKey, add_ready, demand_seqs, hold_steps
from packhorse.store.schema import (
    TASKS_PER_RUN,
    UNFINISHED,
    data_edges,
    edges,
    events,
    in_run,
    lookups,
    runs,
    step_counts,
    step_demands,
    step_edges,
    steps,
    tasks,
)
from packhorse.store.steps import StepEdge, add_counts

INSERT_CHUNK = 5000
_GIVEN_UP = 0.0  # when a run was last written that is being removed
_AGAIN = "Nothing of it was accepted; submit it again."


@dataclass(frozen=True, slots=True)
class NewTask:
    """One task to insert. ``params`` is JSON text; ``waiting_on`` the number of upstream tasks and steps that have not
    ended yet; ``data`` is what else it waits for.
    """

    params: str
    demand: DemandKey
    name: str | None = None
    waiting_on: int = 0
    data: tuple[DataKey, ...] = ()


@dataclass(frozen=True, slots=True)
class NewStep:
    """One step to insert; ``tasks`` None: its list is not known yet. ``held``: its images are not there. ``reuse``: its
    tasks are looked up before they start.
    """

    name: str
    site: str
    spec: str
    tasks: int | None
    held: bool = False
    reuse: bool = False


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to insert: a row of the table, its steps, and edges between steps and between tasks.

    ``task_edges`` holds (upstream, downstream, accept_failure): ``downstream`` is an index in this run, ``upstream`` an
    index here or, negated and less one, the id of a task of an earlier run.
    """

    values: Mapping[str, Any]
    steps: Sequence[NewStep]
    step_edges: Sequence[StepEdge] = ()
    task_edges: Sequence[tuple[int, int, bool]] = ()


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that is being written: its ``seq``, and those of its steps, in order, with the indexes where they begin."""

    run: NewRun
    seq: int
    steps: Sequence[int]
    firsts: Sequence[int]
    visible: bool


def find_by_client_key(connection: sa.Connection, user: str, client_key: str) -> Any | None:
    """The run that this user submitted under this key."""
    mine = (runs.c.user == user, runs.c.client_key == client_key)
    return connection.execute(sa.select(runs).where(*mine)).one_or_none()


def insert_run(connection: sa.Connection, run: NewRun, new_tasks: Sequence[Iterable[NewTask]]) -> int:
    """Inserts a run with the tasks of each of its steps in this transaction, and returns its ``seq``.

    One that is too large for a transaction takes ``begin_run``, ``add_tasks`` and ``publish_run``, one each.
    """
    begun = begin_run(connection, run, visible=True)
    for number, of_step in enumerate(new_tasks):
        done = 0
        for some in batches(of_step):
            add_tasks(connection, begun, number, some, done)
            done += len(some)
    if not any(step.tasks for step in run.steps):  # all of its lists are empty
        close_runs(connection, [begun.seq], run.values["created_at"])
    return begun.seq


def begin_run(connection: sa.Connection, run: NewRun, *, visible: bool = False) -> Begun:
    """Inserts a run with its steps and edges. Until it is visible, nobody is shown it, and its steps are held."""
    values = {**run.values, "visible": visible}
    seq = int(connection.execute(sa.insert(runs).values(values).returning(runs.c.seq)).scalar_one())
    seqs: list[int] = []
    firsts: list[int] = []
    first = 0
    for number, step in enumerate(run.steps):
        row = {"run_seq": seq, "number": number, "name": step.name, "site": step.site, "spec": step.spec}
        row |= {"first": first, "tasks": step.tasks, "held": step.held or not visible, "reuse": step.reuse}
        seqs.append(int(connection.execute(sa.insert(steps).values(row).returning(steps.c.seq)).scalar_one()))
        firsts.append(first)
        first += step.tasks or 0
    if run.step_edges:
        connection.execute(sa.insert(step_edges), [_edge_row(edge, seqs, run.steps) for edge in run.step_edges])
    if run.task_edges:
        start = seq * TASKS_PER_RUN
        rows = [
            {"upstream": start + up if up >= 0 else -up - 1, "downstream": start + down, "accept_failure": accept}
            for up, down, accept in run.task_edges
        ]
        connection.execute(sa.insert(edges), rows)
    return Begun(run, seq, seqs, firsts, visible)


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


def add_tasks(connection: sa.Connection, begun: Begun, number: int, some: Sequence[NewTask], done: int) -> None:
    """Adds tasks to the step of this ``number``, of which ``done`` were added before.

    Raises Unavailable where the run was given up meanwhile: nothing of it had been written for too long.
    """
    step, values = begun.run.steps[number], begun.run.values
    if not begun.visible:
        _update_unfinished(connection, begun, created_at=time.time())
    first, at = begun.firsts[number] + done, values["created_at"]
    insert_tasks(
        connection, begun.seq, begun.steps[number], first, some, values["user"], step.site, at, reuse=step.reuse
    )


def insert_tasks(
    connection: sa.Connection,
    run_seq: int,
    step_seq: int,
    first: int,
    some: Sequence[NewTask],
    user: str,
    site: str,
    at: float,
    *,
    reuse: bool = False,
) -> None:
    """Inserts tasks of a step from index ``first`` of the run on; their data goes to ``site``. ``reuse``: they wait to
    be looked up as well.
    """
    links: dict[DataKey, Link] = {}
    if needed := {key for task in some for key in task.data}:
        links = link_data(connection, site, needed)
    seqs = demand_seqs(connection, site, user, {task.demand for task in some})
    begin = run_seq * TASKS_PER_RUN + first
    rows = []
    ready: Delta = Counter()
    for index, task in enumerate(some, start=begin):
        waiting_on = task.waiting_on + reuse
        if task.data:
            waiting_on += sum(links[key].sha256 is None for key in set(task.data))
        demand = seqs[task.demand]
        rows.append(
            {
                "id": index,
                "step_seq": step_seq,
                "demand_seq": demand,
                "name": task.name,
                "params": task.params,
                "state": TaskState.QUEUED,
                "attempt": 0,
                "not_before": 0.0,
                "waiting_on": waiting_on,
            }
        )
        if not waiting_on:
            ready[step_seq, demand] += 1
    if reuse:
        rows = [{**row, "cache_key": ""} for row in rows]
    connection.execute(sa.insert(tasks), rows)
    if links:
        add_data_edges(connection, edges_for(begin, ((index, task.data) for index, task in enumerate(some)), links))
    told = {"at": at, "attempt": 0, "to_state": TaskState.QUEUED}
    connection.execute(sa.insert(events), [{"task_id": row["id"], **told} for row in rows])
    add_counts(connection, {(run_seq, step_seq, TaskState.QUEUED): len(rows)})
    add_ready(connection, ready)


def publish_run(connection: sa.Connection, begun: Begun) -> None:
    """Shows a run that was written: from now on its tasks are wanted. Raises Unavailable as ``add_tasks`` does."""
    _update_unfinished(connection, begun, visible=True, ended_at=None, created_at=begun.run.values["created_at"])
    held = [step.held for step in begun.run.steps]
    hold_steps(connection, [seq for seq, one in zip(begun.steps, held, strict=True) if not one], held=False)
    close_runs(connection, [begun.seq], begun.run.values["created_at"])  # all of its data may have failed meanwhile


def _update_unfinished(connection: sa.Connection, begun: Begun, **values: Any) -> None:
    still = (sa.not_(runs.c.visible), runs.c.created_at > _GIVEN_UP)
    unfinished = sa.update(runs).where(runs.c.seq == begun.seq, *still)
    if not connection.execute(unfinished.values(values)).rowcount:
        raise Unavailable("The run was given up while it was written: the database was too slow.", hint=_AGAIN)


def close_runs(connection: sa.Connection, seqs: Collection[int], at: float) -> None:
    """Ends those of the runs that have no active task left."""
    c = step_counts.c
    active = sa.select(c.run_seq).where(c.run_seq.in_(seqs), c.state.in_(ACTIVE), c.tasks > 0)
    still_open = set(connection.execute(active).scalars())
    done = [seq for seq in seqs if seq not in still_open]
    if done:
        over = sa.update(runs).where(runs.c.seq.in_(done), runs.c.ended_at.is_(None))
        connection.execute(over.values(ended_at=at))


def unfinished_runs(connection: sa.Connection, before: float, limit: int = 100) -> Sequence[int]:
    """Runs that somebody began to write, and of which nothing was written since ``before``."""
    left = sa.select(runs.c.seq).where(sa.text(UNFINISHED), runs.c.created_at < before)
    return connection.execute(left.order_by(runs.c.seq).limit(limit)).scalars().all()


def remove_run(connection: sa.Connection, seq: int, limit: int = INSERT_CHUNK) -> bool:
    """Removes at most ``limit`` tasks of a run whose writing was not finished, and with the last of them the run;
    returns whether there are more. One that is visible stays.

    From the first call on, nobody can go on writing it.
    """
    given_up = sa.update(runs).where(runs.c.seq == seq, sa.not_(runs.c.visible)).values(created_at=_GIVEN_UP)
    if not connection.execute(given_up).rowcount:
        return False
    first, end = seq * TASKS_PER_RUN, (seq + 1) * TASKS_PER_RUN
    beyond = sa.select(tasks.c.id).where(in_run(seq)).order_by(tasks.c.id).offset(limit).limit(1)
    rest = connection.execute(beyond).scalar()
    for column in (events.c.task_id, data_edges.c.task_id, edges.c.downstream, lookups.c.task_id, tasks.c.id):
        some = column.between(first, (end if rest is None else rest) - 1)
        connection.execute(sa.delete(column.table).where(some))
    if rest is not None:
        return True
    mine = sa.select(steps.c.seq).where(steps.c.run_seq == seq)
    connection.execute(sa.delete(step_edges).where(step_edges.c.downstream.in_(mine)))
    connection.execute(sa.delete(step_demands).where(step_demands.c.step_seq.in_(mine)))
    connection.execute(sa.delete(step_counts).where(step_counts.c.run_seq == seq))
    connection.execute(sa.delete(steps).where(steps.c.run_seq == seq))
    connection.execute(sa.delete(runs).where(runs.c.seq == seq))
    return False


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
    return {row[0]: row[1] for row in connection.execute(still)}
