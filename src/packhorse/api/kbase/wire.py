"""JSON-RPC 1.1 as KBase's clients speak it.

A success is 200 and ``{"version", "result": [value], "id"}``, any error 500 and ``{"version", "id", "error": {"code",
"name", "message", "error"}}``, both with the content type ``application/json``: else the generated clients do not look
into it. A token comes as it is in ``Authorization``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from packhorse.api.auth import user_of
from packhorse.api.bodies import MAX_JSON_BYTES, read_body
from packhorse.api.errors import log_failure, retry_after
from packhorse.domain.access import POLICY, Action
from packhorse.domain.errors import InvalidRequest, NotAuthenticated, PackhorseError
from packhorse.domain.jsontext import read_json
from packhorse.domain.text import JsonText, dumps
from packhorse.domain.users import User
from packhorse.engine.requests.kbase.service import KBase, KBaseCaller

#: Who has no token has nothing to say that is longer.
_MAX_OPEN_BYTES = 64_000
_METHODS = ("GET", "POST", "OPTIONS")

PARSE, INVALID, NO_METHOD, PARAMS, SERVER = -32700, -32600, -32601, -32602, -32000
_NAMES = {
    PARSE: "Parse error",
    INVALID: "Invalid Request",
    NO_METHOD: "Method not found",
    PARAMS: "Invalid params",
    SERVER: "Server error",
}


class RpcError(Exception):
    """What is answered in place of a result."""

    def __init__(self, code: int, message: str, detail: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.detail, self.headers = code, message, detail, headers or {}

    @classmethod
    def of(cls, error: PackhorseError) -> RpcError:
        """A refusal of ours: its message alone, since clients compare it; what to do next is the detail."""
        detail = "\n".join([*([error.hint] if error.hint else []), *map(str, error.problems)])
        return cls(SERVER, error.message, detail, retry_after(error))


@dataclass(frozen=True, slots=True)
class Method:
    """``call`` is given the caller (None where ``is_open``) and the parameters; ``counts`` are how many it may have."""

    call: Callable[..., Any]
    counts: tuple[int, ...] = (1,)
    is_open: bool = False
    is_void: bool = False
    is_several: bool = False
    """Its result is a list of values, not one."""
    changes: bool = False
    """It starts, changes or ends something."""


class RpcService:
    """One service: its name, and its methods by their names after the dot."""

    def __init__(self, name: str, methods: Mapping[str, Method]) -> None:
        self.name = name
        self.methods = methods

    async def answer(self, request: Request) -> Response:
        """Any request to the service's path."""
        if request.method == "OPTIONS":
            return Response(status_code=200, headers=_cors(request))
        kbase = request.app.state.kbase
        token = raw_token(request)
        user: User | None = None
        refusal: PackhorseError | None = None
        if token:
            try:
                user = await user_of(request.app, token)
            except PackhorseError as error:
                refusal = error
        try:
            limit = request.app.state.service.as_user(user).body_bytes(MAX_JSON_BYTES) if user else _MAX_OPEN_BYTES
            with await read_body(request, limit, "Send less at once.") as file:
                body = file.read()
        except PackhorseError as error:
            return failed(request, None, RpcError.of(error))
        if user is not None:
            request.state.user = user.name
        return await run_in_threadpool(self._answered, request, kbase, body, user, token, refusal)

    def _answered(
        self, request: Request, kbase: KBase, body: bytes, user: User | None, token: str, refusal: PackhorseError | None
    ) -> Response:
        call_id: Any = None
        try:
            document = document_of(body)
            call_id = document.get("id")
            method, params = self._method(document)
            caller = None if method.is_open else self._caller(kbase, user, token, refusal)
            if caller is not None:
                POLICY.require(caller.caller.user, Action.SUBMIT if method.changes else Action.LOOK)
            result = method.call(kbase if caller is None else caller, *params)
        except RpcError as error:
            return failed(request, call_id, error)
        except PackhorseError as error:
            return failed(request, call_id, RpcError.of(error))
        except Exception:
            log_failure("request_failed", method=request.method, path=request.url.path)
            message = f"Something broke on the server (request {request.state.request_id})."
            return failed(request, call_id, RpcError(SERVER, message, "Its log says more under that id."))
        if isinstance(result, JsonText):
            body = f'{{"version":"1.1","result":[{result}],"id":{dumps(call_id)}}}'.encode("ascii")
            return _json_response(request, 200, body)
        values = [] if method.is_void else list(result) if method.is_several else [result]
        return json_answer(request, 200, {"version": "1.1", "result": values, "id": call_id})

    def _method(self, document: Mapping[str, Any]) -> tuple[Method, Sequence[Any]]:
        name = document.get("method")
        if not isinstance(name, str):
            raise RpcError(INVALID, "The request names no method")
        module, _, function = name.rpartition(".")
        method = self.methods.get(function) if module in (self.name, "") else None
        if method is None:
            raise RpcError(NO_METHOD, f"Method {name[:200]} is not found")
        params = document.get("params", [])
        if params is None:
            params = []
        if not isinstance(params, list):
            raise RpcError(PARAMS, f"The params of {name} must be a list")
        if len(params) not in method.counts:
            wrong = "not enough arguments" if len(params) < min(method.counts) else "too many arguments"
            raise RpcError(PARAMS, f"{name}: {wrong}")
        return method, params

    def _caller(self, kbase: KBase, user: User | None, token: str, refusal: PackhorseError | None) -> KBaseCaller:
        if not token:
            raise RpcError(SERVER, f"Authentication required for {self.name} but no authentication header was passed")
        if isinstance(refusal, NotAuthenticated):
            raise RpcError(SERVER, f"Token validation failed: {refusal.message}", refusal.hint)
        if refusal is not None:
            raise RpcError.of(refusal)
        assert user is not None
        return kbase.of_caller(user, token)


