"""Brings what tasks need of this machine and of the store to a site: the folders of apps, the tables of results that
gathering tasks read, and input files.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from packhorse.engine.appfolders import name_of_app
from packhorse.engine.data.fileupload import FileUpload
from packhorse.engine.data.job import Brought, Job
from packhorse.engine.data.keeping import Keeping
from packhorse.engine.data.outputcopy import OutputCopy
from packhorse.engine.steps.cache import Steps
from packhorse.engine.steps.results import runs_read, write_results
from packhorse.sites.apps import AppDamaged, bring_app
from packhorse.sites.site import Site
from packhorse.staging.data import NotFetched, Trouble
from packhorse.store.database import Database
from packhorse.store.steps import app_archive


class Uploads:
    """Of one site."""

    def __init__(self, site: Site, database: Database, keeping: Keeping, outputs: OutputCopy) -> None:
        self._site = site
        self._database = database
        self._outputs = outputs
        self._files = FileUpload(site, keeping)

    def bring(self, job: Job) -> Brought:
        """Brings what a job names; what is there already, and as it should be, stays.

        Raises NotFetched, Stopped, Unavailable, SiteUnreachable, OSError.
        """
        match job.url.partition(":")[0]:
            case "app":
                return self._app(job)
            case "results":
                return self._results(job)
            case "output":
                return self._outputs.bring(job)
            case _:
                return self._files.bring(job)

    def _app(self, job: Job) -> Brought:
        with self._database.read() as connection:
            archive = app_archive(connection, job.version)
        job.size = len(archive)
        try:
            path = bring_app(self._site, name_of_app(job.key), job.version, archive)
        except AppDamaged as damage:
            raise NotFetched(Trouble.REFUSED if damage.for_good else Trouble.WRONG, str(damage)) from None
        job.bytes_done, job.complete = len(archive), True
        return Brought(job.version, path)

    def _results(self, job: Job) -> Brought:
        """What the steps that a gathering one waited for left: they have ended, so that it does not change any more."""
        run_id, _, seq = job.url.removeprefix("results:").partition("/")
        with self._database.read() as connection:
            step = Steps().of(connection, int(seq))
            runs = runs_read(connection, step)
        folder = f"{self._site.root}/tables"
        target = f"{folder}/{run_id}-{seq}.jsonl"
        self._site.transport.make_folder(folder, private=True)
        for one in runs:  # a container sees them whole, also before anything is in them
            self._site.transport.make_folder(self._site.run_folder(one))
        with tempfile.TemporaryDirectory(dir=folder if self._site.transport.is_local else None) as own:
            here = Path(own, "results.jsonl")
            write_results(self._database, step, here, self._site.output_folder)
            job.size = here.stat().st_size
            with here.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if self._site.transport.is_local:
                here.replace(target)
            else:
                self._site.transport.put(here, target)
        job.bytes_done, job.complete = job.size, True
        return Brought(digest, target)


def is_of_this_machine(url: str) -> bool:
    """Whether it is brought from here, or by way of here, and not fetched."""
    return url.partition(":")[0] in ("app", "results", "output", "file")
