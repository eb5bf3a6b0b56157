"""Runs: written whole or not at all, listed by cursor, counted without counting."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import sqlalchemy as sa

from packhorse.domain.errors import Unavailable
from packhorse.domain.states import ACTIVE, TERMINAL, TaskState
from packhorse.store.chunks import chunks
from packhorse.store.demands import NewReady, add_ready_of_new, hold_steps
from packhorse.store.newtasks import INSERT_CHUNK, NewTask, Piece, add_pieces, insert_pieces
from packhorse.store.outbox import HAS_WEBHOOKS, tell_ended, tell_submitted
from packhorse.store.schema import (
    TASKS_PER_RUN,
    UNFINISHED,
    data_edges,
    edges,
    events,
    in_run,
    kbase_runs,
    lookups,
    runs,
    step_counts,
    step_demands,
    step_edges,
    steps,
    tasks,
)
from packhorse.store.steps import StepEdge, add_counts_of_new

#: A user and a client key of theirs.
UserKey = tuple[str, str]

_GIVEN_UP = 0.0  # when a run was last written that is being removed
_AGAIN = "Nothing of it was accepted; submit it again."


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
    kbase: Mapping[str, Any] | None = None
    """Of jobs of KBase: a row of ``kbase_runs``, less what the run says already."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that is being written: its ``seq``, and those of its steps, in order, with the indexes where they begin.

    ``has_webhooks``: its user wants to be told of some runs.
    """

    run: NewRun
    seq: int
    steps: Sequence[int]
    firsts: Sequence[int]
    visible: bool
    has_webhooks: bool


_BY_CLIENT_KEY = sa.select(runs).where(
    runs.c.user.in_(sa.bindparam("users", expanding=True)), runs.c.client_key.in_(sa.bindparam("keys", expanding=True))
)
_SEQS_OF_RUNS = sa.select(runs.c.id, runs.c.seq).where(runs.c.id.in_(sa.bindparam("ids", expanding=True)))
_OF_SEQS: sa.BindParameter[Any] = sa.bindparam("seqs", expanding=True)
_STILL_OPEN = sa.select(step_counts.c.run_seq).where(
    step_counts.c.run_seq.in_(_OF_SEQS), step_counts.c.state.in_(ACTIVE), step_counts.c.tasks > 0
)
_END = sa.update(runs).where(runs.c.seq.in_(_OF_SEQS), runs.c.ended_at.is_(None)).values(ended_at=sa.bindparam("at"))
#: What is listed of a run.
RUN_COLUMNS = (
    runs.c.seq,
    runs.c.id,
    runs.c.user,
    runs.c.name,
    runs.c.app,
    runs.c.retry_of,
    runs.c.created_at,
    runs.c.ended_at,
)
_INSERT_RUN = sa.insert(runs).returning(runs.c.id, runs.c.seq, HAS_WEBHOOKS)
_INSERT_STEP = sa.insert(steps).returning(steps.c.run_seq, steps.c.number, steps.c.seq)
_INSERT_KBASE = sa.insert(kbase_runs)


def find_by_client_keys(connection: sa.Connection, keys: Collection[UserKey]) -> dict[UserKey, Any]:
    """The runs that users submitted under their keys."""
    if not keys:
        return {}
    asked = {"users": sorted({user for user, _ in keys}), "keys": sorted({key for _, key in keys})}
    return {(row.user, row.client_key): row for row in connection.execute(_BY_CLIENT_KEY, asked)}


def insert_run(connection: sa.Connection, run: NewRun, new_tasks: Sequence[Iterable[NewTask]]) -> int:
    """``insert_runs`` for one."""
    return insert_runs(connection, [(run, new_tasks)])[0]


def insert_runs(connection: sa.Connection, new: Sequence[tuple[NewRun, Sequence[Iterable[NewTask]]]]) -> Sequence[int]:
    """Inserts runs with the tasks of each of their steps in this transaction, in as many statements as for one; returns
    their ``seq``.

    One that is too large for a transaction takes ``begin_run``, ``add_tasks`` and ``publish_run``, one each.
    """
    all_begun = _begin_runs(connection, [run for run, _ in new], visible=True)
    pieces = [
        _piece(begun, number, list(of_step), 0)
        for begun, (_, of_steps) in zip(all_begun, new, strict=True)
        for number, of_step in enumerate(of_steps)
    ]
    ready = insert_pieces(connection, pieces)
    about = {
        seq: (begun.run.values["priority"], step.held)
        for begun in all_begun
        for seq, step in zip(begun.steps, begun.run.steps, strict=True)
    }
    counts = [(piece.run_seq, piece.step_seq, len(piece.tasks)) for piece in pieces if piece.tasks]
    add_counts_of_new(connection, TaskState.QUEUED, counts)
    add_ready_of_new(
        connection,
        [NewReady(step, demand, about[step][0], number, about[step][1]) for (step, demand), number in ready.items()],
    )
    if told := [begun.seq for begun in all_begun if begun.has_webhooks]:
        tell_submitted(connection, told, time.time())
    for begun in all_begun:
        if not any(step.tasks for step in begun.run.steps):  # all of its lists are empty
            close_runs(connection, [begun.seq], begun.run.values["created_at"])
    return [begun.seq for begun in all_begun]


def begin_run(connection: sa.Connection, run: NewRun) -> Begun:
    """Inserts a run with its steps and edges. Until it is visible, nobody is shown it, and its steps are held."""
    return _begin_runs(connection, [run], visible=False)[0]


def _begin_runs(connection: sa.Connection, new: Sequence[NewRun], *, visible: bool) -> list[Begun]:
    made = connection.execute(_INSERT_RUN, [{**run.values, "visible": visible} for run in new])
    seqs, with_webhooks = dict[str, int](), set[str]()
    for run_id, seq, has_webhooks in made:
        seqs[run_id] = seq
        if has_webhooks:
            with_webhooks.add(run_id)
    firsts = [list(accumulate((step.tasks or 0 for step in run.steps), initial=0)) for run in new]
    rows = []
    for run, first in zip(new, firsts, strict=True):
        run_seq = seqs[run.values["id"]]
        for number, step in enumerate(run.steps):
            row = {"run_seq": run_seq, "number": number, "name": step.name, "site": step.site, "spec": step.spec}
            row |= {"first": first[number], "tasks": step.tasks, "held": step.held or not visible}
            rows.append({**row, "reuse": step.reuse})
    of_runs: dict[int, list[int]] = {seq: [] for seq in seqs.values()}
    for run_seq, _, seq in sorted(map(tuple, connection.execute(_INSERT_STEP, rows))):
        of_runs[run_seq].append(seq)
    found = []
    for run, first in zip(new, firsts, strict=True):
        run_id = run.values["id"]
        run_seq = seqs[run_id]
        found.append(Begun(run, run_seq, of_runs[run_seq], first[:-1], visible, run_id in with_webhooks))
    _insert_edges(connection, found)
    told = [_kbase_row(begun.run, begun.seq) for begun in found if begun.run.kbase is not None]
    if told:
        connection.execute(_INSERT_KBASE, told)
    return found


def _kbase_row(run: NewRun, seq: int) -> dict[str, Any]:
    own = {"run_seq": seq, "user": run.values["user"], "created_at": run.values["created_at"]}
    return {**(run.kbase or {}), **own}


def _insert_edges(connection: sa.Connection, new: Sequence[Begun]) -> None:
    """Edges between the steps of runs, and between their tasks."""
    between_steps = [_edge_row(edge, begun.steps, begun.run.steps) for begun in new for edge in begun.run.step_edges]
    if between_steps:
        connection.execute(sa.insert(step_edges), between_steps)
    between_tasks = [
        {
            "upstream": begun.seq * TASKS_PER_RUN + up if up >= 0 else -up - 1,
            "downstream": begun.seq * TASKS_PER_RUN + down,
            "accept_failure": accept,
        }
        for begun in new
        for up, down, accept in begun.run.task_edges
    ]
    if between_tasks:
        connection.execute(sa.insert(edges), between_tasks)


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
    if not begun.visible:
        _update_unfinished(connection, begun, created_at=time.time())
    add_pieces(connection, [_piece(begun, number, some, done)])


def _piece(begun: Begun, number: int, some: Sequence[NewTask], done: int) -> Piece:
    """Tasks of the step of this ``number``, which has ``done`` already."""
    values, step = begun.run.values, begun.run.steps[number]
    first, at = begun.firsts[number] + done, values["created_at"]
    return Piece(begun.seq, begun.steps[number], first, some, values["user"], step.site, at, step.reuse)


def publish_run(connection: sa.Connection, begun: Begun) -> None:
    """Shows a run that was written: from now on its tasks are wanted. Raises Unavailable as ``add_tasks`` does."""
    _update_unfinished(connection, begun, visible=True, ended_at=None, created_at=begun.run.values["created_at"])
    held = [step.held for step in begun.run.steps]
    hold_steps(connection, [seq for seq, one in zip(begun.steps, held, strict=True) if not one], held=False)
    tell_submitted(connection, [begun.seq], time.time())
    close_runs(connection, [begun.seq], begun.run.values["created_at"])  # all of its data may have failed meanwhile


def _update_unfinished(connection: sa.Connection, begun: Begun, **values: Any) -> None:
    still = (sa.not_(runs.c.visible), runs.c.created_at > _GIVEN_UP)
    unfinished = sa.update(runs).where(runs.c.seq == begun.seq, *still)
    if not connection.execute(unfinished.values(values)).rowcount:
        raise Unavailable("The run was given up while it was written: the database was too slow.", hint=_AGAIN)


def close_runs(connection: sa.Connection, seqs: Collection[int], at: float) -> None:
    """Ends those of the runs that have no active task left."""
    still_open = set(connection.execute(_STILL_OPEN, {"seqs": list(seqs)}).scalars())
    done = [seq for seq in seqs if seq not in still_open]
    if done:
        tell_ended(connection, done, at)
        connection.execute(_END, {"seqs": done, "at": at})


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
    connection.execute(sa.delete(kbase_runs).where(kbase_runs.c.run_seq == seq))
    connection.execute(sa.delete(runs).where(runs.c.seq == seq))
    return False


def seqs_of(connection: sa.Connection, run_ids: Collection[str]) -> dict[str, int]:
    """The ``seq`` of runs, by public id."""
    found: dict[str, int] = {}
    for some in chunks(run_ids):
        found |= {row.id: row.seq for row in connection.execute(_SEQS_OF_RUNS, {"ids": some})}
    return found


def get_run(connection: sa.Connection, run_id: str) -> Any | None:
    """The run's row by public id."""
    return connection.execute(sa.select(runs).where(runs.c.id == run_id, runs.c.visible)).one_or_none()


