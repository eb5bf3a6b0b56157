"""What is shown of tasks, with the reason why one does not move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import TERMINAL, TaskState
from packhorse.domain.users import User
from packhorse.domain.views import TaskDetail, TaskView
from packhorse.engine.requests.access import task_row
from packhorse.engine.requests.documents import (
    attempt_view,
    data_view,
    event_view,
    task_view,
    waiting_reason,
    waits_for_data,
    waits_for_images,
    waits_for_one,
)
from packhorse.engine.requests.line import waits_for_others, waits_for_size
from packhorse.engine.requests.reuseview import reuse_view
from packhorse.engine.requests.tesdocument import tes_document
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.cache import Steps
from packhorse.sites.site import Site, not_configured
from packhorse.store.allocations import get_allocation
from packhorse.store.data import awaited_data, data_of_task
from packhorse.store.database import Database
from packhorse.store.images import wants_of
from packhorse.store.stepdata import awaited_by_steps
from packhorse.store.tasks import attempts_of, events_of


class TaskViews:
    """Shows tasks of the store; ``sites`` are those of the configuration."""

    def __init__(self, database: Database, steps: Steps, sites: Mapping[str, Site]) -> None:
        self._database = database
        self._steps = steps
        self._sites = sites

    def page(self, connection: sa.Connection, run: Any, rows: Sequence[Any]) -> list[TaskView]:
        """Tasks of one run, in the order of their ``rows``."""
        queued = [task for task in rows if task.state == TaskState.QUEUED]
        waits = waits_for_images(wants_of(connection, [run.seq])[run.seq]) if queued else None
        data = waits_for_data(awaited_data(connection, [task.id for task in queued if task.waiting_on]))
        held = awaited_by_steps(connection, {task.step_seq for task in queued if not task.waiting_on})
        data |= {task.id: waits_for_one(held[task.step_seq]) for task in queued if task.step_seq in held}
        steps = {seq: self._steps.of(connection, seq) for seq in {task.step_seq for task in rows}}
        return [
            self._explained(task_view(task, steps[task.step_seq], data.get(task.id) or waits), steps[task.step_seq])
            for task in rows
        ]

    def detail(self, user: User, task_id: str) -> TaskDetail:
        """All that is known of a task that ``user`` may see. May ask its site. Raises NotFound."""
        with self._database.read() as connection:
            run, row = task_row(connection, user, task_id)
            step = self._steps.of(connection, row.step_seq)
            attempts = [attempt_view(attempt) for attempt in attempts_of(connection, row.id)]
            events = [event_view(event) for event in events_of(connection, row.id)]
            allocation = get_allocation(connection, row.allocation_seq) if row.state == TaskState.INITIALIZING else None
            is_queued = row.state == TaskState.QUEUED
            waits = waits_for_images(wants_of(connection, [run.seq])[run.seq]) if is_queued else None
            if is_queued and row.waiting_on:
                waits = waits_for_data(awaited_data(connection, [row.id])).get(row.id)
            elif is_queued and waits is None and (needs := awaited_by_steps(connection, [row.step_seq])):
                waits = waits_for_one(needs[row.step_seq])
            is_in_line = is_queued and waits is None
            if is_in_line:
                waits = waits_for_others(connection, run, row)
            data = [data_view(one) for one in data_of_task(connection, row.id)]
            reuse = reuse_view(connection, self._steps, row, step)
        if is_in_line and not row.waiting_on and step.row.site in self._sites:
            waits = waits_for_size(self._sites[step.row.site], step, row) or waits
        document = tes_document(row, step, run.created_at, attempts)
        view = task_view(row, step, waits)
        if allocation is not None and allocation.started_at is None:
            view = view.model_copy(update={"reason": waiting_reason(allocation)})
        view = self._explained(view, step)
        more: dict[str, Any] = {"attempts": attempts, "events": events, "data": data, "reuse": reuse}
        more["from_history"] = step.spec.from_history
        return TaskDetail(**view.model_dump(), document=document, **more)

    def _explained(self, view: TaskView, step: Step) -> TaskView:
        """With the reason why nothing moves, where a task's site was taken out of the configuration."""
        if view.state in TERMINAL or step.row.site in self._sites:
            return view
        return view.model_copy(
            update={"reason": f"{not_configured(step.row.site)} The task goes on when it is there again."}
        )
