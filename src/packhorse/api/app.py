"""Puts the API together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from packhorse import __version__
from packhorse.api import about, estimates, reports, runs, secrets, sharing, tasks, tes, tokens, webhooks
from packhorse.api import metrics as figures
from packhorse.api.auth import TokenChecker, current_user
from packhorse.api.direct import Direct
from packhorse.api.errors import REFUSALS, TES_PREFIX, TES_REFUSALS, install_errors
from packhorse.api.examples import add_examples
from packhorse.api.kbase.routes import routes as kbase_routes
from packhorse.api.methods import Methods
from packhorse.api.metrics import Metrics
from packhorse.api.peers import Network, OnlyThrough
from packhorse.api.tracing import Traced, Traces
from packhorse.domain.run import RunRequest
from packhorse.engine.requests.kbase.service import KBase
from packhorse.engine.requests.service import Service
from packhorse.identity.known import KnownTokens

PREFIX = "/api/v1"

#: Before all others.
DIRECT = (
    Direct(f"{PREFIX}/runs", runs.submit, methods=["POST"]),
    Direct(f"{TES_PREFIX}/tasks", tes.create_task, methods=["POST"]),
    Direct(f"{TES_PREFIX}/tasks/{{task_id:task}}", tes.get_task, methods=["GET"]),
)

#: Models of bodies that we read ourselves, for the description.
BODIES = (RunRequest, tokens.TokenRequest, secrets.SecretRequest, webhooks.WebhookRequest, tes.NewTasks)


def create_app(
    service: Service,
    checker: TokenChecker,
    stopping: Callable[[], bool] = lambda: False,
    kbase: KBase | None = None,
    *,
    draining: Callable[[], bool] | None = None,
    metrics: Metrics | None = None,
    traces: Traces | None = None,
    trusted: Sequence[Network] | None = None,
) -> FastAPI:
    """The API over ``service`` for those whom ``checker`` knows. Every endpoint but ``/health`` asks who it is.

    ``kbase``: what KBase's clients ask for, if it is served.

    Long answers (a wait, a log that is followed) end early once ``stopping`` says that the server wants to. Once
    ``draining`` says so, it answers as before, but calls itself not ready.

    ``trusted``: only this machine and these proxies may ask; None: everybody.
    """
    # no pages of FastAPI's own: they would answer without a token nor its redirects, which name the host that the
    # client named
    app = FastAPI(
        title="Packhorse", version=__version__, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.state.service = service
    app.state.tokens = checker
    app.state.known_tokens = KnownTokens()
    app.state.stopping = stopping
    app.state.draining = draining or stopping
    app.state.metrics = metrics or Metrics()
    app.state.kbase = kbase
    app.router.routes.extend(DIRECT)
    if kbase is not None:
        app.router.routes.extend(kbase_routes)
    guarded = APIRouter(dependencies=[Depends(current_user)])
    for door in (runs, reports, sharing, tasks, estimates, tokens, secrets, webhooks, about):
        guarded.include_router(door.router)
    app.include_router(about.open_router, prefix=PREFIX)
    app.include_router(guarded, prefix=PREFIX, responses=REFUSALS)
    app.include_router(figures.router, dependencies=[Depends(current_user)], responses=REFUSALS)
    app.include_router(tes.router, prefix=TES_PREFIX, responses=TES_REFUSALS, dependencies=[Depends(current_user)])
    app.add_middleware(Methods)
    if trusted is not None:
        app.add_middleware(OnlyThrough, trusted=trusted)
    install_errors(app)
    if traces is not None:
        app.add_middleware(Traced, traces=traces)
    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]
    return app


def _describe(app: FastAPI) -> dict[str, Any]:
    """OpenAPI with the models of bodies that we read ourselves, and the way to authenticate."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    bodies = [(model, "validation") for model in BODIES]
    _, schemas = models_json_schema(bodies, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # FastAPI's own answer, where we say 400
    components = document.setdefault("components", {})
    components["schemas"] = {**schemas.get("$defs", {}), **components.get("schemas", {})}
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    add_examples(document)
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    return document
