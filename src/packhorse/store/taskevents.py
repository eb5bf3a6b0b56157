"""Events of tasks, for webhooks that ask for them: many in a row of the outbox, which is written in the transaction of
what it tells of. Where nobody asks, a transaction has one small statement more.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from packhorse.domain.states import TERMINAL, TaskState
from packhorse.domain.text import kept_json
from packhorse.store.schema import TASKS_PER_RUN, in_run, outbox, runs, tasks, webhooks

TASK_STARTED, TASK_ENDED = "task.started", "task.ended"
TASK_KINDS = (TASK_STARTED, TASK_ENDED)
#: What such a row is: its events are in ``outbox.tasks``.
TASKS = "tasks"
MOST = 500  # events of a row

_W, _T = webhooks.c, tasks.c
_TELLS = sa.text("webhooks.tells_tasks")
_ANYBODY = sa.select(sa.literal(1)).select_from(webhooks).where(_TELLS).limit(1)
_ASKING = (
    sa.select(_W.seq, _W.kinds, runs.c.seq.label("run_seq"))
    .join(runs, runs.c.user == _W.user)
    .where(_TELLS, runs.c.seq.in_(sa.bindparam("seqs", expanding=True)))
    .order_by(runs.c.seq, _W.seq)
)
_ABOUT = sa.select(_T.id, _T.name, _T.exit_code, _T.failure, _T.reason)
_BY_IDS = _ABOUT.where(_T.id.in_(sa.bindparam("ids", expanding=True)))


class Told(NamedTuple):
    """A task that started, or that ended, at ``at`` (seconds since the epoch)."""

    task: int
    state: str
    at: float
    attempt: int

    @property
    def place(self) -> int:
        """In its run."""
        return self.task % TASKS_PER_RUN

    @property
    def kind(self) -> str:
        return TASK_ENDED if TaskState(self.state) in TERMINAL else TASK_STARTED


def tell_tasks(connection: sa.Connection, told: Iterable[Told]) -> None:
    """Writes what is to be told of tasks of visible runs, to whom it is to be told. Where nobody asks, ``told`` is not
    looked at.
    """
    if not _anybody(connection):
        return
    by_run: defaultdict[int, list[Told]] = defaultdict(list)
    for one in told:
        by_run[one.task // TASKS_PER_RUN].append(one)
    rows: list[dict[str, Any]] = []
    for hook in connection.execute(_ASKING, {"seqs": list(by_run)}):
        wanted = [one for one in by_run[hook.run_seq] if f" {one.kind} " in hook.kinds]
        for start in range(0, len(wanted), MOST):
            some = [(one.place, one.state, one.at, one.attempt) for one in wanted[start : start + MOST]]
            rows.append(_row(hook, some[-1][2], some))
    if rows:
        connection.execute(sa.insert(outbox), rows)


def tell_canceled(connection: sa.Connection, run_seq: int, at: float) -> None:
    """All tasks of a run that were canceled at ``at``, however many: which they are is looked up when they are told."""
    if not _anybody(connection):
        return
    asking = [hook for hook in connection.execute(_ASKING, {"seqs": [run_seq]}) if f" {TASK_ENDED} " in hook.kinds]
    if asking:
        connection.execute(sa.insert(outbox), [_row(hook, at, {"canceled": at, "after": -1}) for hook in asking])


def events_of(connection: sa.Connection, row: Any) -> tuple[list[tuple[Told, Any]], str | None]:
    """(events of a row of the outbox, each with what is known of its task or None; what the row has besides, as it is
    stored, or None at its end).
    """
    kept = json.loads(row.tasks)
    first = row.run_seq * TASKS_PER_RUN
    if isinstance(kept, dict):
        return _canceled(connection, row.run_seq, kept)
    told = [Told(first + index, state, at, attempt) for index, state, at, attempt in kept]
    about = {one.id: one for one in connection.execute(_BY_IDS, {"ids": [one.task for one in told]})}
    return [(one, about.get(one.task)) for one in told], None


def shorten(connection: sa.Connection, row_id: int, rest: str) -> None:
    """A part of a row's events was taken: ``rest`` is still to be told."""
    connection.execute(sa.update(outbox).where(outbox.c.id == row_id).values(tasks=rest))


def _canceled(
    connection: sa.Connection, run_seq: int, kept: Mapping[str, Any]
) -> tuple[list[tuple[Told, Any]], str | None]:
    at, after = float(kept["canceled"]), run_seq * TASKS_PER_RUN + int(kept["after"])
    those = sa.and_(in_run(run_seq), _T.id > after, _T.state == TaskState.CANCELED, _T.ended_at == at)
    page = connection.execute(_ABOUT.add_columns(_T.attempt).where(those).order_by(_T.id).limit(MOST)).all()
    found = [(Told(one.id, TaskState.CANCELED.value, at, one.attempt), one) for one in page]
    rest = {**kept, "after": page[-1].id % TASKS_PER_RUN} if len(page) == MOST else None
    return found, None if rest is None else kept_json(rest)


def _anybody(connection: sa.Connection) -> bool:
    return connection.execute(_ANYBODY).first() is not None


def _row(hook: Any, at: float, events: Any) -> dict[str, Any]:
    return {"webhook_seq": hook.seq, "run_seq": hook.run_seq, "kind": TASKS, "at": at, "tasks": kept_json(events)}


def moved(task: int, state: TaskState, at: float, attempt: int) -> Iterable[Told]:
    """What is told of a transition: a start, an end, or nothing."""
    if state is TaskState.RUNNING or state in TERMINAL:
        yield Told(task, state.value, at, attempt)
