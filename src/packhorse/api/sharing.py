"""``/runs/ID/sharing``: who else sees a run."""

from __future__ import annotations

from fastapi import APIRouter

from packhorse.api.deps import AsUser
from packhorse.domain.accessviews import ShareView

router = APIRouter(prefix="/runs/{run_id}/sharing", tags=["runs"])


@router.get("", summary="With whom a run is shared")
def list_shares(service: AsUser, run_id: str) -> list[ShareView]:
    """Users and groups, by name."""
    return service.sharing.of(run_id)


@router.put("/{grantee:path}", summary="Share a run")
def share_run(service: AsUser, run_id: str, grantee: str) -> list[ShareView]:
    """``user:NAME`` or ``group:NAME`` sees it from now on, with tasks, logs and files, and changes nothing."""
    return service.sharing.share(run_id, grantee)


@router.delete("/{grantee:path}", summary="Share a run no longer")
def unshare_run(service: AsUser, run_id: str, grantee: str) -> list[ShareView]:
    """Who was named sees it no longer."""
    return service.sharing.unshare(run_id, grantee)
