"""``/runs``: submit, list, wait for, cancel, retry, and take the results of runs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import IO, Annotated, Any

import anyio
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from packhorse.api.bodies import (
    MAX_RUNS,
    JsonBody,
    TableBody,
    json_body,
    parse_object,
    parse_run,
    parse_runs,
    read_rows,
)
from packhorse.api.deps import LARGE, AsUser, Cursor, IdempotencyKey, Limit
from packhorse.api.direct import KEY_PARAMETER, idempotency_key, service_of
from packhorse.api.errors import ErrorView, error_document
from packhorse.api.progress import progress
from packhorse.api.results import as_csv, as_json_lines, begun
from packhorse.domain.errors import InvalidRequest, NotFound, PackhorseError
from packhorse.domain.numbers import Number, Truth, Whole
from packhorse.domain.problems import validated
from packhorse.domain.run import AppRun, SubmittedRun
from packhorse.domain.states import TaskState
from packhorse.domain.tables import Table
from packhorse.domain.text import holdable, shown_name
from packhorse.domain.views import Page, RunView, TaskView, UsageView
from packhorse.engine.requests.service import UserService

MAX_WAIT_S = 30.0
_SLICE_S = 1.0  # a wait looks that often whether the client, or the server, has gone

#: What may be said of a run whose table is uploaded; its key is a header.
TABLE_OPTIONS = frozenset(AppRun.model_fields) - {"over", "client_key"}

#: How a download is described.
DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}

#: One of the events of a run; ``data`` is JSON.
_EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("event", "id", "data")},
    "required": ["data"],
}

router = APIRouter(tags=["runs"])


class RunFile(BaseModel):
    """An output of a task that gathers, or of a last one."""

    name: str
    filename: str
    bytes: int


@router.post(
    "/runs",
    status_code=201,
    response_model=RunView,
    summary="Submit a run",
    openapi_extra={
        "parameters": [KEY_PARAMETER],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RunRequest"}}},
        },
    },
)
async def submit(request: Request) -> Response:
    """An app over a table (``app``, ``over``), steps with edges (``steps``), tasks with edges (``tasks``), or a TES
    task.

    The same Idempotency-Key gives the same run.
    """
    service = await service_of(request)
    key = idempotency_key(request)
    body = await json_body(request, service)
    return await run_in_threadpool(_submit_document, service, body, key)


def _submit_document(service: UserService, body: IO[bytes], key: str | None) -> Response:
    with body:
        request = parse_run(body)
    view = _submit(service, request, key, Response())
    return Response(view.model_dump_json(), 201, {"Location": f"/api/v1/runs/{view.id}"}, media_type="application/json")


class SubmittedRunView(BaseModel):
    """What became of one run of several: it was accepted (``run``), or refused (``error``)."""

    run: RunView | None = None
    error: ErrorView | None = None


@router.post(
    "/runs:batch",
    summary="Submit many runs",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "array",
                        "items": {"$ref": "#/components/schemas/RunRequest"},
                        "maxItems": MAX_RUNS,
                    }
                }
            },
        }
    },
)
def submit_many(service: AsUser, body: JsonBody) -> list[SubmittedRunView]:
    """Each is accepted or refused by itself, and answered at its position. The same client_key gives the same run."""
    with body:
        requests = parse_runs(body)
    return [_submitted(answer) for answer in service.submit_many(requests)]


def _submitted(answer: RunView | PackhorseError) -> SubmittedRunView:
    if isinstance(answer, PackhorseError):
        return SubmittedRunView(error=ErrorView.model_validate(error_document(answer)["error"]))
    return SubmittedRunView(run=answer)


@router.post(
    "/runs/table",
    status_code=201,
    summary="Submit a run over an uploaded table",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                kind: {"schema": {"type": "string", "format": "binary"}}
                for kind in ("text/csv", "application/x-ndjson")
            },
        }
    },
)
def submit_table(
    service: AsUser,
    body: TableBody,
    request: Request,
    response: Response,
    app: str,
    name: str = "",
    session: str | None = None,
    gather: Truth = True,
    image: str | None = None,
    outputs: str | None = None,
    priority: int = 0,
    reuse: Truth | None = None,
    params: Annotated[str, Query(description="JSON object: values common to all rows")] = "{}",
    tags: Annotated[str, Query(description="JSON object")] = "{}",
    resources: Annotated[str, Query(description="JSON object, laid over the app's own")] = "{}",
    retry: Annotated[str, Query(description="JSON object: failure class → number of retries")] = "{}",
    key: IdempotencyKey = None,
) -> RunView:
    """One task for each row of the body, CSV or JSON lines by its Content-Type, also with gzip.

    Up to 1,000,000 rows, 1 GB.
    """
    with body:
        if unknown := sorted(set(request.query_params) - TABLE_OPTIONS):
            raise InvalidRequest(
                f"'{unknown[0][:60]}' is not an option of a run.", hint="GET /api/v1/openapi.json has them."
            )
        objects = {"params": params, "tags": tags, "resources": resources, "retry": retry}
        document: dict[str, Any] = {field: parse_object(field, text) for field, text in objects.items()}
        plain: dict[str, Any] = {
            "app": app,
            "name": name,
            "session": session,
            "gather": gather,
            "image": image,
            "outputs": outputs,
            "priority": priority,
            "reuse": reuse,
        }
        run = validated(AppRun, {**plain, **document}, "The run was not accepted.")
        rows = read_rows(request.headers.get("content-type", ""), body, request.headers.get("content-encoding", ""))
        return _submit(service, run, key, response, rows)


def _submit(
    service: UserService, run: SubmittedRun, key: str | None, response: Response, rows: Table | None = None
) -> RunView:
    if key is not None:
        if run.client_key not in (None, key):
            raise InvalidRequest(
                "The header 'Idempotency-Key' and the field 'client_key' differ.", hint="Give one of them."
            )
        run = run.model_copy(update={"client_key": key})
    view = service.submit(run, rows)
    if rows is not None:
        view = view.model_copy(update={"notes": rows.notes})
    response.headers["Location"] = f"/api/v1/runs/{view.id}"
    return view


@router.get("/runs", summary="List runs, newest first")
def list_runs(
    service: AsUser,
    cursor: Cursor = None,
    limit: Limit = 100,
    shared: Annotated[Truth, Query(description="those that others share with you, instead")] = False,
) -> Page[RunView]:
    """Yours; an admin sees everybody's."""
    return service.runs(cursor, limit, shared=shared)


