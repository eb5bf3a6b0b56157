"""Removes from a site what runs alone needed that have ended: the tables that gathering tasks read, and outputs that
were brought from other sites.
"""

from __future__ import annotations

from packhorse.engine.data.outputcopy import BROUGHT
from packhorse.engine.lease import Lease
from packhorse.sites.site import Site
from packhorse.store.database import Database
from packhorse.store.stepdata import forget_data, given_to_ended_runs

_EVERY_S = 300.0  # all that a site was ever given is looked through


class Leftovers:
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
            over = given_to_ended_runs(connection, self._site.name)
        ours = tuple(f"{self._site.root}/{folder}/" for folder in ("tables", BROUGHT))
        for row in over:
            if row.path.startswith(ours):  # another's output may be used where it lies
                self._site.transport.remove(row.path)
        if over:
            with self._lease.write() as connection:
                forget_data(connection, [row.id for row in over])
        self._look_at = monotonic + (0 if over else _EVERY_S)
