"""``/tasks``: one task in detail, its logs (also while it runs), its outputs, and its cancel."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.types import Scope

from packhorse.api.deps import LARGE, AsUser
from packhorse.api.follow import Encoding, Follower, LogPosition
from packhorse.api.runs import DOWNLOAD, send_file
from packhorse.domain.numbers import Whole
from packhorse.domain.views import TaskDetail, TaskView

MAX_LOG_BYTES = 8 << 20

Stream = Literal["stdout", "stderr"]
Attempt = Annotated[Whole | None, Query(ge=1, le=LARGE, description="the last one if not given")]

_FILES = re.compile(rb"/tasks/[^/]+/files/(.*)", re.DOTALL)

router = APIRouter(prefix="/tasks/{task_id}", tags=["tasks"])


def _as_sent(scope: Scope, path: str) -> str:
    """The path of a file with all of its bytes: servers replace those that are not UTF-8 when they decode a request's
    path.
    """
    sent = _FILES.search(scope.get("raw_path") or b"")
    return os.fsdecode(unquote_to_bytes(sent[1])) if sent else path


@router.get("", summary="All that is known of a task")
def get_task(service: AsUser, task_id: str) -> TaskDetail:
    """With its GA4GH TES document, its attempts and its transitions."""
    return service.task(task_id)


@router.get("/logs/{stream}", summary="A piece of a task's log", response_class=Response, responses=DOWNLOAD)
def get_log(
    service: AsUser,
    task_id: str,
    stream: Stream,
    offset: Annotated[Whole, Query(ge=0, le=LARGE)] = 0,
    limit: Annotated[Whole, Query(ge=1, le=MAX_LOG_BYTES, description="bytes")] = 1 << 20,
    attempt: Attempt = None,
) -> Response:
    """Raw bytes. X-Next-Offset is where to go on, X-Log-Ended says whether anything can follow."""
    part = service.log(task_id, stream, offset, attempt, limit=limit)
    headers = {
        "X-Next-Offset": str(part.next_offset),
        "X-Log-Ended": "true" if part.ended else "false",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(part.data, media_type="application/octet-stream", headers=headers)


@router.get(
    "/logs/{stream}/follow",
    summary="Follow a task's log",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
def follow_log(
    request: Request,
    service: AsUser,
    task_id: str,
    stream: Stream,
    encoding: Encoding = "text",
    attempt: Attempt = None,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> StreamingResponse:
    """Server-sent events: data is a JSON string (text, or base64 of the exact bytes), the id is where to go on, ``end``
    is the last one.
    """
    follower = Follower(
        service, task_id, stream, LogPosition.parse(last_event_id, attempt), encoding, request.app.state.stopping
    )
    follower.check()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(follower.events(), media_type="text/event-stream", headers=headers)


@router.get(
    "/files/{path:path}", summary="Download an output of a task", response_class=FileResponse, responses=DOWNLOAD
)
def get_output(request: Request, service: AsUser, task_id: str, path: str) -> FileResponse:
    """By its path in the task's work folder; percent-encoded it may have any bytes, as ``quoted`` says them where
    ``path`` cannot.
    """
    return send_file(service.output_path(task_id, _as_sent(request.scope, path)))


@router.post("/cancel", summary="Cancel a task")
def cancel_task(service: AsUser, task_id: str) -> TaskView:
    """Final; a task that has ended stays as it is."""
    return service.cancel_task(task_id)
