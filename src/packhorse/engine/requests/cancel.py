"""Cancels tasks: those that wait end at once, those at a site when its agent has ended them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import sqlalchemy as sa

from packhorse.domain.failures import FailureClass
from packhorse.domain.states import TaskState
from packhorse.store.moves import Move, apply_moves, cancel_queued, lock_tasks
from packhorse.store.tasks import ids_in_states


def cancel_all(connection: sa.Connection, run_seq: int, why: str) -> None:
    """Cancels every task of a run that has not ended."""
    more = True
    while more:  # between two statements the engine may have placed tasks, or put them back
        queued = cancel_queued(connection, run_seq, time.time(), why)
        placed = ids_in_states(connection, run_seq, (TaskState.INITIALIZING, TaskState.RUNNING))
        cancel_tasks(connection, placed, why)
        more = bool(queued or placed)


def cancel_tasks(connection: sa.Connection, ids: Sequence[int], why: str) -> None:
    """Cancels tasks; those that have ended stay as they are."""
    now = time.time()
    current = lock_tasks(connection, ids)
    ended = {"failure": FailureClass.CANCELED, "reason": why, "ended_at": now}
    moves = [
        (
            Move(task, TaskState.CANCELED, now, why, ended)
            if row.state is TaskState.QUEUED
            else Move(task, TaskState.CANCELING, now, why)
        )
        for task, row in current.items()
    ]
    apply_moves(connection, moves, current)
