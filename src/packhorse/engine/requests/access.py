"""Whose runs and tasks these are: what is another user's is not there for those who ask, unless an admin does."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from packhorse.domain.errors import NotFound
from packhorse.domain.ids import is_run_id, parse_task_id
from packhorse.domain.views import User
from packhorse.store.runs import get_run
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.tasks import get_task


def run_row(connection: sa.Connection, user: User, run_id: str) -> Any:
    """The row of a run that ``user`` may see. Raises NotFound."""
    row = get_run(connection, run_id) if is_run_id(run_id) else None
    if row is None or not (user.admin or row.user == user.name):
        raise NotFound(f"There is no run '{run_id[:60]}'.", hint="'packhorse ps' lists your runs.")
    return row


def task_row(connection: sa.Connection, user: User, task_id: str) -> tuple[Any, Any]:
    """The rows of a task that ``user`` may see, and of its run: (run, task). Raises NotFound."""
    run_id, index = parse_task_id(task_id)
    run = run_row(connection, user, run_id)
    row = get_task(connection, run.seq * TASKS_PER_RUN + index) if index < TASKS_PER_RUN else None
    if row is None:
        raise NotFound(f"Run {run_id} has no task {index}.", hint=f"'packhorse ps {run_id}' lists its tasks.")
    return run, row