def said(value: Any) -> Mapping[str, Any]:
    """The mapping that most methods take. Raises InvalidRequest."""
    if not isinstance(value, dict):
        raise InvalidRequest("The parameter must be a mapping")
    return value


def raw_token(request: Request) -> str:
    """The token, with or without the words that other clients put before it."""
    text: str = request.headers.get("authorization", "").strip()
    scheme, _, rest = text.partition(" ")
    return rest.strip() if scheme.lower() in ("bearer", "oauth") else text


def document_of(body: bytes) -> Mapping[str, Any]:
    try:
        document = read_json(body, "The request", MAX_JSON_BYTES)
    except PackhorseError as error:
        raise RpcError(PARSE, error.message) from None
    if not isinstance(document, dict):
        raise RpcError(INVALID, "The request is no JSON object")
    version = document.get("version")
    if version != "1.1":
        raise RpcError(INVALID, f"JSON-RPC 1.1 is spoken here, and the request's version is {str(version)[:20]!r}")
    return document


def failed(request: Request, call_id: Any, error: RpcError) -> Response:
    told = {"code": error.code, "name": _NAMES[error.code], "message": error.message, "error": error.detail}
    answer = json_answer(request, 500, {"version": "1.1", "id": call_id, "error": told})
    answer.headers.update(error.headers)
    return answer


def json_answer(request: Request, status: int, document: Any) -> Response:
    return _json_response(request, status, dumps(document).encode("ascii"))


def _json_response(request: Request, status: int, body: bytes) -> Response:
    return Response(body, status, media_type="application/json", headers=_cors(request))


def _cors(request: Request) -> dict[str, str]:
    """Pages of any origin may ask: a token is in each request, and no cookie is looked at."""
    return {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Headers": request.headers.get("access-control-request-headers", "authorization"),
        "Access-Control-Allow-Methods": ", ".join(_METHODS),
    }
