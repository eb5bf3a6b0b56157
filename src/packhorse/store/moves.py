"""The one place that changes a task's state: checks the state machine, records the event, keeps counts, edges and the
run's end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa

from packhorse.domain.failures import FailureClass
from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.states import ACTIVE, TERMINAL, TaskState, may_move
from packhorse.store.schema import TASKS_PER_RUN, edges, events, in_run, run_counts, runs, tasks

S = TaskState

_IN_CHUNK = 1000


@dataclass(slots=True)
class Move:
    """A task's step to ``target`` at time ``at`` (seconds since the epoch); ``changes`` are other columns of its
    row.
    """

    task_id: int
    target: TaskState
    at: float
    why: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)


class Current(NamedTuple):
    """What a task's row says, locked for this transaction."""

    state: TaskState
    attempt: int
    allocation_seq: int | None
    role: str
    overrides: str | None
    started_at: float | None


def chunks(ids: Collection[int]) -> Iterator[list[int]]:
    """``ids`` in sorted pieces that fit into one IN list."""
    ordered = sorted(ids)
    for start in range(0, len(ordered), _IN_CHUNK):
        yield ordered[start : start + _IN_CHUNK]


def lock_tasks(connection: sa.Connection, ids: Collection[int]) -> dict[int, Current]:
    """The rows of ``ids``, locked in order of id so that two writers cannot deadlock."""
    found: dict[int, Current] = {}
    c = tasks.c
    columns = sa.select(c.id, c.state, c.attempt, c.allocation_seq, c.role, c.overrides, c.started_at)
    for some in chunks(ids):
        rows = connection.execute(columns.where(c.id.in_(some)).order_by(c.id).with_for_update())
        for row in rows:
            found[row.id] = Current(
                TaskState(row.state), row.attempt, row.allocation_seq, row.role, row.overrides, row.started_at
            )
    return found


