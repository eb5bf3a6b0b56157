"""Brings one URL to a site: looks whether it is what is there already, fetches it, and puts it into the site's cache.

Knows no store.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import structlog

from packhorse.domain.config import DataConfig
from packhorse.domain.dataurl import parse_url
from packhorse.engine.data.job import Brought, Job, Known
from packhorse.engine.data.sitefetch import fetch_at_site, forget_at_site
from packhorse.http.client import Http
from packhorse.http.errors import Stopped
from packhorse.sites import cache
from packhorse.sites.base import SiteUnreachable
from packhorse.sites.site import Site
from packhorse.staging.checksums import Sums, sum_up
from packhorse.staging.data import NotFetched, Trouble
from packhorse.staging.deliver import deliver
from packhorse.staging.fetch import fetch
from packhorse.staging.sources import Source, Sources

_log = structlog.get_logger("packhorse.data")


class Carrier:
    """Carries jobs out, each in a thread of its own.

    ``folder`` is for what is on its way to a site that has not our files.
    """

    def __init__(self, site: Site, config: DataConfig, folder: Path) -> None:
        self._site = site
        self._folder = Path(f"{site.root}/cache/.partial") if site.transport.is_local else folder
        self._client = Http()
        self._sources = Sources(config, self._client)
        self._keeping: set[str] = set()
        self._kept = threading.Condition()

    def start(self, job: Job, wake: threading.Event | None = None) -> None:
        """Begins; ``job.over`` is set at the end, and ``wake``."""

        def work() -> None:
            self._work(job)
            job.over.set()
            if wake is not None:
                wake.set()

        threading.Thread(target=work, name=f"data-{job.data_id}", daemon=True).start()

    def deliver(self, path: Path, url: str, mode: int) -> dict[str, Any]:
        """Takes a file of this mode to a URL; returns url, size and sha256 of what is there then. Raises NotFetched."""
        sums = sum_up(path)
        return {
            "url": deliver(self._client, self._sources, path, sums, url, mode),
            "size": sums.size,
            "sha256": sums.sha256,
        }

    def begin_to_drop(self, sha256: str) -> bool:
        """Whether content may leave the cache: not while it goes there, or is just being given to somebody.

        ``forget`` ends that.
        """
        with self._kept:
            if sha256 in self._keeping:
                return False
            self._keeping.add(sha256)
            return True

    def forget(self, sha256: str) -> None:
        """The store knows of it."""
        with self._kept:
            self._keeping.discard(sha256)
            self._kept.notify_all()

    def clean(self, data_id: int) -> None:
        """Removes what is left of a URL that is there, or given up."""
        for path in self._folder.glob(f"{data_id}-*"):
            path.unlink(missing_ok=True)
        if self._site.fetches:
            forget_at_site(self._site, data_id)

    def _work(self, job: Job) -> None:
        try:
            job.brought = self._bring(job)
        except Stopped:
            pass
        except NotFetched as failure:
            job.failed = failure
        except SiteUnreachable as error:
            job.failed = NotFetched(Trouble.SITE, error.message)
        except cache.NotUnpacked as error:
            job.failed = NotFetched(Trouble.WRONG, str(error))
        except OSError as error:
            job.failed = NotFetched(
                Trouble.AWAY, f"It cannot be kept at '{self._site.name}': {error.strerror or error}."
            )
        except Exception as error:  # a bug of ours: said loudly, and the others go on
            _log.exception("fetch_failed", site=self._site.name, data=job.data_id)
            job.failed = NotFetched(
                Trouble.AWAY, f"Packhorse failed to fetch it ({type(error).__name__}); its log says more."
            )

    def _bring(self, job: Job) -> Brought:
        url = parse_url(job.url)
        source = self._sources.look(url, job.stop)
        known = job.known
        is_still = known is not None and source.is_still(known.etag, known.last_modified, known.size)
        if known is not None and is_still:
            self._begin_to_keep(known.sha256)  # from the look at it on, it must not leave
            if self._exists(known):
                return Brought(known.sha256, known.path, source, known.size or 0, None)
        job.size = source.expected.size
        if self._site.fetches and not source.headers:  # a token does not leave the engine
            part, sums = fetch_at_site(self._site, url, source, job)
            return self._keep(job, part, sums, source)

        def report(done: int, size: int | None) -> None:
            job.bytes_done, job.size = done, size if size is not None else job.size

        fetched = fetch(self._client, url, source, self._folder / str(job.data_id), report, job.stop)
        return self._keep(job, fetched.path, fetched.sums, fetched.source)

    def _exists(self, known: Known) -> bool:
        """Whether what is known is there; then it is kept until ``forget``."""
        there = False
        try:
            there = self._site.transport.exists(known.path)
        finally:
            if not there:
                self.forget(known.sha256)
        return there

    def _keep(self, job: Job, part: Path | str, sums: Sums, source: Source) -> Brought:
        """Takes what came into the cache."""
        job.complete = True
        sha256, size = sums.sha256, sums.size
        self._begin_to_keep(sha256)
        try:
            stem = cache.archive_stem(source.name) if job.version else None
            if stem is None:
                path = cache.keep(self._site, part, sha256, source.name)
            else:
                path, size = cache.keep_unpacked(self._site, part, sha256, stem)
        except BaseException:
            self.forget(sha256)
            raise
        return Brought(sha256, path, source, size, sums)

    def _begin_to_keep(self, sha256: str) -> None:
        """One at a time for the same content."""
        with self._kept:
            self._kept.wait_for(lambda: sha256 not in self._keeping)
            self._keeping.add(sha256)
