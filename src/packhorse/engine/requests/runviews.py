"""How far a run is: its steps, and what those wait for that could not start now."""

from __future__ import annotations

from collections import Counter
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.domain.views import RunView
from packhorse.engine.requests.documents import run_view, step_view
from packhorse.engine.requests.line import steps_gathered_without, steps_wait_for
from packhorse.store.steps import counts_of_steps, edges_out_of, steps_of_run


def run_with_steps(connection: sa.Connection, row: Any) -> RunView:
    """A run's row with its counts, by step as well."""
    counts = counts_of_steps(connection, row.seq)
    steps = steps_of_run(connection, row.seq)
    edges = edges_out_of(connection, [step.seq for step in steps]) if len(steps) > 1 else ()
    waits = steps_wait_for(steps, edges, counts) if row.ended_at is None else {}
    without = steps_gathered_without(steps, edges)
    told = [step_view(step, counts.get(step.seq, {}), waits.get(step.seq), without.get(step.seq)) for step in steps]
    total: Counter[TaskState] = Counter()
    for of_step in counts.values():
        total.update(of_step)
    return run_view(row, total, told)
