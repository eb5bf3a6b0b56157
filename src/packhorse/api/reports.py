"""``/runs/ID/report``: a run as a page."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from packhorse.api.auth import CurrentUser
from packhorse.api.deps import Services

#: What a browser may do with a page of which users wrote parts: show it.
_SHOWN_ONLY = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
}

router = APIRouter(tags=["runs"])


@router.get("/runs/{run_id}/report", summary="A run as a page", response_class=HTMLResponse)
def report(service: Services, user: CurrentUser, run_id: str) -> HTMLResponse:
    """One HTML page that needs nothing else: steps, timeline, resources, failures, versions, how to run it again."""
    return HTMLResponse(service.report(user, run_id), headers=_SHOWN_ONLY)
