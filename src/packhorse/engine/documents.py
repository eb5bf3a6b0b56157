"""Renders what the store has into what front doors show: views, and the TES document of a task."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from packhorse.domain.app import Session
from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.render import app_template
from packhorse.domain.resources import BACKEND_FIELDS, TES_FIELDS
from packhorse.domain.states import TaskState
from packhorse.domain.views import AttemptView, EventView, RunView, TaskView
from packhorse.engine.spec import RunSpec
from packhorse.store.schema import TASKS_PER_RUN

_COPIED = (
    "attempt", "site", "allocation", "job_id", "node", "failure", "exit_code", "signal", "started_at", "ended_at", "wall_s", "cpu_s",
    "peak_memory", "read_bytes", "write_bytes", "cores", "memory_mb", "walltime_s",
)  # fmt: skip


def run_view(row: Any, counts: dict[TaskState, int]) -> RunView:
    """A run's row with its counts."""
    return RunView(
        id=row.id, user=row.user, name=row.name, app=row.app, created_at=row.created_at, ended_at=row.ended_at, retry_of=row.retry_of,
        tasks=sum(counts.values()), counts=counts,
    )  # fmt: skip


def task_view(row: Any, spec: RunSpec) -> TaskView:
    """A task's row as it is listed."""
    index = row.id % TASKS_PER_RUN
    return TaskView(
        id=public_task_id(spec.run_id, index), index=index, name=row.name, role=row.role, state=row.state, params=params_of(row, spec),
        attempt=row.attempt, exit_code=row.exit_code, failure=row.failure, reason=row.reason, result=result_of(row, spec),
        started_at=row.started_at, ended_at=row.ended_at,
    )  # fmt: skip


def params_of(row: Any, spec: RunSpec) -> dict[str, Any] | None:
    """The values that a task runs with, defaults included; a TES task and a gathering task have none."""
    return {**spec.defaults, **json.loads(row.params)} if row.role == "row" else None


def result_of(row: Any, spec: RunSpec) -> Any:
    """A task's result: parsed where the manifest says that it is JSON, else text without the last line's end."""
    if row.result is None:
        return None
    is_json = row.role == "row" and spec.app is not None and spec.app.result_type == "json"
    return json.loads(row.result) if is_json else row.result.removesuffix("\n")


def attempt_view(row: Any) -> AttemptView:
    """A row of ``store.tasks.attempts_of``."""
    values = {name: getattr(row, name) for name in _COPIED}
    return AttemptView(**values, evidence=json.loads(row.evidence) if row.evidence else None, files=json.loads(row.files or "[]"))


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
    return {key: value for key, value in document.items() if value is not None}


def _app_document(row: Any, spec: RunSpec) -> dict[str, Any]:
    if spec.app is None:
        raise ValueError("a run of tasks has no app")
    resources = spec.resources_of(row.role, row.params, row.overrides)
    plain = spec.app.model_copy(update={"session": Session.NONE})
    template = app_template(plain, spec.app_dir, resources, gather=row.role == "gather")
    values = {**spec.defaults, **json.loads(row.params), "run": spec.run_id, "task": public_task_id(spec.run_id, row.id % TASKS_PER_RUN)}
    given = resources.model_dump(exclude_none=True)
    return {
        "name": f"{spec.app.name} {row.name or row.id % TASKS_PER_RUN}",
        "executors": [{"image": spec.app.image, "command": template.arguments(values), "env": template.document["env"]}],
        "outputs": [{"path": output["path"]} for output in template.document["outputs"]],
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
        "metadata": {"site": attempt.site or "", "allocation": attempt.allocation or "", "node": attempt.node or ""},
        "outputs": [{"url": file["path"], "path": file["path"], "size_bytes": str(file.get("size", 0))} for file in attempt.files],
        "system_logs": [json.dumps(attempt.evidence)] if attempt.evidence else [],
    }


def rfc3339(at: float | None) -> str | None:
    """A time as TES wants it."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
