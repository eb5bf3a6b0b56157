"""Where KBase's clients find what they know."""

from __future__ import annotations

from starlette.routing import Route

from packhorse.api.kbase.ee2 import ee2
from packhorse.api.kbase.wire import RpcService

_METHODS = ["GET", "POST", "OPTIONS"]


def _routes(path: str, service: RpcService) -> list[Route]:
    """The service at its path, and at every path below it."""
    name = f"kbase-{service.name}"
    return [
        Route(path, service.answer, methods=_METHODS, name=name),
        Route(f"{path}/{{rest:path}}", service.answer, methods=_METHODS, name=f"{name}-below"),
    ]


routes = [*_routes("/services/ee2", ee2)]
