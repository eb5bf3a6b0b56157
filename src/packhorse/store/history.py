"""What tasks of a user's earlier runs left as results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.store.schema import TASKS_PER_RUN, runs, steps, tasks

_RUNS_BACK = 1000
_STEPS_BACK = 20

_RECENT = (
    sa.select(runs.c.seq, runs.c.id)
    .where(runs.c.user == sa.bindparam("user"), runs.c.visible, runs.c.app == sa.bindparam("app"))
    .order_by(runs.c.seq.desc())
    .limit(_RUNS_BACK)
    .subquery()
)
_STEPS = (
    sa.select(_RECENT.c.id.label("run_id"), steps.c.run_seq, steps.c.first, steps.c.tasks, steps.c.spec)
    .join(steps, steps.c.run_seq == _RECENT.c.seq)
    .where(steps.c.name == sa.bindparam("step"))
    .order_by(steps.c.seq.desc())
    .limit(_STEPS_BACK)
)
_RESULTS = (
    sa.select(tasks.c.result)
    .where(
        tasks.c.id.between(sa.bindparam("begin"), sa.bindparam("end")),
        tasks.c.state == TaskState.COMPLETE,
        tasks.c.result.is_not(None),
    )
    .order_by(tasks.c.id)
    .limit(sa.bindparam("number"))
)


def earlier_steps(connection: sa.Connection, user: str, app: str, name: str) -> Sequence[Any]:
    """(run_id, run_seq, first, tasks, spec) of the steps of this name in a user's last runs of an app, newest first."""
    return connection.execute(_STEPS, {"user": user, "app": app, "step": name}).all()


def results_of(connection: sa.Connection, step: Any, number: int) -> Sequence[str]:
    """At most ``number`` results of tasks of a step that completed."""
    begin = step.run_seq * TASKS_PER_RUN + step.first
    asked = {"begin": begin, "end": begin + (step.tasks or 0) - 1, "number": number}
    return connection.execute(_RESULTS, asked).scalars().all()