def apply_moves(connection: sa.Connection, moves: Iterable[Move], current: Mapping[int, Current]) -> int:
    """Applies the legal ones of ``moves`` in order and returns how many; the others change nothing.

    A move that the state machine forbids is a record that came late or twice (a task canceled meanwhile, a second
    ``end``); refusing it here is what makes a terminal state final. ``current`` must come from ``lock_tasks`` in this
    transaction.
    """
    applied, ended = _apply(connection, moves, current)
    if ended:
        at = applied[-1].at
        doomed, waiting = _settle_edges(connection, ended, at)
        _, further = _apply(connection, doomed, waiting)
        _end_runs(connection, {task // TASKS_PER_RUN for task in (*ended, *further)}, at)
    return len(applied)


def _apply(
    connection: sa.Connection, moves: Iterable[Move], current: Mapping[int, Current]
) -> tuple[list[Move], dict[int, TaskState]]:
    """The legal ones of ``moves``, and which tasks are over thereby, and how; what that means for others is not looked
    at.
    """
    states = {task: row.state for task, row in current.items()}
    updates: dict[int, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    delta: Counter[tuple[int, TaskState]] = Counter()
    applied: list[Move] = []
    ended: dict[int, TaskState] = {}
    for move in moves:
        before = states.get(move.task_id)
        if before is None or not may_move(before, move.target):
            continue
        applied.append(move)
        states[move.task_id] = move.target
        update = updates.setdefault(move.task_id, {})
        update.update(move.changes, state=move.target)
        attempt = update.get("attempt", current[move.task_id].attempt)
        rows.append(
            {
                "task_id": move.task_id,
                "at": move.at,
                "attempt": attempt,
                "from_state": before,
                "to_state": move.target,
                "why": move.why,
            }
        )
        run_seq = move.task_id // TASKS_PER_RUN
        delta[run_seq, before] -= 1
        delta[run_seq, move.target] += 1
        if move.target in TERMINAL:
            ended[move.task_id] = move.target
    _update_tasks(connection, updates)
    if rows:
        connection.execute(sa.insert(events), rows)
    _count(connection, delta)
    return applied, ended


def place_tasks(
    connection: sa.Connection, ids: Sequence[int], allocation_seq: int, block: int, at: float, why: str
) -> int:
    """QUEUED → INITIALIZING for a whole block, in a few statements however many tasks; returns how many were still
    QUEUED.
    """
    placed = 0
    moved: Counter[int] = Counter()
    for some in chunks(ids):
        still_queued = sa.and_(tasks.c.id.in_(some), tasks.c.state == S.QUEUED)
        values = {"state": S.INITIALIZING, "allocation_seq": allocation_seq, "block": block, "reason": None}
        result = connection.execute(sa.update(tasks).where(still_queued).values(attempt=tasks.c.attempt + 1, **values))
        placed += result.rowcount
        moved.update(task // TASKS_PER_RUN for task in some)
        those = sa.and_(tasks.c.id.in_(some), tasks.c.allocation_seq == allocation_seq, tasks.c.block == block)
        _record_events(connection, those, at, S.QUEUED, S.INITIALIZING, why)
    delta: Counter[tuple[int, TaskState]] = Counter()
    for run_seq, number in moved.items():
        delta[run_seq, S.QUEUED] -= number
        delta[run_seq, S.INITIALIZING] += number
    _count(connection, delta)
    return placed


def cancel_queued(connection: sa.Connection, run_seq: int, at: float, why: str) -> int:
    """QUEUED → CANCELED for all such tasks of a run, in a few statements however many tasks; returns how many.

    Edges need no settling: what waits for one of them is QUEUED in the same run, and canceled with it.
    """
    values = {"state": S.CANCELED, "failure": FailureClass.CANCELED, "reason": why, "ended_at": at}
    canceled = connection.execute(
        sa.update(tasks).where(in_run(run_seq), tasks.c.state == S.QUEUED).values(values)
    ).rowcount
    if canceled:
        those = sa.and_(in_run(run_seq), tasks.c.state == S.CANCELED, tasks.c.ended_at == at)
        _record_events(connection, those, at, S.QUEUED, S.CANCELED, why)
        _count(connection, Counter({(run_seq, S.QUEUED): -canceled, (run_seq, S.CANCELED): canceled}))
        _end_runs(connection, {run_seq}, at)
    return canceled


def _record_events(
    connection: sa.Connection, those: sa.ColumnElement[bool], at: float, before: TaskState, after: TaskState, why: str
) -> None:
    """The same transition of all tasks that match ``those``."""
    told = (sa.literal(before.value), sa.literal(after.value), sa.literal(why))
    query = sa.select(tasks.c.id, sa.literal(at, sa.Float), tasks.c.attempt, *told).where(those).order_by(tasks.c.id)
    connection.execute(
        sa.insert(events).from_select(["task_id", "at", "attempt", "from_state", "to_state", "why"], query)
    )


def _update_tasks(connection: sa.Connection, updates: dict[int, dict[str, Any]]) -> None:
    """One executemany for each set of columns that changes."""
    by_columns: defaultdict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for task, update in sorted(updates.items()):
        by_columns[tuple(sorted(update))].append(
            {"of": task, **{f"to_{column}": value for column, value in update.items()}}
        )
    for columns, values in by_columns.items():
        statement = sa.update(tasks).where(tasks.c.id == sa.bindparam("of"))
        connection.execute(statement.values({column: sa.bindparam(f"to_{column}") for column in columns}), values)


def _count(connection: sa.Connection, delta: Counter[tuple[int, TaskState]]) -> None:
    statement = (
        sa.update(run_counts)
        .where(run_counts.c.run_seq == sa.bindparam("of_run"), run_counts.c.state == sa.bindparam("of_state"))
        .values(tasks=run_counts.c.tasks + sa.bindparam("more"))
    )
    values = [{"of_run": run, "of_state": state, "more": more} for (run, state), more in sorted(delta.items()) if more]
    if values:
        connection.execute(statement, values)


def _settle_edges(
    connection: sa.Connection, ended: Mapping[int, TaskState], at: float
) -> tuple[list[Move], dict[int, Current]]:
    """Lets those go that waited for ``ended`` tasks; returns the ends of all that can never start, with reasons that
    name the culprit.

    Chains are followed link by link: they may be longer than the stack is deep.
    """
    over, last = dict(ended), dict(ended)
    culprits: dict[int, int] = {}
    waiting: dict[int, Current] = {}
    freed: Counter[int] = Counter()
    while last:
        doomed: dict[int, int] = {}
        for some in chunks(last):
            for upstream, downstream, accept_failure in connection.execute(
                sa.select(edges).where(edges.c.upstream.in_(some))
            ):
                if over[upstream] is S.COMPLETE or accept_failure:
                    freed[downstream] += 1
                elif downstream not in over:
                    doomed.setdefault(downstream, upstream)
        rows = {task: row for task, row in lock_tasks(connection, doomed).items() if row.state not in TERMINAL}
        last = {task: S.CANCELED if over[doomed[task]] is S.CANCELED else S.SYSTEM_ERROR for task in rows}
        over |= last
        culprits |= {task: doomed[task] for task in rows}
        waiting |= rows
    if freed:
        statement = sa.update(tasks).where(tasks.c.id == sa.bindparam("of"))
        values = [{"of": task, "less": number} for task, number in sorted(freed.items())]
        connection.execute(statement.values(waiting_on=tasks.c.waiting_on - sa.bindparam("less")), values)
    return _ends_in_vain(connection, culprits, over, at), waiting


def _ends_in_vain(
    connection: sa.Connection, culprits: Mapping[int, int], over: Mapping[int, TaskState], at: float
) -> list[Move]:
    """The ends of tasks whose ``culprits`` ended as ``over`` says, as do they themselves."""
    if not culprits:
        return []
    names = _public_names(connection, set(culprits.values()))
    moves = []
    for task, culprit in culprits.items():
        canceled = over[task] is S.CANCELED
        why = f"It needs {names[culprit]}, which {'was canceled' if canceled else f'ended as {over[culprit]}'}."
        failure = FailureClass.CANCELED if canceled else FailureClass.UPSTREAM
        moves.append(Move(task, over[task], at, why, {"failure": failure, "reason": why, "ended_at": at}))
    return moves


def _public_names(connection: sa.Connection, ids: Collection[int]) -> dict[int, str]:
    """'task r-….3 (align)' for each id."""
    names: dict[int, str] = {}
    run_of = sa.select(runs.c.seq, runs.c.id).where(runs.c.seq.in_({task // TASKS_PER_RUN for task in ids}))
    run_ids = {row.seq: row.id for row in connection.execute(run_of)}
    for some in chunks(ids):
        for row in connection.execute(sa.select(tasks.c.id, tasks.c.name).where(tasks.c.id.in_(some))):
            run_seq, index = divmod(row.id, TASKS_PER_RUN)
            names[row.id] = f"task {public_task_id(run_ids[run_seq], index)}" + (f" ({row.name})" if row.name else "")
    return names


def _end_runs(connection: sa.Connection, run_seqs: Collection[int], at: float) -> None:
    """Closes the runs that have no active task left."""
    active = sa.select(run_counts.c.run_seq).where(
        run_counts.c.run_seq.in_(run_seqs), run_counts.c.state.in_(ACTIVE), run_counts.c.tasks > 0
    )
    open_runs = set(connection.execute(active).scalars())
    done = sorted(set(run_seqs) - open_runs)
    if done:
        connection.execute(sa.update(runs).where(runs.c.seq.in_(done), runs.c.ended_at.is_(None)).values(ended_at=at))
