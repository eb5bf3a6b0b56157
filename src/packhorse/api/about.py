"""The rest: usage, apps, who asks, the API's own description, and whether the server lives."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from packhorse import __version__
from packhorse.api.auth import CurrentUser
from packhorse.api.deps import AsUser, Cursor, Limit
from packhorse.domain.access import POLICY, Action
from packhorse.domain.accessviews import ChangeView
from packhorse.domain.errors import NotFound
from packhorse.domain.numbers import Number
from packhorse.domain.users import Scope
from packhorse.domain.views import Account, AccountBy, AppView, Check, ImageView, Page, SiteView
from packhorse.engine.requests.service import Service

router = APIRouter(tags=["about"])
open_router = APIRouter(tags=["about"])


class ReadyView(BaseModel):
    """Whether a server can do its work, and why not."""

    ok: bool
    why: str | None


@open_router.get("/health", summary="Whether the server answers")
def health() -> dict[str, Any]:
    """Needs no token, and says no more than this."""
    return {"ok": True, "version": __version__}


class WhoView(BaseModel):
    """Who asks, and what the token at hand opens."""

    user: str
    admin: bool
    sees_all: bool
    """A read-only admin."""
    scopes: list[Scope]
    groups: list[str]


@open_router.get(
    "/health/ready",
    summary="Whether the server can do its work",
    responses={503: {"model": ReadyView, "description": "It cannot now: the body says why."}},
)
def ready(request: Request, response: Response) -> ReadyView:
    """Needs no token. Its database answers, and it is not being shut down. Whether an engine works is not asked: one
    that is away holds up tasks, and no request.
    """
    service: Service = request.app.state.service
    why = "it is being shut down" if request.app.state.draining() else service.why_not_ready()
    response.status_code = 200 if why is None else 503
    return ReadyView(ok=why is None, why=why)


@router.get("/whoami", summary="Who the token says you are")
async def whoami(user: CurrentUser) -> WhoView:
    """The user's name and rights."""
    POLICY.require(user, Action.KNOW)
    return WhoView(
        user=user.name,
        admin=user.admin,
        sees_all=user.sees_all,
        scopes=[scope for scope in Scope if scope in user.scopes],
        groups=sorted(user.groups),
    )


@router.get("/usage", summary="What allocations paid, and for whom")
def usage(
    service: AsUser,
    by: Annotated[list[AccountBy] | None, Query(description="may be repeated; all without it")] = None,
    since: Annotated[
        Number | None,
        Query(
            ge=0,
            le=1e11,
            allow_inf_nan=False,
            description="only allocations that ended after this, in seconds since the epoch",
        ),
    ] = None,
) -> Account:
    """Your part of it; an admin is told everybody's, and what was idle."""
    return service.account(by or tuple(AccountBy), since)


@router.get("/doctor", summary="Whether everything that runs need is there")
def doctor(service: AsUser, site: str | None = None) -> list[Check]:
    """For admins: it names folders and versions of the server. With ``site``, a real job is submitted there."""
    return service.doctor(site)


@router.get("/sites", summary="List sites")
def list_sites(service: AsUser) -> list[SiteView]:
    """Where tasks can run, with queues and limits."""
    return service.sites()


@router.get("/images", summary="List images")
def list_images(service: AsUser) -> list[ImageView]:
    """Those at sites, and those on their way there: progress, size, time, and the reason of a failure."""
    return service.images()


@router.get("/apps", summary="List apps")
def list_apps(service: AsUser) -> list[AppView]:
    """Those that can be run by name."""
    return service.apps()


@router.get("/apps/{name}", summary="One app with its manifest")
def get_app(service: AsUser, name: str) -> AppView:
    """By its name."""
    for app in service.apps():
        if app.name == name:
            return app
    raise NotFound(f"There is no app '{name[:100]}'.", hint="GET /api/v1/apps lists them.")


@router.get("/audit", summary="Who changed what")
def audit(service: AsUser, cursor: Cursor = None, limit: Limit = 100) -> Page[ChangeView]:
    """Tokens, shares and cancels, newest first; for admins, read-only ones too."""
    return service.watching.changes(cursor, limit)


@router.get("/openapi.json", summary="This API", include_in_schema=False)
def openapi(request: Request, user: CurrentUser) -> JSONResponse:
    """As OpenAPI 3.1."""
    POLICY.require(user, Action.KNOW)
    return JSONResponse(request.app.openapi())
