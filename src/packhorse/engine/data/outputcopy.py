"""Brings outputs of tasks at other sites: what one task left there, a file or a folder, by way of this machine."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from packhorse.domain.outputpath import kept_as
from packhorse.engine.data.job import Brought, Job
from packhorse.engine.data.listing import look
from packhorse.http.errors import Stopped
from packhorse.sites.site import Site
from packhorse.staging.data import NotFetched, Trouble

#: The folder of a site where they are.
BROUGHT = "brought"

_PIECE = 4 << 20


class OutputCopy:
    """To one site, from any of ``sites``, by name."""

    def __init__(self, site: Site, sites: Mapping[str, Site]) -> None:
        self._site = site
        self._sites = sites

    def bring(self, job: Job) -> Brought:
        """Between two sites of this machine nothing is copied. Raises NotFetched, Stopped, SiteUnreachable, OSError."""
        name, run_id, index, quoted = job.url.partition(":")[2].split("/", 3)
        path = kept_as(unquote(quoted, errors="surrogateescape"))
        there = self._sites.get(name)
        if there is None:
            raise NotFetched(Trouble.REFUSED, f"The site '{name}' is not in the configuration any more.")
        source = f"{there.output_folder(run_id, int(index))}/{path}"
        target = f"{self._site.root}/{BROUGHT}/{run_id}/{index}/{path}"
        try:
            if there.transport.is_local and self._site.transport.is_local:
                look(there, source)
                target = source
            elif not self._site.transport.exists(target):
                self._copy(job, there, source, target)
        except FileNotFoundError:
            raise NotFetched(Trouble.REFUSED, f"It is no longer at '{name}'.") from None
        job.complete = True
        return Brought(hashlib.sha256(job.url.encode()).hexdigest(), target)

    def _copy(self, job: Job, there: Site, source: str, target: str) -> None:
        """Whole, or not under its name."""
        here, partial = self._site.transport, f"{target}.{job.data_id}.part"
        here.make_folder(f"{self._site.root}/{BROUGHT}", private=True)
        here.make_folder(target.rpartition("/")[0])
        here.remove(partial)
        with tempfile.TemporaryDirectory(prefix="packhorse-") as folder:
            for one in look(there, source):
                to = f"{partial}/{one.name}" if one.name else partial
                if not one.is_file:
                    here.make_folder(to)
                    continue
                copy = Path(folder, "file")
                self._read(job, there, f"{source}/{one.name}" if one.name else source, copy)
                copy.chmod(one.mode | 0o600)
                here.put(copy, to)
                copy.unlink()
        here.rename(partial, target)

    def _read(self, job: Job, there: Site, source: str, copy: Path) -> None:
        with copy.open("wb") as file:
            while data := there.transport.read(source, file.tell(), _PIECE):
                file.write(data)
                job.bytes_done += len(data)
                if job.stop.is_set():
                    raise Stopped
