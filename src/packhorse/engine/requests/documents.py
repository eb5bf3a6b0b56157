"""Renders what the store has into what front doors show."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from packhorse.domain.errors import PackhorseError
from packhorse.domain.states import TaskState
from packhorse.domain.text import shown_json
from packhorse.domain.views import (
    AttemptView,
    DataView,
    EventView,
    ExecutorView,
    ImageView,
    QueueView,
    RunView,
    SiteView,
    StepView,
    TaskView,
)
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.results import files_of, result_of
from packhorse.sites.base import Limits
from packhorse.sites.site import Site

_COPIED = (
    "attempt",
    "site",
    "allocation",
    "job_id",
    "node",
    "failure",
    "exit_code",
    "signal",
    "started_at",
    "ended_at",
    "wall_s",
    "cpu_s",
    "peak_memory",
    "read_bytes",
    "write_bytes",
    "cores",
    "memory_mb",
    "walltime_s",
    "image",
)


def step_view(row: Any, counts: Mapping[TaskState, int], waits_for: str | None, without: str | None) -> StepView:
    """A step's row with its counts, what it waits for, and what it went on without."""
    about = {"waits_for": waits_for, "without": without}
    return StepView(name=row.name, site=row.site, tasks=row.tasks, counts=dict(counts), **about)


def run_view(row: Any, counts: Mapping[TaskState, int], steps: Sequence[StepView] = ()) -> RunView:
    """A run's row with its counts, and its steps where these are told."""
    return RunView(
        id=row.id,
        user=row.user,
        name=row.name,
        app=row.app,
        created_at=row.created_at,
        ended_at=row.ended_at,
        retry_of=row.retry_of,
        tasks=sum(counts.values()),
        counts=dict(counts),
        steps=list(steps),
    )


def task_view(row: Any, step: Step, waits: str | None = None) -> TaskView:
    """A task's row as it is listed; ``waits`` is what it waits for, if it is not for other tasks."""
    reason = waits or row.reason if row.state == TaskState.QUEUED else row.reason
    return TaskView(
        id=step.row.public_id(row.id),
        index=step.row.index(row.id),
        name=row.name,
        step=step.row.name,
        state=row.state,
        params=step.shown_params(row.params),
        attempt=row.attempt,
        exit_code=row.exit_code,
        failure=row.failure,
        reason=reason,
        result=result_of(row, step),
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def waits_for_images(wants: Sequence[Any]) -> str | None:
    """What tasks of a run wait for whose images (rows of ``store.images.wants_of``) are not ready."""
    if not wants:
        return None
    from packhorse.staging.images import ImageState, waits_for  # where nothing waits for one, this is not asked

    return next((waits_for(want) for want in wants if want.state != ImageState.READY and not want.failed), None)


def waits_for_data(awaited: Mapping[int, Sequence[Any]]) -> dict[int, str]:
    """What tasks are told whose data (``store.data.awaited_data``) is not there: of each, the first."""
    return {task: waits_for_one(one) for task, (one, *_) in awaited.items()}


def waits_for_one(row: Any) -> str:
    """What those are told who wait for a row of data."""
    from packhorse.staging.data import waits_for

    return waits_for(row.url, row.state, row.bytes_done, row.size, row.error)


def data_view(row: Any) -> DataView:
    """A row of ``store.data.data_of_task``."""
    return DataView(url=row.url, version=row.version or None, sha256=row.sha256, path=row.path)


def image_view(row: Any) -> ImageView:
    """A row of ``store.images.images_at``."""
    return ImageView(**{name: getattr(row, name) for name in ImageView.model_fields})


def waiting_reason(allocation: Any) -> str:
    """Why a task waits whose allocation has not started."""
    if allocation.job_id is None:
        return allocation.reason or f"Its allocation {allocation.id} is being submitted at '{allocation.site}'."
    says = allocation.reason or "submitted"
    return f"Its allocation {allocation.id}, job {allocation.job_id} at '{allocation.site}', has not started: {says}"


def site_view(site: Site, live: Mapping[str, int]) -> SiteView:
    """A site with what it offers, asked now or minutes ago."""
    problem = None
    limits: tuple[Limits, ...] = ()
    try:
        limits = site.limits()
    except (PackhorseError, OSError) as error:
        problem = error.message if isinstance(error, PackhorseError) else str(error)
    queues = [
        QueueView(
            name=one.queue,
            nodes=one.nodes,
            cores=one.cores,
            memory_gb=round(one.memory_mb / 1000, 1),
            gpus=one.gpus,
            walltime_s=one.walltime_s,
        )
        for one in limits
    ]
    return SiteView(name=site.name, root=site.root, queues=queues, problem=problem, allocations=dict(live))


def attempt_view(row: Any) -> AttemptView:
    """A row of ``store.tasks.attempts_of``."""
    values = {name: getattr(row, name) for name in _COPIED}
    executors = [ExecutorView(**one) for one in json.loads(row.steps)] if row.steps else []
    evidence = shown_json(row.evidence) if row.evidence else None
    return AttemptView(**values, evidence=evidence, files=files_of(row), executors=executors)


def event_view(row: Any) -> EventView:
    """A row of the events table."""
    return EventView(at=row.at, attempt=row.attempt, from_state=row.from_state, to_state=row.to_state, why=row.why)
