"""Every refusal in one shape: ``{"error": {"code", "message", "hint", "problems": [{"where", "what", "hint"}]}}``."""

from __future__ import annotations

import math
import re
import time
import traceback
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from packhorse.api.methods import allowed_methods
from packhorse.api.tracing import route_of
from packhorse.domain.errors import NotAuthenticated, PackhorseError, TooMany
from packhorse.domain.ids import new_id
from packhorse.domain.problems import located
from packhorse.domain.text import dumps
from packhorse.engine.requests.kbase.running import CALLBACK_PATH

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{8,100}")
_log = structlog.get_logger("packhorse.api")


class ProblemView(BaseModel):
    """One thing that is wrong: where, what, and what to do."""

    where: str
    what: str
    hint: str


class ErrorView(BaseModel):
    """Why a request was refused."""

    code: str
    message: str
    hint: str
    problems: list[ProblemView]
    request_id: str | None = None
    """By which the server's log knows the request; also in the header ``X-Request-ID`` of every answer."""


class Refusal(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorView


class TesError(Refusal):
    """The same with the two fields that other services of GA4GH have; TES itself has no words for errors."""

    status_code: int
    msg: str


_STATUS = {
    400: "The request is not valid; the same one will be refused again.",
    401: "It needs a token.",
    403: "This user may not do it.",
    404: "There is no such thing, or none that this user may see.",
    408: "The body came too slowly.",
    409: "What is asked of is in a state that forbids it.",
    413: "Over a limit of size or number.",
    429: "More than this user may take at a time; `Retry-After` says when to ask again.",
    503: "Something that is needed does not answer now.",
}


def _refusals(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": model, "description": words} for status, words in _STATUS.items()}


#: What any request may be answered, for the description of the API.
REFUSALS = _refusals(Refusal)
TES_REFUSALS = _refusals(TesError)
#: Where TES is.
TES_PREFIX = "/ga4gh/tes/v1"


class StrictJson(JSONResponse):
    """JSON that any reader takes, whatever it is told."""

    def render(self, content: Any) -> bytes:
        return dumps(content).encode("ascii")


def error_document(error: PackhorseError, request_id: str | None = None) -> dict[str, Any]:
    """A refusal as JSON."""
    problems = [{"where": problem.where, "what": problem.what, "hint": problem.hint} for problem in error.problems]
    told = {"code": error.code, "message": error.message, "hint": error.hint, "problems": problems}
    return {"error": {**told, "request_id": request_id}}


def install_errors(app: FastAPI) -> None:
    """Gives the application its one way to refuse, to fail, and to log a request."""
    app.add_exception_handler(PackhorseError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(RequestLog)


def log_failure(event: str, **fields: Any) -> None:
    """Logs the exception at hand.

    Formatted here, because some renderers print local variables, and with them tokens.
    """
    _log.error(event, traceback=traceback.format_exc(), **fields)


class RequestLog:
    """Logs each request, never its headers or its query, under an id that the client gave or that is made here, and
    answers 500 where something broke.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        began = time.monotonic()
        request_id = _request_id(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, note_status)
            except Exception:
                log_failure("request_failed", method=scope["method"], path=_shown(scope["path"]))
                if not status:
                    await _broken(scope)(scope, receive, note_status)
            seconds = time.monotonic() - began
            told = {
                "method": scope["method"],
                "path": _shown(scope["path"]),
                "status": status,
                "user": state.get("user"),
            }
            _log.info("request", **told, ms=round(seconds * 1000, 1))
        metrics = scope["app"].state.metrics if "app" in scope else None
        if metrics is not None:
            metrics.request(scope["method"], route_of(scope), status, seconds)


def _request_id(scope: Scope) -> str:
    """The client's, where it is one that may stand in a log."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode("ascii"))
    return new_id("q")


def _shown(path: str) -> str:
    """A path without what is as good as a token."""
    return CALLBACK_PATH if path.startswith(f"{CALLBACK_PATH}/") else path


def retry_after(error: PackhorseError) -> dict[str, str]:
    """The header that says when to ask again, where a refusal knows it."""
    return {"Retry-After": str(max(1, math.ceil(error.after_s)))} if isinstance(error, TooMany) else {}


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, PackhorseError)
    headers = None
    if isinstance(error, NotAuthenticated):
        headers = {"WWW-Authenticate": "Bearer"}
    elif isinstance(error, TooMany):
        headers = retry_after(error)
    document = _shaped(request.scope, error_document(error, request.state.request_id), error.http_status)
    return StrictJson(document, error.http_status, headers)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [
        {"where": _place(field), "what": what, "hint": ""} for field, what in located(error.errors(), "parameter", None)
    ]
    return refusal_response(request.scope, 400, "invalid_request", "The request is not valid.", "", problems)


def _place(field: tuple[int | str, ...]) -> str:
    """``('query', 'limit')`` in words."""
    words = {"query": "the query parameter", "path": "the path's", "header": "the header", "body": "the body's"}
    return " ".join([words.get(str(field[0]), str(field[0])), *(f"'{step}'" for step in field[1:])])


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    routes, scope = request.app.routes, request.scope
    path = scope["path"].rstrip("/")
    if error.status_code == 404 and path != scope["path"] and allowed_methods(routes, scope, path):
        place = quote(path) + (f"?{request.url.query}" if request.url.query else "")
        return Response(status_code=307, headers={"Location": place})
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "error")
    hint = "The endpoints are in /api/v1/openapi.json."
    answer = refusal_response(scope, error.status_code, code, f"{error.detail}.", hint)
    answer.headers.update(error.headers or {})
    if error.status_code == 405:
        answer.headers["Allow"] = ", ".join(allowed_methods(routes, scope))
    return answer


def _broken(scope: Scope) -> Response:
    what = f"Something broke on the server (request {scope['state']['request_id']})."
    return refusal_response(scope, 500, "internal", what, "Its log says more under that id.")


def refusal_response(
    scope: Scope, status: int, code: str, message: str, hint: str, problems: list[dict[str, str]] | None = None
) -> Response:
    """A refusal that is no exception of ours."""
    told = {"code": code, "message": message, "hint": hint, "problems": problems or []}
    document = {"error": {**told, "request_id": scope["state"]["request_id"]}}
    return StrictJson(_shaped(scope, document, status), status)


def _shaped(scope: Scope, document: dict[str, Any], status: int) -> dict[str, Any]:
    """A refusal as the front door that was asked has it."""
    if not scope["path"].startswith(f"{TES_PREFIX}/"):
        return document
    error = document["error"]
    places = (": ".join(part for part in (one["where"], one["what"]) if part) for one in error["problems"])
    return {"status_code": status, "msg": " ".join([error["message"], *places]), **document}
