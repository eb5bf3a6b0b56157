"""Whose runs and tasks these are: what is another user's is not there for those who may not see it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from packhorse.domain.access import POLICY, Action, Owned, Verdict
from packhorse.domain.errors import NotAllowed, NotFound
from packhorse.domain.ids import is_run_id, parse_task_id
from packhorse.domain.users import User
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.sharing import run_with_sharing
from packhorse.store.tasks import get_task


def run_row(connection: sa.Connection, user: User, run_id: str, action: Action = Action.SEE) -> Any:
    """The row of a run with which ``user`` may do this. Raises NotFound, NotAllowed."""
    POLICY.require(user, action)
    row = run_with_sharing(connection, run_id, user.grantees) if is_run_id(run_id) else None
    decision = None if row is None else POLICY.decide(user, action, Owned(row.user, bool(row.shared)))
    if decision is None or decision.verdict is Verdict.HIDE:
        raise NotFound(f"There is no run '{run_id[:60]}'.", hint="'packhorse ps' lists your runs.")
    if not decision.allowed:
        raise NotAllowed(decision.why, hint=decision.hint)
    return row


def task_row(connection: sa.Connection, user: User, task_id: str, action: Action = Action.SEE) -> tuple[Any, Any]:
    """The rows of a task with which ``user`` may do this, and of its run: (run, task). Raises NotFound, NotAllowed."""
    run_id, index = parse_task_id(task_id)
    run = run_row(connection, user, run_id, action)
    row = get_task(connection, run.seq * TASKS_PER_RUN + index) if index < TASKS_PER_RUN else None
    if row is None:
        raise NotFound(f"Run {run_id} has no task {index}.", hint=f"'packhorse ps {run_id}' lists its tasks.")
    return run, row
