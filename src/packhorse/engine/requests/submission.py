"""A run that was accepted and is not written yet, and what is said of it once it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packhorse.domain.states import TaskState
from packhorse.domain.views import RunView
from packhorse.engine.change import Change
from packhorse.engine.requests.accept import Accepted
from packhorse.engine.requests.documents import step_view
from packhorse.engine.requests.line import steps_wait_for
from packhorse.store.runs import NewRun, NewStep


@dataclass(frozen=True, slots=True)
class Submission:
    """An accepted run that is not written yet; ``digest`` tells a repeated request from another one."""

    accepted: Accepted
    user: str
    name: str
    client_key: str | None
    digest: str
    retry_of: str | None = None
    kbase: Mapping[str, Any] | None = None
    """What is kept of jobs of KBase: see ``store.runs.NewRun``."""

    @property
    def tasks(self) -> int:
        """How many are written."""
        return sum(step.number or 0 for step in self.accepted.steps)

    @property
    def sites(self) -> set[str]:
        """Where its tasks run."""
        return {step.site for step in self.accepted.steps}

    @property
    def change(self) -> Change:
        """What it changes for the engine. What all tasks of a step need is asked for when they would be placed."""
        change = Change.TASKS
        if any(self.accepted.images.values()):
            change |= Change.IMAGES
        if any(step.spec.has_data for step in self.accepted.steps):
            change |= Change.DATA
        if any(step.spec.reuse for step in self.accepted.steps):
            change |= Change.REUSE
        return change

    def view(self, at: float) -> RunView:
        """The run as it was when it was written."""
        accepted = self.accepted
        rows = [
            _NewRow(number, one.name, one.site, one.number, bool(accepted.images.get(one.site)))
            for number, one in enumerate(accepted.steps)
        ]
        counts = {row.seq: {TaskState.QUEUED: row.tasks} if row.tasks else {} for row in rows}
        waits = steps_wait_for(rows, accepted.step_edges, counts)
        steps = [step_view(row, counts[row.seq], waits.get(row.seq), None) for row in rows]
        return RunView(
            id=accepted.run_id,
            user=self.user,
            name=self.name,
            app=accepted.app,
            created_at=at,
            ended_at=None,
            retry_of=self.retry_of,
            tasks=self.tasks,
            counts={TaskState.QUEUED: self.tasks},
            steps=steps,
        )

    def run(self) -> NewRun:
        """What is inserted, from now on."""
        accepted = self.accepted
        values = {
            "id": accepted.run_id, "user": self.user, "name": self.name, "app": accepted.app,
            "client_key": self.client_key, "request_hash": self.digest, "retry_of": self.retry_of,
            "priority": accepted.priority, "created_at": time.time(), "ended_at": None,
        }  # fmt: skip
        held = accepted.images  # until it is known that they are there
        steps = [
            NewStep(step.name, step.site, step.spec.to_json(), step.number, bool(held.get(step.site)), step.spec.reuse)
            for step in accepted.steps
        ]
        return NewRun(values, steps, accepted.step_edges, accepted.task_edges, self.kbase)


@dataclass(frozen=True, slots=True)
class _NewRow:
    """A step as ``store.steps.steps_of_run`` would have it; ``seq`` is its number in its run."""

    seq: int
    name: str
    site: str
    tasks: int | None
    held: bool


@dataclass(frozen=True, slots=True)
class Written:
    """The id of a run, and when it was written; ``again``: that was before, under the same key."""

    run_id: str
    at: float = 0.0
    again: bool = False
