"""Events of runs as those are told who asked for it: CloudEvents 1.0, signed as Standard Webhooks has it. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from packhorse.domain.states import FAILED, TaskState
from packhorse.domain.text import dumps

SECRET = "whsec_"  # noqa: S105 (how one begins)
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"


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


def _state(kind: str, counts: Mapping[TaskState, int]) -> str:
    """Of the whole run: by TES's names, as of its event."""
    if kind != "ended":
        return (TaskState.QUEUED if kind == "submitted" else TaskState.RUNNING).value
    failed = [state for state in sorted(FAILED) if counts.get(state)]
    if failed:
        return TaskState(failed[0]).value
    return (TaskState.CANCELED if counts.get(TaskState.CANCELED) else TaskState.COMPLETE).value


def signed(document: Mapping[str, Any], secret: str, at: float) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request. The signature is HMAC-SHA256 over id, time and body
    (https://www.standardwebhooks.com).
    """
    body = dumps(document).encode("ascii")
    event_id, stamp = str(document["id"]), str(int(at))
    key = base64.b64decode(secret.removeprefix(SECRET))
    made = hmac.new(key, f"{event_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "Content-Type": CONTENT_TYPE,
        "webhook-id": event_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(made).decode()}",
    }
    return body, headers
