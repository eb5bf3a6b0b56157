"""Routes that are asked for thousands of times in a row, answered without FastAPI, whose layers around an endpoint take
as long as accepting a run. They are declared to it as well, for the description.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

from fastapi import Request
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.routing import Match, Route
from starlette.types import Scope

from packhorse.api.auth import current_user
from packhorse.domain.errors import InvalidRequest, Problem
from packhorse.domain.ids import TASK_ID
from packhorse.engine.requests.service import Service, UserService

Choice = TypeVar("Choice", bound=StrEnum)

_LONGEST_KEY = 200  # as ``deps.IdempotencyKey``
_KEY = "Idempotency-Key"

#: The header, for the description of an endpoint that reads it itself.
KEY_PARAMETER: dict[str, Any] = {
    "name": "idempotency-key",
    "in": "header",
    "required": False,
    "schema": {
        "anyOf": [{"type": "string", "minLength": 1, "maxLength": _LONGEST_KEY}, {"type": "null"}],
        "title": _KEY,
    },
}


class _TaskId(StringConvertor):
    """What can be a task's id: other words there are other endpoints'."""

    regex = TASK_ID


register_url_convertor("task", _TaskId())


class Direct(Route):
    """One of these routes; its endpoint takes the request, asks who it is (``service_of``), and returns a response."""

    def __init__(self, path: str, endpoint: Any, methods: list[str]) -> None:
        super().__init__(path, endpoint, methods=methods)
        self.path = path.replace(":task}", "}")  # as it is declared

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        if match is not Match.NONE:
            found["route"] = self  # for who counts requests, as FastAPI does it
        return match, found


async def service_of(request: Request) -> UserService:
    """What the user who sent a request may ask for. Raises NotAuthenticated, Unavailable."""
    service: Service = request.app.state.service
    return service.as_user(await current_user(request))


def chosen(request: Request, name: str, default: Choice) -> Choice:
    """A query parameter that is one of some words. Raises InvalidRequest."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        return type(default)(text)
    except ValueError:
        words = [f"'{one}'" for one in type(default)]
        told = f"expected {', '.join(words[:-1])} or {words[-1]} (found: '{text[:60]}')."
        problems = [Problem(f"the query parameter '{name}'", told)]
        raise InvalidRequest("The request is not valid.", problems=problems) from None


def idempotency_key(request: Request) -> str | None:
    """The key of a request that changes something. Raises InvalidRequest."""
    key = request.headers.get(_KEY)
    if key is not None and not 1 <= len(key) <= _LONGEST_KEY:
        told = f"expected text of 1 to {_LONGEST_KEY} characters (found: {len(key):,})."
        raise InvalidRequest("The request is not valid.", problems=[Problem(f"the header '{_KEY}'", told)])
    return key