@router.get("/runs/{run_id}", summary="One run and how far it is")
def get_run(service: AsUser, run_id: str) -> RunView:
    """Counts of its tasks by state."""
    return service.run(run_id)


@router.get("/runs/{run_id}/wait", summary="Wait for progress")
async def wait_for_run(
    request: Request,
    service: AsUser,
    run_id: str,
    seen_done: Annotated[Whole, Query(ge=0, le=LARGE)] = 0,
    timeout_s: Annotated[Number, Query(ge=0, allow_inf_nan=False)] = MAX_WAIT_S,
) -> RunView:
    """Answers when the run has ended or more than ``seen_done`` tasks are done, at the latest after ``timeout_s`` (30 s
    at most).
    """
    loop, moved = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop is closed: so is the server
            loop.call_soon_threadsafe(moved.set)

    give_up = loop.time() + min(timeout_s, MAX_WAIT_S)
    with await run_in_threadpool(service.waiting, run_id, seen_done, tell):
        view = await run_in_threadpool(service.run, run_id)
        if view.ended or view.done > seen_done:
            return view
        while not moved.is_set() and (left_s := give_up - loop.time()) > 0:
            if request.app.state.stopping() or await request.is_disconnected():
                break
            with anyio.move_on_after(min(left_s, _SLICE_S)):
                await moved.wait()
    return await run_in_threadpool(service.run, run_id)


@router.get(
    "/runs/{run_id}/events",
    summary="Follow a run",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": _EVENT}}}},
)
def follow_run(request: Request, service: AsUser, run_id: str) -> StreamingResponse:
    """Server-sent events: ``progress`` has the run, at first and each time that more of its tasks are done; ``end`` is
    the last one.
    """
    first = service.run(run_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    pieces = progress(service, run_id, first, request.app.state.stopping)
    return StreamingResponse(pieces, media_type="text/event-stream", headers=headers)


@router.get("/runs/{run_id}/tasks", summary="List the tasks of a run, in order")
def list_tasks(
    service: AsUser,
    run_id: str,
    state: Annotated[list[TaskState] | None, Query(description="may be repeated")] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[TaskView]:
    """Ask again with ``next_cursor`` until it is null."""
    return service.tasks(run_id, state, cursor, limit)


@router.get(
    "/runs/{run_id}/results",
    summary="The results of all tasks",
    response_class=StreamingResponse,
    responses={
        200: {"content": {kind: {"schema": {"type": "string"}} for kind in ("application/x-ndjson", "text/csv")}}
    },
)
def results(service: AsUser, run_id: str, accept: Annotated[str, Header()] = "") -> StreamingResponse:
    """JSON lines, or a table with ``Accept: text/csv``."""
    if "text/csv" in accept:
        return StreamingResponse(begun(as_csv(lambda: service.results(run_id))), media_type="text/csv")
    return StreamingResponse(begun(as_json_lines(service.results(run_id))), media_type="application/x-ndjson")


@router.get("/runs/{run_id}/files", summary="What tasks that gather, and the last ones, left")
def run_files(service: AsUser, run_id: str) -> list[RunFile]:
    """Empty before it is complete."""
    files = service.gathered(run_id)
    shown = {
        name: (shown_name(path.name)["path"], path.stat().st_size) for name, path in files.items() if path.is_file()
    }
    return [RunFile(name=name, filename=filename, bytes=size) for name, (filename, size) in shown.items()]


@router.get(
    "/runs/{run_id}/files/{name:path}",
    summary="Download what such a task left",
    response_class=FileResponse,
    responses=DOWNLOAD,
)
def run_file(service: AsUser, run_id: str, name: str) -> FileResponse:
    """By its name in the app's manifest."""
    path = service.gathered(run_id).get(name)
    if path is None:
        raise NotFound(
            f"Run {run_id} has no gathered file '{name[:100]}'.", hint=f"GET /api/v1/runs/{run_id}/files lists them."
        )
    return send_file(path)


@router.post("/runs/{run_id}/cancel", summary="Cancel a run")
def cancel_run(service: AsUser, run_id: str) -> RunView:
    """Every task of it that has not ended."""
    return service.cancel_run(run_id)


@router.post("/runs/{run_id}/retry", status_code=201, summary="Retry a run")
def retry_run(service: AsUser, run_id: str, key: IdempotencyKey = None) -> RunView:
    """A new run of what failed or was canceled."""
    return service.retry(run_id, key)


@router.get("/runs/{run_id}/usage", summary="What a run used")
def run_usage(service: AsUser, run_id: str) -> UsageView:
    """Over all ended attempts, with its share of what its allocations paid."""
    return service.usage(run_id)


def send_file(path: Path) -> FileResponse:
    """A download; whatever it holds, no browser shows it as a page of ours."""
    if not path.is_file():
        raise NotFound(f"'{path.name}' is not a file that is there.", hint="Of a folder, ask for the files in it.")
    headers = {"X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type="application/octet-stream", filename=holdable(path.name), headers=headers)
