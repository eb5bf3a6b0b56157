"""Brings an input file of this machine to a site's cache, as it was when its run was accepted; or tells that it has
changed since.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from packhorse.engine.data.job import Brought, Job
from packhorse.engine.data.keeping import Keeping
from packhorse.engine.steps.files import path_of, version_of
from packhorse.http.errors import Stopped
from packhorse.sites import cache
from packhorse.sites.site import Site
from packhorse.staging.checksums import Sums
from packhorse.staging.data import NotFetched, Trouble

_PIECE = 4 << 20
_EXECUTABLE = 0o111


class FileUpload:
    """For one site. A file goes there under another name, and gets its own when it is whole, and still as it was."""

    def __init__(self, site: Site, keeping: Keeping) -> None:
        self._site = site
        self._keeping = keeping

    def bring(self, job: Job) -> Brought:
        """Raises NotFetched, Stopped, SiteUnreachable, OSError."""
        path = path_of(job.url)
        try:
            source = Path(path).resolve(strict=True)
            status = self._same(job, source)
            sums = self._sum(job, source)
        except FileNotFoundError:
            raise NotFetched(Trouble.REFUSED, "It is no longer there.") from None
        except PermissionError:
            raise NotFetched(Trouble.REFUSED, "It cannot be read.") from None
        self._same(job, source)
        self._keeping.begin(sums.sha256)
        try:
            there = self._put(job, source, Path(path).name, sums, executable=bool(status.st_mode & _EXECUTABLE))
        except BaseException:
            self._keeping.end(sums.sha256)
            raise
        job.bytes_done, job.complete = sums.size, True
        return Brought(sums.sha256, there, sums.size, sums)

    def _put(self, job: Job, source: Path, name: str, sums: Sums, *, executable: bool) -> str:
        known = job.known
        if known is not None and known.sha256 == sums.sha256 and self._site.transport.exists(known.path):
            return known.path
        transport, partial = self._site.transport, f"{self._site.root}/cache/.partial"
        coming = f"{partial}/file-{job.data_id}"
        if not cache.has(self._site, sums.sha256):
            transport.make_folder(partial)
            for left in transport.names(partial) if job.is_again else ():
                if left.startswith(f"file-{job.data_id}."):  # of one that was cut
                    transport.remove(f"{partial}/{left}")
            transport.put(source, coming)
            try:
                self._same(job, source)
            except BaseException:
                transport.remove(coming)
                raise
        return cache.keep(self._site, coming, sums.sha256, name, executable=executable)

    def _same(self, job: Job, source: Path) -> os.stat_result:
        """A file that is as it was when its run was accepted. Raises NotFetched, FileNotFoundError."""
        status = source.stat()
        if not source.is_file():
            site = self._site.name
            raise NotFetched(Trouble.REFUSED, f"It is no file, and only files are brought to '{site}'.")
        job.size = status.st_size
        if version_of(status) != job.version:
            was = job.version.partition("-")[0]
            had = f" It had {int(was):,} bytes, and has {status.st_size:,}." if was.isdecimal() else ""
            raise NotFetched(
                Trouble.REFUSED,
                f"It has changed since the run was accepted.{had} Submit again, or 'packhorse retry', to take it as it"
                " is now.",
            )
        return status

    def _sum(self, job: Job, source: Path) -> Sums:
        digest, size = hashlib.sha256(), 0
        with source.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                size += len(piece)
                if job.stop.is_set():
                    raise Stopped
        return Sums(size, digest.hexdigest())
