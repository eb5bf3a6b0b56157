"""Puts the API together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from packhorse import __version__
from packhorse.api import about, reports, runs, tasks, tes
from packhorse.api.auth import TokenChecker, current_user
from packhorse.api.errors import REFUSALS, TES_PREFIX, TES_REFUSALS, install_errors
from packhorse.api.kbase.routes import routes as kbase_routes
from packhorse.api.methods import Methods
from packhorse.domain.run import RunRequest
from packhorse.engine.requests.kbase.service import KBase
from packhorse.engine.requests.service import Service

PREFIX = "/api/v1"


def create_app(
    service: Service, tokens: TokenChecker, stopping: Callable[[], bool] = lambda: False, kbase: KBase | None = None
) -> FastAPI:
    """The API over ``service`` for those whom ``tokens`` knows. Every endpoint but ``/health`` asks who it is.

    ``kbase``: what KBase's clients ask for, if it is served.

    Long answers (a wait, a log that is followed) end early once ``stopping`` says that the server wants to.
    """
    # no pages of FastAPI's own: they would answer without a token nor its redirects, which name the host that the
    # client named
    app = FastAPI(
        title="Packhorse", version=__version__, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.state.service = service
    app.state.tokens = tokens
    app.state.stopping = stopping
    app.state.kbase = kbase
    if kbase is not None:
        app.router.routes.extend(kbase_routes)
    guarded = APIRouter(dependencies=[Depends(current_user)])
    for router in (runs.router, reports.router, tasks.router, about.router):
        guarded.include_router(router)
    app.include_router(about.open_router, prefix=PREFIX)
    app.include_router(guarded, prefix=PREFIX, responses=REFUSALS)
    app.include_router(tes.router, prefix=TES_PREFIX, responses=TES_REFUSALS, dependencies=[Depends(current_user)])
    app.add_middleware(Methods)
    install_errors(app)
    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]
    return app


def _describe(app: FastAPI) -> dict[str, Any]:
    """OpenAPI with the models of bodies that we read ourselves, and the way to authenticate."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    bodies: list[Any] = [(RunRequest, "validation"), (tes.NewTasks, "validation")]
    _, schemas = models_json_schema(bodies, ref_template="#/components/schemas/{model}")
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # FastAPI's own answer, where we say 400
    components = document.setdefault("components", {})
    components["schemas"] = {**schemas.get("$defs", {}), **components.get("schemas", {})}
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    return document
