"""The one place that changes a task's state: checks the state machine, records the event, keeps counts, edges and the
run's end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import sqlalchemy as sa

from packhorse.domain.failures import FailureClass
from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.states import TERMINAL, TaskState, may_move
from packhorse.store.bulk import Bulk
from packhorse.store.chunks import chunks
from packhorse.store.demands import Delta, add_ready, add_ready_to_steps
from packhorse.store.outbox import start_runs
from packhorse.store.runs import close_runs
from packhorse.store.schema import TASKS_PER_RUN, events, growths, in_run, runs, tasks
from packhorse.store.settling import Grow, InVain, settle_edges, settle_new
from packhorse.store.steps import add_counts
from packhorse.store.taskevents import moved, tell_canceled, tell_tasks

S = TaskState


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
    step_seq: int
    demand_seq: int
    waiting_on: int
    not_before: float
    overrides: str | None
    started_at: float | None


class PlacedBlock(NamedTuple):
    """Tasks that go into one block. ``rows`` are ready ones, locked in this transaction
    (``store.demands.take_ready``).
    """

    allocation_seq: int
    number: int
    rows: Sequence[Any]
    why: str


_T = tasks.c
_STATES = {state.value: state for state in S}
_VALUES = {state: state.value for state in S}
_LOCK = (
    sa.select(
        _T.id, _T.state, _T.attempt, _T.allocation_seq, _T.step_seq, _T.demand_seq, _T.waiting_on, _T.not_before,
        _T.overrides, _T.started_at,
    )
    .where(_T.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(_T.id)
    .with_for_update()
)  # fmt: skip
_PLACED: Any = {
    "state": S.INITIALIZING,
    "reason": None,
    "allocation_seq": sa.bindparam("allocation"),
    "block": sa.bindparam("number"),
}
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_PLACE = Bulk(
    sa.update(tasks)
    .where(_T.id == sa.bindparam("of"))
    .ordered_values(
        (_T.state, sa.bindparam("to_state")),
        (_T.reason, sa.null()),
        (_T.attempt, sa.bindparam("next")),
        (_T.allocation_seq, sa.bindparam("allocation")),
        (_T.block, sa.bindparam("number")),
    ),
    ["to_state", "next", "allocation", "number", "of"],
)
_PLACE_ALL = sa.update(tasks).where(_T.id.in_(_IDS)).values(attempt=_T.attempt + 1, **_PLACED)
_PLACEMENT = (
    _T.id,
    sa.bindparam("now", type_=sa.Float),
    _T.attempt,
    sa.literal(S.QUEUED.value),
    sa.literal(S.INITIALIZING.value),
    sa.bindparam("why", type_=events.c.why.type),
)
_EVENT = ("task_id", "at", "attempt", "from_state", "to_state", "why")
_TELL_ALL = sa.insert(events).from_select(_EVENT, sa.select(*_PLACEMENT).where(_T.id.in_(_IDS)).order_by(_T.id))
_LARGE_BLOCK = 20  # tasks, from which on statements of a block's own cost less
_INSERT_EVENT = Bulk(sa.insert(events), _EVENT)
_CANCEL_GROWTHS = (
    sa.update(growths).where(growths.c.run_seq == sa.bindparam("run")).values(canceled=sa.bindparam("why"))
)


def lock_tasks(connection: sa.Connection, ids: Collection[int]) -> dict[int, Current]:
    """The rows of ``ids``, locked in order of id so that two writers cannot deadlock."""
    found: dict[int, Current] = {}
    for some in chunks(ids):
        for row in connection.execute(_LOCK, {"ids": some}):
            found[row[0]] = Current._make((_STATES[row[1]], *row[2:]))
    return found


def apply_moves(
    connection: sa.Connection, moves: Iterable[Move], current: Mapping[int, Current], grow: Grow | None = None
) -> int:
    """Applies the legal ones of ``moves`` in order and returns how many; the others change nothing.

    A move that the state machine forbids is a record that came late or twice (a task canceled meanwhile, a second
    ``end``); refusing it here is what makes a terminal state final. ``current`` must come from ``lock_tasks`` in this
    transaction. ``grow`` makes the tasks of steps whose list is known now: who completes tasks must give it.
    """
    applied, ended = _apply(connection, moves, current)
    if ended:
        at = applied[-1].at
        step_of = {task: current[task].step_seq for task in ended}
        _end(connection, settle_edges(connection, ended, step_of, grow), ended, at)
    return len(applied)


def end_in_vain(connection: sa.Connection, new: Mapping[int, Collection[int]], at: float) -> None:
    """Ends those of tasks that have just come to be, by step, that can never start."""
    _end(connection, settle_new(connection, new), (), at)


def _end(connection: sa.Connection, in_vain: InVain, ended: Collection[int], at: float) -> None:
    """Ends the tasks that can never start, and the runs of which, with those that have ``ended``, none is left."""
    waiting = {task: row for task, row in lock_tasks(connection, in_vain.ends).items() if row.state not in TERMINAL}
    _, further = _apply(connection, _ends_in_vain(connection, in_vain, at), waiting)
    for some in chunks({task // TASKS_PER_RUN for task in (*ended, *further)}):
        close_runs(connection, some, at)


def _apply(
    connection: sa.Connection, moves: Iterable[Move], current: Mapping[int, Current]
) -> tuple[list[Move], dict[int, TaskState]]:
    """The legal ones of ``moves``, and which tasks are over thereby, and how; what that means for others is not looked
    at.
    """
    states = {task: row.state for task, row in current.items()}
    updates: dict[int, dict[str, Any]] = {}
    told: list[tuple[Any, ...]] = []
    counts: Counter[tuple[int, int, TaskState]] = Counter()
    applied: list[Move] = []
    ended: dict[int, TaskState] = {}
    for move in moves:
        task, target = move.task_id, move.target
        before = states.get(task)
        if before is None or not may_move(before, target):
            continue
        applied.append(move)
        states[task] = target
        row = current[task]
        update = updates.setdefault(task, {})
        update.update(move.changes)
        told.append((task, move.at, update.get("attempt", row.attempt), _VALUES[before], _VALUES[target], move.why))
        run_seq = task // TASKS_PER_RUN
        counts[run_seq, row.step_seq, before] -= 1
        counts[run_seq, row.step_seq, target] += 1
        if target in TERMINAL:
            ended[task] = target
    _update_tasks(connection, updates, states)
    started = {move.task_id // TASKS_PER_RUN for move in applied if move.target is S.RUNNING}
    _INSERT_EVENT.execute(connection, told)
    if applied:
        all_moved = (moved(one.task_id, one.target, one.at, row[2]) for one, row in zip(applied, told, strict=True))
        tell_tasks(connection, chain.from_iterable(all_moved))
    add_counts(connection, counts)
    add_ready(connection, _ready_changes(updates, current, states))
    if started:
        start_runs(connection, started, applied[-1].at)
    return applied, ended


def _ready_changes(
    updates: Mapping[int, Mapping[str, Any]], current: Mapping[int, Current], states: Mapping[int, TaskState]
) -> Delta:
    """By (step, demand): how many tasks became ready by their ``updates``, less those that no longer are. ``states``
    are those that they have now.
    """
    delta: Delta = Counter()
    for task, update in updates.items():
        row = current[task]
        if row.state is S.QUEUED and not row.waiting_on and not row.not_before:
            delta[row.step_seq, row.demand_seq] -= 1
        if states[task] is not S.QUEUED:
            continue
        if not (update.get("waiting_on", row.waiting_on) or update.get("not_before", row.not_before)):
            delta[row.step_seq, update.get("demand_seq", row.demand_seq)] += 1
    return delta


def place_tasks(connection: sa.Connection, placed: Sequence[PlacedBlock], at: float) -> Counter[int]:
    """QUEUED → INITIALIZING for whole blocks, in a few statements however many tasks and blocks.

    What it returns is given to ``store.demands.add_ready_to_demands`` at the end of the transaction.
    """
    counts: Counter[tuple[int, int, TaskState]] = Counter()
    ready: Delta = Counter()
    for block in placed:
        for row in block.rows:
            run_seq = row.id // TASKS_PER_RUN
            counts[run_seq, row.step_seq, S.QUEUED] -= 1
            counts[run_seq, row.step_seq, S.INITIALIZING] += 1
            ready[row.step_seq, row.demand_seq] -= 1
        if len(block.rows) >= _LARGE_BLOCK:
            _place_block(connection, block, at)
    _place_each(connection, [block for block in placed if len(block.rows) < _LARGE_BLOCK], at)
    add_counts(connection, counts)
    return add_ready_to_steps(connection, ready)


def _place_block(connection: sa.Connection, block: PlacedBlock, at: float) -> None:
    """All tasks of one block by one statement, and their events by another."""
    where = {"allocation": block.allocation_seq, "number": block.number}
    for some in chunks([row.id for row in block.rows]):
        connection.execute(_PLACE_ALL, {"ids": some, **where})
        connection.execute(_TELL_ALL, {"ids": some, "now": at, "why": block.why})


def _place_each(connection: sa.Connection, small: Sequence[PlacedBlock], at: float) -> None:
    """The tasks of many small blocks together, row by row."""
    updates: list[tuple[Any, ...]] = []
    told: list[tuple[Any, ...]] = []
    before, after = _VALUES[S.QUEUED], _VALUES[S.INITIALIZING]
    for allocation_seq, number, rows, why in small:
        updates += [(after, row.attempt, allocation_seq, number, row.id) for row in rows]
        told += [(row.id, at, row.attempt, before, after, why) for row in rows]
    _PLACE.execute(connection, updates)
    _INSERT_EVENT.execute(connection, told)


def cancel_queued(connection: sa.Connection, run_seq: int, at: float, why: str) -> int:
    """QUEUED → CANCELED for all such tasks of a run, in a few statements however many tasks; returns how many.

    Edges need no settling: what waits for one of them is QUEUED in the same run, and canceled with it.
    Those that are still to come of a list end as they come.
    """
    connection.execute(_CANCEL_GROWTHS, {"run": run_seq, "why": why})
    values = {"state": S.CANCELED, "failure": FailureClass.CANCELED, "reason": why, "ended_at": at}
    queued = sa.and_(in_run(run_seq), tasks.c.state == S.QUEUED)
    canceled = connection.execute(sa.update(tasks).where(queued).values(values)).rowcount
    if canceled:
        those = sa.and_(in_run(run_seq), tasks.c.state == S.CANCELED, tasks.c.ended_at == at)
        _record_events(connection, those, at, S.QUEUED, S.CANCELED, why)
        counts: Counter[tuple[int, int, TaskState]] = Counter()
        ready: Delta = Counter()
        was_ready = sa.and_(tasks.c.waiting_on == 0, tasks.c.not_before == 0)
        by = (tasks.c.step_seq, tasks.c.demand_seq, sa.case((was_ready, 1), else_=0))
        for step, demand, is_ready, number in connection.execute(
            sa.select(*by, sa.func.count()).where(those).group_by(*by)
        ):
            counts[run_seq, step, S.QUEUED] -= number
            counts[run_seq, step, S.CANCELED] += number
            ready[step, demand] -= number * is_ready
        add_counts(connection, counts)
        add_ready(connection, ready)
        tell_canceled(connection, run_seq, at)
        close_runs(connection, [run_seq], at)
    return canceled


def _record_events(
    connection: sa.Connection, those: sa.ColumnElement[bool], at: float, before: TaskState, after: TaskState, why: str
) -> None:
    """The same transition of all tasks that match ``those``."""
    told = (sa.literal(before.value), sa.literal(after.value), sa.literal(why))
    query = sa.select(tasks.c.id, sa.literal(at, sa.Float), tasks.c.attempt, *told).where(those).order_by(tasks.c.id)
    connection.execute(sa.insert(events).from_select(_EVENT, query))


def _update_tasks(
    connection: sa.Connection, updates: Mapping[int, Mapping[str, Any]], states: Mapping[int, TaskState]
) -> None:
    """Writes what changes, and the new states: one executemany for each set of columns."""
    by_columns: defaultdict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
    for task in sorted(updates):
        update = updates[task]
        by_columns[tuple(update)].append((_VALUES[states[task]], *update.values(), task))
    for columns, rows in by_columns.items():
        _update_of(columns).execute(connection, rows)


@cache
def _update_of(columns: tuple[str, ...]) -> Bulk:
    """Sets the state and these columns of a task."""
    names = ("state", *columns)
    values: list[tuple[Any, Any]] = [(_T[name], sa.bindparam(f"to_{name}")) for name in names]
    statement = sa.update(tasks).where(_T.id == sa.bindparam("of")).ordered_values(*values)
    return Bulk(statement, [*(f"to_{name}" for name in names), "of"])


def _ends_in_vain(connection: sa.Connection, in_vain: InVain, at: float) -> list[Move]:
    """The ends of tasks that can never start, with reasons that name the task that is the cause."""
    if not in_vain.ends:
        return []
    names = _public_names(connection, set(in_vain.causes.values()))
    moves = []
    for task, state in in_vain.ends.items():
        cause = in_vain.causes[task]
        canceled = state is S.CANCELED
        how = "was canceled" if canceled else f"ended as {in_vain.over[cause]}"
        why = f"It needs {names[cause]}, which {how}."
        failure = FailureClass.CANCELED if canceled else FailureClass.UPSTREAM
        moves.append(Move(task, state, at, why, {"failure": failure, "reason": why, "ended_at": at}))
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
