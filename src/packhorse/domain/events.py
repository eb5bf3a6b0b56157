"""Events of runs and tasks as those are told who asked for it: CloudEvents 1.0, signed as Standard Webhooks has it.
Pure.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from packhorse.domain.ids import task_id
from packhorse.domain.states import FAILED, TERMINAL, TaskState
from packhorse.domain.text import dumps

SECRET = "whsec_"  # noqa: S105 (how one begins)
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
BATCH_TYPE = "application/cloudevents-batch+json; charset=utf-8"


def cloud_event(event: Any, counts: Mapping[TaskState, int]) -> dict[str, Any]:
    """The event of ``store.outbox.waiting_events`` in the JSON form of CloudEvents 1.0. ``counts`` are the run's tasks
    by state now; its id is the same however often it is sent.
    """
    return {
        "specversion": "1.0",
        "id": f"{event.run_id}.{event.kind}",
        "source": "/api/v1/runs",
        "type": f"org.packhorse.run.{event.kind}",
        "subject": event.run_id,
        "time": datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds"),
        "datacontenttype": "application/json",
        "data": {
            "run": event.run_id,
            "name": event.name,
            "app": event.app,
            "user": event.user,
            "state": _state(event.kind, counts),
            "created_at": event.created_at,
            "started_at": event.started_at,
            "ended_at": event.ended_at,
            "counts": {state.value: number for state, number in counts.items()},
        },
    }


def task_event(event: Any, told: Any, about: Any) -> dict[str, Any]:
    """The event of a task (``store.taskevents.Told``) in a row of ``store.outbox.waiting_events``. ``about`` is what is
    known of the task now; None where it was forgotten.
    """
    task = task_id(event.run_id, told.place)
    word = told.kind.rpartition(".")[2]
    is_over = TaskState(told.state) in TERMINAL
    return {
        "specversion": "1.0",
        "id": f"{task}.{word}.{told.attempt}",
        "source": "/api/v1/tasks",
        "type": f"org.packhorse.{told.kind}",
        "subject": task,
        "time": datetime.fromtimestamp(told.at, UTC).isoformat(timespec="milliseconds"),
        "datacontenttype": "application/json",
        "data": {
            "task": task,
            "run": event.run_id,
            "index": told.place,
            "name": about.name if about is not None else None,
            "user": event.user,
            "state": told.state,
            "attempt": told.attempt,
            "exit_code": about.exit_code if about is not None and is_over else None,
            "failure": about.failure if about is not None and is_over else None,
            "reason": about.reason if about is not None and is_over else None,
        },
    }


def _state(kind: str, counts: Mapping[TaskState, int]) -> str:
    """Of the whole run: by TES's names, as of its event."""
    if kind != "ended":
        return (TaskState.QUEUED if kind == "submitted" else TaskState.RUNNING).value
    failed = [state for state in sorted(FAILED) if counts.get(state)]
    if failed:
        return TaskState(failed[0]).value
    return (TaskState.CANCELED if counts.get(TaskState.CANCELED) else TaskState.COMPLETE).value


def signed(
    document: Mapping[str, Any] | Sequence[Mapping[str, Any]], secret: str, at: float
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request with one event, or with several as a batch. The signature is HMAC-SHA256 over id,
    time and body (https://www.standardwebhooks.com).
    """
    is_one = isinstance(document, Mapping)
    body = dumps(document).encode("ascii")
    event_id = str(document["id"]) if isinstance(document, Mapping) else f"batch.{document[0]['id']}"
    stamp = str(int(at))
    key = base64.b64decode(secret.removeprefix(SECRET))
    made = hmac.new(key, f"{event_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "Content-Type": CONTENT_TYPE if is_one else BATCH_TYPE,
        "webhook-id": event_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(made).decode()}",
    }
    return body, headers
