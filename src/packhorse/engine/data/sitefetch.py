"""Lets a site's login node fetch a URL itself, as a background job there: it goes on while the engine is away.

What it is given needs no credential of ours: a plain URL, or one of S3 that is signed for some hours.
"""

from __future__ import annotations

import time
from typing import Any

from packhorse.domain.dataurl import DataUrl
from packhorse.engine.data.job import Job
from packhorse.http.errors import Stopped
from packhorse.http.reach import Reach
from packhorse.sites import background
from packhorse.sites.site import Site
from packhorse.staging.checksums import Sums
from packhorse.staging.data import NotFetched, Trouble
from packhorse.staging.fetch import version_tag
from packhorse.staging.sources import Source

_LOOK_S = 1.0
_SILENT_S = 15.0  # a background job that says nothing for that long is started again; if it lives, that changes nothing
_END_S = 5.0
_TIMEOUT_S = 24 * 3600.0
_TROUBLES = {"wrong": Trouble.WRONG, "refused": Trouble.REFUSED}


def fetch_at_site(site: Site, url: DataUrl, source: Source, job: Job, reach: Reach | None) -> tuple[str, Sums]:
    """Fetches ``source`` there, where ``reach`` lets it; returns the path and what it is.

    Raises NotFetched, Stopped, SiteUnreachable, OSError.
    """
    name = f"data-{job.data_id}-{version_tag(source)}"
    path = f"{_folder(site)}/{name}"
    step = background.Step([], "fetching", fetch=_step(url, source, path, reach))
    heard, since = -1, time.monotonic()
    status: background.BackgroundStatus | None = None
    background.start(site, name, [step], watch=f"{path}.part", tmp="", timeout_s=_TIMEOUT_S)
    while not (status := background.look(site, name, status)).ended:
        if status.heard != heard:
            heard, since = status.heard, time.monotonic()
            job.bytes_done = max(job.bytes_done, status.done_bytes)
        elif time.monotonic() - since > _SILENT_S:
            since = time.monotonic()
            background.start(site, name, [step], watch=f"{path}.part", tmp="", timeout_s=_TIMEOUT_S)
        if job.stop.wait(_LOOK_S if heard > 0 else _LOOK_S / 10):
            if job.unwanted:
                _end(site, name)
            raise Stopped
    background.remove(site, name)
    if not status.succeeded:
        raise _failure(site, source, status)
    job.bytes_done = int(status.fetched["size"])
    return path, Sums(job.bytes_done, str(status.fetched["sha256"]), status.fetched.get("crc64nvme"))


def forget_at_site(site: Site, data_id: int) -> None:
    """Removes what is left there of a URL that is there, or given up."""
    for name in site.transport.names(_folder(site)):
        if name.startswith(f"data-{data_id}-"):
            site.transport.remove(f"{_folder(site)}/{name}")


def _end(site: Site, name: str) -> None:
    """Stops a job, and removes what it was told. It ends within a second or so; one that does not is left alone."""
    background.stop(site, name)
    give_up = time.monotonic() + _END_S
    while time.monotonic() < give_up:
        if background.look(site, name).ended:
            background.remove(site, name)
            return
        time.sleep(_LOOK_S / 10)


def _folder(site: Site) -> str:
    return f"{site.root}/cache/.partial"


def _step(url: DataUrl, source: Source, path: str, reach: Reach | None) -> dict[str, Any]:
    """The fetch of docs/spool.md. A CRC is slow there: it is asked for only where nothing better is known."""
    expected = source.expected
    sha256 = url.sha256 or expected.sha256
    step = {
        "url": source.request_url, "path": path, "size": expected.size, "sha256": sha256, "etag": source.if_range,
        "crc64nvme": None if sha256 else expected.crc64nvme,
        "opened": None if reach is None or source.trusted else list(reach.opened),
    }  # fmt: skip
    return {key: value for key, value in step.items() if value is not None}


def _failure(site: Site, source: Source, status: background.BackgroundStatus) -> NotFetched:
    trouble = _TROUBLES.get(status.why or "", Trouble.AWAY)
    if trouble is Trouble.REFUSED and not source.is_plain:
        trouble = Trouble.AWAY  # we were just let look at it: the signed URL is too old by now
    said = (status.tail.strip().splitlines() or [f"the background job ended ({status.why or status.exit_code})"])[-1]
    return NotFetched(trouble, f"'{site.name}' could not fetch it: {said[:300]}.")
