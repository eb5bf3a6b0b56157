"""Methods as HTTP has them: HEAD where GET works, OPTIONS, and what a path allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class _Answered(Exception):
    """All that a HEAD request is told has been sent."""


def allowed_methods(routes: Iterable[BaseRoute], scope: Mapping[str, Any], path: str | None = None) -> list[str]:
    """The methods of a request's path, or of ``path``; none where nothing is."""
    asked = {
        "type": "http",
        "headers": [],
        "root_path": scope.get("root_path", ""),
        "path": scope["path"] if path is None else path,
    }
    found = [
        method
        for method in _METHODS
        if any(route.matches({**asked, "method": method})[0] is Match.FULL for route in routes)
    ]
    return found and [*found, *(["HEAD"] if "GET" in found else []), "OPTIONS"]


def _answers(scope: Mapping[str, Any]) -> bool:
    """Whether a path answers OPTIONS itself."""
    return any(route.matches(dict(scope))[0] is Match.FULL for route in scope["app"].routes)


class Methods:
    """Answers HEAD as GET without a body, and OPTIONS with the methods that there are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope.get("method") if scope["type"] == "http" else None
        if method == "OPTIONS" and not _answers(scope) and (allowed := allowed_methods(scope["app"].routes, scope)):
            await Response(status_code=204, headers={"Allow": ", ".join(allowed)})(scope, receive, send)
        elif method == "HEAD":
            await self._head(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        answered = False

        async def send_head(message: Message) -> None:
            nonlocal answered
            await send(message)
            if message["type"] == "http.response.start":
                answered = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                raise _Answered  # nobody goes on to make a body, which may take minutes

        try:
            await self._app({**scope, "method": "GET"}, receive, send_head)
        except Exception:
            if not answered:
                raise
