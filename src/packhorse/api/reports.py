"""``/runs/ID/report`` and ``/runs/ID/crate``: a run as a page, and as a research object."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from packhorse.api.deps import AsUser

#: What a browser may do with a page of which users wrote parts: show it.
_SHOWN_ONLY = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
}

_HTML: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}
_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}
_PIECE = 1 << 18

router = APIRouter(tags=["runs"])


@router.get("/runs/{run_id}/report", summary="A run as a page", response_class=Response, responses=_HTML)
def report(service: AsUser, run_id: str) -> HTMLResponse:
    """One HTML page that needs nothing else: steps, timeline, resources, failures, versions, how to run it again."""
    return HTMLResponse(service.report(run_id), headers=_SHOWN_ONLY)


@router.get("/runs/{run_id}/crate", summary="A run as an RO-Crate", response_class=StreamingResponse, responses=_ZIP)
def crate(service: AsUser, run_id: str) -> StreamingResponse:
    """A zip archive: a Workflow Run Crate with the report, apps, tables, results and the files of the last steps."""
    archive = tempfile.TemporaryFile()  # noqa: SIM115 (it is closed when it has been sent)
    try:
        service.crate(run_id, archive)
    except BaseException:
        archive.close()
        raise
    named = {"Content-Disposition": f'attachment; filename="{run_id}.zip"', "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(_sent(archive), media_type="application/zip", headers=named)


def _sent(archive: IO[bytes]) -> Iterator[bytes]:
    with archive:
        archive.seek(0)
        while piece := archive.read(_PIECE):
            yield piece
