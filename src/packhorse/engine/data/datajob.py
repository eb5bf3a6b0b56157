"""Brings one URL to a site: looks whether it is what is there already, fetches it, and puts it into the site's cache.

Knows no store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from packhorse.domain.config import DataConfig
from packhorse.domain.dataurl import parse_url
from packhorse.engine.data.job import Brought, Job, Known
from packhorse.engine.data.keeping import Keeping
from packhorse.engine.data.s3folders import bring_s3_folder
from packhorse.engine.data.sitefetch import fetch_at_site, forget_at_site
from packhorse.engine.steps.files import FOLDER
from packhorse.http.client import Http
from packhorse.http.reach import Reach
from packhorse.sites import cache
from packhorse.sites.site import Site
from packhorse.staging.checksums import Sums, sum_up
from packhorse.staging.deliver import deliver
from packhorse.staging.fetch import fetch
from packhorse.staging.sources import Source, Sources


class Carrier:
    """Brings what jobs name by URL. ``folder`` is for what is on its way to a site that has not our files."""

    def __init__(
        self, site: Site, config: DataConfig, folder: Path, keeping: Keeping, reach: Reach | None = None
    ) -> None:
        self._site = site
        self._folder = Path(f"{site.root}/cache/.partial") if site.transport.is_local else folder
        self._client = Http(reach=reach)
        self._reach = reach
        self._sources = Sources(config, self._client)
        self._keeping = keeping

    def deliver(self, path: Path, url: str, mode: int) -> dict[str, Any]:
        """Takes a file of this mode to a URL; returns url, size and sha256 of what is there then. Raises NotFetched."""
        sums = sum_up(path)
        return {
            "url": deliver(self._client, self._sources, path, sums, url, mode),
            "size": sums.size,
            "sha256": sums.sha256,
        }

    def clean(self, data_id: int) -> None:
        """Removes what is left of a URL that is there, or given up."""
        for path in self._folder.glob(f"{data_id}-*"):
            path.unlink(missing_ok=True)
        if self._site.fetches:
            forget_at_site(self._site, data_id)

    def bring(self, job: Job) -> Brought:
        """Brings what is there now of a job's URL; what came stays kept.

        Raises NotFetched, Stopped, NotUnpacked, SiteUnreachable, OSError.
        """
        url = parse_url(job.url)
        if job.version.startswith(FOLDER):
            archive = self._folder / f"{job.data_id}-folder.tar"
            sums = bring_s3_folder(self._client, self._sources, url, archive, job)
            return self._keep(job, archive, sums, Source("", name=f"{url.name}.tar"))
        source = self._sources.look(url, job.stop)
        known = job.known
        is_still = known is not None and source.is_still(known.etag, known.last_modified, known.size)
        if known is not None and is_still:
            self._keeping.begin(known.sha256)  # from the look at it on, it must not leave
            if self._exists(known):
                return Brought(known.sha256, known.path, known.size or 0, None, source.etag, source.last_modified)
        job.size = source.expected.size
        if self._site.fetches and not source.headers:  # a token does not leave the engine
            part, sums = fetch_at_site(self._site, url, source, job, self._reach)
            return self._keep(job, part, sums, source)

        def report(done: int, size: int | None) -> None:
            job.bytes_done, job.size = done, size if size is not None else job.size

        fetched = fetch(self._client, url, source, self._folder / str(job.data_id), report, job.stop)
        return self._keep(job, fetched.path, fetched.sums, fetched.source)

    def _exists(self, known: Known) -> bool:
        """Whether what is known is there; then it stays kept."""
        there = False
        try:
            there = self._site.transport.exists(known.path)
        finally:
            if not there:
                self._keeping.end(known.sha256)
        return there

    def _keep(self, job: Job, part: Path | str, sums: Sums, source: Source) -> Brought:
        """Takes what came into the cache."""
        job.complete = True
        sha256, size = sums.sha256, sums.size
        self._keeping.begin(sha256)
        try:
            stem = cache.archive_stem(source.name) if job.version else None
            if stem is None:
                path = cache.keep(self._site, part, sha256, source.name)
            else:
                path, size = cache.keep_unpacked(self._site, part, sha256, stem)
        except BaseException:
            self._keeping.end(sha256)
            raise
        return Brought(sha256, path, size, sums, source.etag, source.last_modified)
