"""The rest: usage, apps, who asks, the API's own description, and whether the server lives."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from packhorse import __version__
from packhorse.api.auth import CurrentUser
from packhorse.api.deps import Services
from packhorse.domain.errors import NotAllowed, NotFound
from packhorse.domain.views import AppView, Check, UsageView

router = APIRouter(tags=["about"])
open_router = APIRouter(tags=["about"])


@open_router.get("/health", summary="Whether the server answers")
def health() -> dict[str, Any]:
    """Needs no token, and says no more than this."""
    return {"ok": True, "version": __version__}


@router.get("/whoami", summary="Who the token says you are")
def whoami(user: CurrentUser) -> dict[str, Any]:
    """The user's name, and whether an admin."""
    return {"user": user.name, "admin": user.admin}


@router.get("/usage", summary="What all your runs used")
def usage(service: Services, user: CurrentUser) -> UsageView:
    """Over all ended attempts."""
    return service.usage(user)


@router.get("/doctor", summary="Whether everything that runs need is there")
def doctor(service: Services, user: CurrentUser) -> list[Check]:
    """For admins: it names folders and versions of the server."""
    if not user.admin:
        raise NotAllowed("Only an admin may examine the server.", hint="Ask whoever runs it.")
    return service.doctor()


@router.get("/apps", summary="List apps")
def list_apps(service: Services, user: CurrentUser) -> list[AppView]:
    """Those that can be run by name."""
    return service.apps(user)


@router.get("/apps/{name}", summary="One app with its manifest")
def get_app(service: Services, user: CurrentUser, name: str) -> AppView:
    """By its name."""
    for app in service.apps(user):
        if app.name == name:
            return app
    raise NotFound(f"There is no app '{name[:100]}'.", hint="GET /api/v1/apps lists them.")


@router.get("/openapi.json", summary="This API", include_in_schema=False)
def openapi(request: Request) -> JSONResponse:
    """As OpenAPI 3.1."""
    return JSONResponse(request.app.openapi())
