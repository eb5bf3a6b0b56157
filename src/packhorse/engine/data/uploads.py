"""Brings what tasks need of this machine and of the store to a site: the folders of apps."""

from __future__ import annotations

from packhorse.engine.appfolders import name_of_app
from packhorse.engine.data.job import Brought, Job
from packhorse.sites.apps import AppDamaged, bring_app
from packhorse.sites.site import Site
from packhorse.staging.data import NotFetched, Trouble
from packhorse.store.database import Database
from packhorse.store.steps import app_archive


class Uploads:
    """Of one site."""

    def __init__(self, site: Site, database: Database) -> None:
        self._site = site
        self._database = database

    def bring(self, job: Job) -> Brought:
        """Brings what a job names; what is there already, and as it should be, stays.

        Raises NotFetched, Unavailable, SiteUnreachable, OSError.
        """
        return self._app(job)

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


def is_of_this_machine(url: str) -> bool:
    """Whether it is brought from here, and not fetched."""
    return url.startswith("app:")
