"""Removes the tables that gathering tasks read from a site, when their runs have ended."""

from __future__ import annotations

from packhorse.engine.lease import Lease
from packhorse.sites.site import Site
from packhorse.store.database import Database
from packhorse.store.stepdata import forget_data, tables_of_ended_runs

_EVERY_S = 300.0  # all that a site was ever given is looked through


class Tables:
    """Of one site."""

    def __init__(self, site: Site, database: Database, lease: Lease) -> None:
        self._site = site
        self._database = database
        self._lease = lease
        self._look_at = 0.0

    def tick(self, monotonic: float) -> None:
        """Removes some, now and then. Raises SiteUnreachable, OSError."""
        if monotonic < self._look_at:
            return
        with self._database.read() as connection:
            over = tables_of_ended_runs(connection, self._site.name)
        for row in over:
            self._site.transport.remove(row.path)
        if over:
            with self._lease.write() as connection:
                forget_data(connection, [row.id for row in over])
        self._look_at = monotonic + (0 if over else _EVERY_S)
