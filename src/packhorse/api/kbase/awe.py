"""AWE's jobs: a document at ``POST /awe/job`` becomes a run; what composes AWE jobs today composes ours.

Answers are AWE's: ``{"status": 200, "data": …, "error": null}``; of a refusal, its status and ``"error": [text]``; of a
list, ``limit``, ``offset`` and ``total_count`` besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from packhorse.domain.access import POLICY, Action
from packhorse.domain.awe import job_state, run_of, task_state
from packhorse.domain.errors import InvalidRequest, NotAuthenticated, PackhorseError
from packhorse.domain.jsontext import read_json
from packhorse.domain.text import dumps
from packhorse.domain.views import RunView, TaskView
from packhorse.engine.requests.service import UserService
from packhorse.engine.requests.tesdocument import rfc3339

_MAX_SHOWN = 1000  # tasks of a job, jobs among which a list looks
_USUAL = 25  # jobs of a list
_FIELD = "upload"
_ACTIVE = ("queued", "in-progress")
#: What AWE's server may be asked to do with a job, and ours may not, with what to do instead.
_INSTEAD = {
    "suspend": "Delete it, and submit it again: what its tasks have left can be taken ('reuse').",
    "resume": "Submit it again.",
    "resubmit": "Submit its document again.",
    "recompute": "'packhorse retry RUN' runs what failed once more.",
    "recover": "Nothing of a job is lost when the server stops.",
}
_WORKERS = "AWE's workers get no work here: the tasks of a job are run by agents in jobs of a site's batch scheduler"


class NotHere(InvalidRequest):
    """AWE does that, and this door does not."""

    code = "not_here"
    http_status = 501


async def awe_jobs(request: Request) -> Response:
    """``POST /awe/job``: a new one; ``GET``: one's own, newest first."""
    return await _answered(request)


async def awe_job(request: Request) -> Response:
    """``GET /awe/job/ID``: how far it is; ``DELETE``: ends it; ``PUT``, with what is to be done with it, is refused."""
    return await _answered(request)


async def awe_workers(request: Request) -> Response:
    """AWE's protocol for its workers (``/work``, ``/client``, ``/cgroup``), which have no part here."""
    return await _answered(request, _refuse_workers)


async def _answered(request: Request, do: Callable[[Request, UserService, bytes], Any] | None = None) -> Response:
    try:
        user = await _as_user(request)
        body = b""
        if request.method == "POST":
            with await read_body(request, user.body_bytes(MAX_JSON_BYTES), "Submit it as several jobs.") as file:
                body = file.read()
        answer = await run_in_threadpool(do or _done, request, user, body)
        return answer if isinstance(answer, Response) else _json(200, answer, None)
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
    POLICY.require(user, Action.LOOK)
    service: UserService = request.app.state.service.as_user(user)
    return service


def _done(request: Request, user: UserService, body: bytes) -> Any:
    job = request.path_params.get("job")
    if request.method == "POST":
        document = read_json(_document(request, body), "The job document", MAX_JSON_BYTES)
        return _job(user, user.submit(run_of(document)))
    if job is None:
        return _listed(user, request.query_params)
    if request.method == "DELETE":
        user.cancel_run(job)
        return f"job deleted: {job}"
    if request.method == "PUT":
        run = user.run(job)  # what is another's is not there
        asked = next((name for name in _INSTEAD if name in request.query_params), None)
        told = f"A job cannot be made to {asked}" if asked else "A job cannot be changed"
        raise NotHere(f"{told} here: {run.id}.", hint=_INSTEAD.get(asked or "", "Delete it, and submit another."))
    return _job(user, user.run(job))


def _refuse_workers(*_: Any) -> Any:
    hint = "Stop the worker; to give the server more nodes, its operator adds a site."
    raise NotHere(f"{_WORKERS}.", hint=hint)


def _listed(user: UserService, asked: Mapping[str, str]) -> Response:
    """One's own newest jobs, of the states that are asked for (``active``, or ``query`` with ``state``)."""
    limit, offset = _number(asked, "limit", _USUAL), _number(asked, "offset", 0)
    states = _ACTIVE if "active" in asked else asked.get("state", "").split(",") if "query" in asked else []
    found = [_shown(run) for run in user.runs(limit=_MAX_SHOWN).items]
    if any(states):
        found = [job for job in found if job["state"] in states]
    page = {"limit": limit, "offset": offset, "total_count": len(found)}
    return _json(200, found[offset : offset + limit], None, page)


def _number(asked: Mapping[str, str], name: str, usual: int) -> int:
    text = asked.get(name, str(usual))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidRequest(f"'{name}' must be an integer of 0 or more, not '{text[:20]}'.")
    return int(text)


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


def _json(status: int, data: Any, error: Any, page: Mapping[str, int] | None = None) -> Response:
    document = {"status": status, "data": data, "error": error, **(page or {})}
    return Response(dumps(document).encode("ascii"), status, media_type="application/json")
