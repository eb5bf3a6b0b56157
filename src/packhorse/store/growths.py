"""Tasks that a list becomes, part by part: others write in between.

From the first part on all of them are counted and waited for. Each part commits with how many are there, so that none
comes to be twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from packhorse.domain.failures import FailureClass
from packhorse.domain.states import TaskState
from packhorse.store.demands import add_ready
from packhorse.store.moves import Move, apply_moves, end_in_vain, lock_tasks
from packhorse.store.newtasks import NewTask, Piece, insert_pieces
from packhorse.store.schema import TASKS_PER_RUN, growths, step_edges
from packhorse.store.steps import add_counts, place_step

#: Tasks of one part: others wait for no more.
PART = 2000

_G = growths.c
_OPEN = sa.select(growths).where(_G.site == sa.bindparam("site")).order_by(_G.step_seq).limit(sa.bindparam("number"))
_LOCK = sa.select(growths).where(_G.step_seq == sa.bindparam("step")).with_for_update()
_INSERT = sa.insert(growths)
_ADVANCE = sa.update(growths).where(_G.step_seq == sa.bindparam("step")).values(grown=sa.bindparam("number"))
_END = sa.delete(growths).where(_G.step_seq == sa.bindparam("step"))
# locked: who ends the last task that a step waits for changes the edge first, and then the tasks that it finds
_GATHERS = (
    sa.select(step_edges.c.left)
    .where(step_edges.c.downstream == sa.bindparam("step"), step_edges.c.kind == "gather")
    .order_by(step_edges.c.upstream)
    .with_for_update()
)


@dataclass(frozen=True, slots=True)
class Grown:
    """Some tasks of one step (a row of ``load_steps``), from index ``first`` of its run on. ``follows``: each waits for
    one that comes to be with it.
    """

    step: Any
    first: int
    tasks: Sequence[NewTask]
    follows: bool
    reuse: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """The next tasks of a step ``step_seq`` and of those that follow it: each has ``begin`` of ``total`` already, and
    ``end`` with this part.
    """

    step_seq: int
    begin: int
    end: int
    total: int
    grown: Sequence[Grown]


def begin_growth(
    connection: sa.Connection, step: Any, seqs: Sequence[int], upstream: int, first: int, total: int
) -> Any:
    """Notes that ``step`` and those that follow it (together ``seqs``) are to have ``total`` tasks each, from the list
    that the task ``upstream`` left; the first of them from index ``first`` of the run on. Returns the growth.
    """
    for number, seq in enumerate(seqs):
        place_step(connection, seq, first + number * total, total)
    add_counts(connection, {(step.run_seq, seq, TaskState.QUEUED): total for seq in seqs})
    row = {"step_seq": step.seq, "run_seq": step.run_seq, "site": step.site, "upstream": upstream, "grown": 0}
    connection.execute(_INSERT, row)
    return connection.execute(_LOCK, {"step": step.seq}).one()


def open_growths(connection: sa.Connection, site: str, number: int = 100) -> Sequence[Any]:
    """The steps of a site that wait for more tasks, oldest first."""
    return connection.execute(_OPEN, {"site": site, "number": number}).all()


def add_part(connection: sa.Connection, part: Part, at: float) -> bool:
    """Adds the tasks of a part, unless they are there already; whether it did. Those of a run that was canceled
    meanwhile end, and so do those that wait for what has failed.
    """
    growth = connection.execute(_LOCK, {"step": part.step_seq}).one_or_none()
    if growth is None or growth.grown != part.begin:
        return False
    add_first_part(connection, part, at)
    new = {one.step.seq: _ids(one) for one in part.grown}
    if growth.canceled is None:
        end_in_vain(connection, new, at)
    else:
        ended = {"failure": FailureClass.CANCELED, "reason": growth.canceled, "ended_at": at}
        current = lock_tasks(connection, [task for ids in new.values() for task in ids])
        moves = [Move(task, TaskState.CANCELED, at, growth.canceled, dict(ended)) for task in current]
        apply_moves(connection, moves, current)
    return True


def add_first_part(connection: sa.Connection, part: Part, at: float) -> None:
    """``add_part`` in the transaction that began the growth, which looks itself for tasks that end at once."""
    add_ready(connection, insert_pieces(connection, [_piece(connection, one, at) for one in part.grown]))
    if part.end < part.total:
        connection.execute(_ADVANCE, {"step": part.step_seq, "number": part.end})
    else:
        connection.execute(_END, {"step": part.step_seq})


def _piece(connection: sa.Connection, one: Grown, at: float) -> Piece:
    row = one.step
    waiting_on = one.follows + sum(left > 0 for left in connection.execute(_GATHERS, {"step": row.seq}).scalars())
    some = [replace(task, waiting_on=waiting_on) for task in one.tasks] if waiting_on else one.tasks
    return Piece(row.run_seq, row.seq, one.first, some, row.user, row.site, at, one.reuse)


def _ids(one: Grown) -> range:
    begin = one.step.run_seq * TASKS_PER_RUN + one.first
    return range(begin, begin + len(one.tasks))
