"""Renders what the store has into what front doors show: views, and the TES document of a task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from packhorse.domain.app import Session
from packhorse.domain.errors import PackhorseError
from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.render import app_template
from packhorse.domain.resources import BACKEND_FIELDS, TES_FIELDS
from packhorse.domain.states import TaskState
from packhorse.domain.text import dumps, holdable_value, shown_json, shown_name
from packhorse.domain.views import AttemptView, DataView, EventView, ImageView, QueueView, RunView, SiteView, TaskView
from packhorse.engine.spec import RunSpec
from packhorse.sites.base import Limits
from packhorse.sites.site import Site
from packhorse.staging.data import waits_for
from packhorse.staging.images import ImageState
from packhorse.staging.images import waits_for as waits_for_image
from packhorse.store.schema import TASKS_PER_RUN

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


def run_view(row: Any, counts: dict[TaskState, int]) -> RunView:
    """A run's row with its counts."""
    return RunView(
        id=row.id,
        user=row.user,
        name=row.name,
        app=row.app,
        created_at=row.created_at,
        ended_at=row.ended_at,
        retry_of=row.retry_of,
        tasks=sum(counts.values()),
        counts=counts,
    )


def task_view(row: Any, spec: RunSpec, waits: str | None = None) -> TaskView:
    """A task's row as it is listed; ``waits`` is what it waits for, if it is not for other tasks."""
    index = row.id % TASKS_PER_RUN
    reason = waits or row.reason if row.state == TaskState.QUEUED else row.reason
    return TaskView(
        id=public_task_id(spec.run_id, index),
        index=index,
        name=row.name,
        role=row.role,
        state=row.state,
        params=params_of(row, spec),
        attempt=row.attempt,
        exit_code=row.exit_code,
        failure=row.failure,
        reason=reason,
        result=result_of(row, spec),
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def waits_for_images(wants: Sequence[Any]) -> str | None:
    """What tasks of a run wait for whose images (rows of ``store.images.wants_of``) are not ready."""
    return next((waits_for_image(want) for want in wants if want.state != ImageState.READY and not want.failed), None)


def waits_for_data(awaited: Mapping[int, Sequence[Any]]) -> dict[int, str]:
    """What tasks are told whose data (``store.data.awaited_data``) is not there: of each, the first."""
    return {
        task: waits_for(one.url, one.state, one.bytes_done, one.size, one.error) for task, (one, *_) in awaited.items()
    }


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


def params_of(row: Any, spec: RunSpec) -> dict[str, Any] | None:
    """The values that a task runs with, defaults included; a TES task and a gathering task have none."""
    return {**spec.shown_defaults, **shown_json(row.params)} if row.role == "row" else None


def result_of(row: Any, spec: RunSpec) -> Any:
    """A task's result: parsed where the manifest says that it is JSON, else text without the last line's end."""
    if row.result is None:
        return None
    is_json = row.role == "row" and spec.app is not None and spec.app.result_type == "json"
    return shown_json(row.result) if is_json else row.result.removesuffix("\n")


def files_of(row: Any) -> list[dict[str, Any]]:
    """The outputs that an attempt kept; ``quoted`` is the path as URLs have it, where ``path`` cannot say it."""
    return [{**file, **shown_name(file["path"])} for file in json.loads(row.files or "[]")]


def attempt_view(row: Any) -> AttemptView:
    """A row of ``store.tasks.attempts_of``."""
    values = {name: getattr(row, name) for name in _COPIED}
    return AttemptView(**values, evidence=shown_json(row.evidence) if row.evidence else None, files=files_of(row))


def event_view(row: Any) -> EventView:
    """A row of the events table."""
    return EventView(at=row.at, attempt=row.attempt, from_state=row.from_state, to_state=row.to_state, why=row.why)


def tes_document(row: Any, spec: RunSpec, created_at: float, attempts: list[AttemptView]) -> dict[str, Any]:
    """The TES 1.1 document of a task, rendered from the run's template."""
    if row.role == "task":
        document = dict(json.loads(row.params)["task"])
    else:
        document = _app_document(row, spec)
    document |= {
        "id": public_task_id(spec.run_id, row.id % TASKS_PER_RUN),
        "state": row.state,
        "name": document.get("name") or row.name,
        "tags": {**spec.tags, **(document.get("tags") or {})},
        "creation_time": rfc3339(created_at),
        "logs": [_task_log(attempt) for attempt in attempts],
    }
    return dict(holdable_value({key: value for key, value in document.items() if value is not None}))


def _app_document(row: Any, spec: RunSpec) -> dict[str, Any]:
    if spec.app is None:
        raise ValueError("a run of tasks has no app")
    resources = spec.resources_of(row.role, row.params, row.overrides)
    plain = spec.app.model_copy(update={"session": Session.NONE})
    refdata = {name: wanted.url for name, wanted in spec.app.refdata.items()}
    template = app_template(plain, spec.app_dir, resources, gather=row.role == "gather", refdata=refdata)
    values = {
        **spec.defaults,
        **json.loads(row.params),
        "run": spec.run_id,
        "task": public_task_id(spec.run_id, row.id % TASKS_PER_RUN),
    }
    given = resources.model_dump(exclude_none=True)
    return {
        "name": f"{spec.app.name} {row.name or row.id % TASKS_PER_RUN}",
        "executors": [
            {"image": spec.app.image, "command": template.arguments(values), "env": template.document["env"]}
        ],
        "outputs": [{"path": output["path"]} for output in template.outputs_of(values)],
        "resources": {
            **{name: given[name] for name in TES_FIELDS if name in given},
            "backend_parameters": {name: str(given[name]) for name in BACKEND_FIELDS if name in given},
        },
    }


def _task_log(attempt: AttemptView) -> dict[str, Any]:
    times = {"start_time": rfc3339(attempt.started_at), "end_time": rfc3339(attempt.ended_at)}
    code = attempt.exit_code if attempt.exit_code is not None else 128 + attempt.signal if attempt.signal else 1
    return {
        "logs": [{**times, "exit_code": code}],
        **times,
        "metadata": {name: getattr(attempt, name) or "" for name in ("site", "allocation", "node", "image")},
        "outputs": [
            {"url": file.get("url", file["path"]), "path": file["path"], "size_bytes": str(file.get("size", 0))}
            for file in attempt.files
        ],
        "system_logs": [dumps(attempt.evidence)] if attempt.evidence else [],
    }


def rfc3339(at: float | None) -> str | None:
    """A time as TES wants it."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
