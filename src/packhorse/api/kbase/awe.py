"""AWE's jobs: a document at ``POST /awe/job`` becomes a run; what composes AWE jobs today composes ours.

Answers are AWE's: ``{"status": 200, "data": …, "error": null}``; of a refusal, its status and ``"error": [text]``.
"""

from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from packhorse.api.auth import user_of
from packhorse.api.bodies import MAX_JSON_BYTES, read_body
from packhorse.api.errors import log_failure, retry_after
from packhorse.api.kbase.wire import raw_token
from packhorse.domain.awe import job_state, run_of, task_state
from packhorse.domain.errors import InvalidRequest, NotAuthenticated, PackhorseError
from packhorse.domain.jsontext import read_json
from packhorse.domain.text import dumps
from packhorse.domain.views import RunView, TaskView
from packhorse.engine.requests.service import UserService
from packhorse.engine.requests.tesdocument import rfc3339

_MAX_SHOWN = 1000  # tasks of a job, jobs of a list
_FIELD = "upload"


async def awe_jobs(request: Request) -> Response:
    """``POST /awe/job``: a new one; ``GET``: one's own, newest first."""
    return await _answered(request)


async def awe_job(request: Request) -> Response:
    """``GET /awe/job/ID``: how far it is; ``DELETE``: ends it."""
    return await _answered(request)


async def _answered(request: Request) -> Response:
    try:
        user = await _as_user(request)
        body = b""
        if request.method == "POST":
            with await read_body(request, user.body_bytes(MAX_JSON_BYTES), "Submit it as several jobs.") as file:
                body = file.read()
        return _json(200, await run_in_threadpool(_done, request, user, body), None)
    except PackhorseError as error:
        answer = _json(error.http_status, None, [str(error)])
        answer.headers.update(retry_after(error))
        return answer
    except Exception:
        log_failure("request_failed", method=request.method, path=request.url.path)
        return _json(500, None, [f"Something broke on the server (request {request.state.request_id})."])


async def _as_user(request: Request) -> UserService:
    token = raw_token(request)
    if not token:
        raise NotAuthenticated("This request needs a token.", hint="Send 'Authorization: OAuth TOKEN'.")
    user = await user_of(request.app, token)
    request.state.user = user.name
    service: UserService = request.app.state.service.as_user(user)
    return service


def _done(request: Request, user: UserService, body: bytes) -> Any:
    job = request.path_params.get("job")
    if request.method == "POST":
        document = read_json(_document(request, body), "The job document", MAX_JSON_BYTES)
        return _job(user, user.submit(run_of(document)))
    if job is None:
        return [_shown(run) for run in user.runs(limit=_MAX_SHOWN).items]
    if request.method == "DELETE":
        user.cancel_run(job)
        return [f"job deleted: {job}"]
    return _job(user, user.run(job))


def _document(request: Request, body: bytes) -> bytes:
    """The field ``upload`` of a form, or the body itself where it is no form."""
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/"):
        return body
    head = f"Content-Type: {kind}\r\n\r\n".encode("latin-1", "replace")
    form = BytesParser(policy=HTTP).parsebytes(head + body)
    for part in form.iter_parts() if form.is_multipart() else ():
        if part.get_param("name", header="content-disposition") == _FIELD:
            payload = part.get_payload(decode=True)
            return payload if isinstance(payload, bytes) else b""
    raise InvalidRequest(f"The form has no field '{_FIELD}' with the job document.")


def _job(user: UserService, run: RunView) -> dict[str, Any]:
    tasks = user.tasks(run.id, limit=_MAX_SHOWN).items
    return {**_shown(run), "tasks": [_task(one) for one in tasks]}


def _shown(run: RunView) -> dict[str, Any]:
    return {
        "id": run.id,
        "jid": run.id,
        "info": {
            "name": run.name,
            "user": run.user,
            "submittime": rfc3339(run.created_at),
            "completedtime": rfc3339(run.ended_at),
        },
        "state": job_state(run.counts),
        "remaintasks": run.tasks - run.done,
    }


def _task(one: TaskView) -> dict[str, Any]:
    return {
        "taskid": (one.name or "").removeprefix("task-"),
        "state": task_state(one.state),
        "totalwork": 1,
        "remainwork": int(task_state(one.state) != "completed"),
        "starteddate": rfc3339(one.started_at),
        "completeddate": rfc3339(one.ended_at),
        "error": one.reason or "",
    }


def _json(status: int, data: Any, error: Any) -> Response:
    document = {"status": status, "data": data, "error": error}
    return Response(dumps(document).encode("ascii"), status, media_type="application/json")