def list_runs(connection: sa.Connection, user: str | None, before: int | None, limit: int) -> Sequence[Any]:
    """Newest first; ``before`` is the ``seq`` of the last one seen; ``user`` None lists everybody's."""
    query = sa.select(*RUN_COLUMNS).where(runs.c.visible).order_by(runs.c.seq.desc()).limit(limit)
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


_IN_FLIGHT = (
    sa.select(sa.func.coalesce(sa.func.sum(step_counts.c.tasks), 0))
    .join(runs, runs.c.seq == step_counts.c.run_seq)
    .where(runs.c.ended_at.is_(None), runs.c.user == sa.bindparam("whose"), step_counts.c.state.in_(ACTIVE))
)


def tasks_in_flight(connection: sa.Connection, user: str) -> int:
    """How many tasks of a user have not ended."""
    return int(connection.execute(_IN_FLIGHT, {"whose": user}).scalar_one())


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is: how many of its tasks have ended, and whether all have."""

    done: int
    ended: bool


_PROGRESS = (
    sa.select(
        runs.c.seq,
        sa.func.sum(sa.case((step_counts.c.state.in_(TERMINAL), step_counts.c.tasks), else_=0)).label("done"),
        runs.c.ended_at,
    )
    .join(step_counts, step_counts.c.run_seq == runs.c.seq)
    .where(runs.c.seq.in_(_OF_SEQS))
    .group_by(runs.c.seq, runs.c.ended_at)
)


def progress_of(connection: sa.Connection, run_seqs: Collection[int]) -> dict[int, RunProgress]:
    """Of each run of ``run_seqs``."""
    found: dict[int, RunProgress] = {}
    for some in chunks(run_seqs):
        for row in connection.execute(_PROGRESS, {"seqs": some}):
            found[row.seq] = RunProgress(row.done, row.ended_at is not None)
    return found


def open_runs_by_site(connection: sa.Connection) -> dict[str, int]:
    """How many runs have active tasks at each site."""
    query = sa.select(steps.c.site, sa.func.count(sa.distinct(runs.c.seq))).join(runs, runs.c.seq == steps.c.run_seq)
    still = query.where(runs.c.ended_at.is_(None), runs.c.visible).group_by(steps.c.site)
    return {row[0]: row[1] for row in connection.execute(still)}
