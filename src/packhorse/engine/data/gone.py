"""Notices runs whose outputs somebody has removed from a site: they are no longer counted as kept for their users."""

from __future__ import annotations

from packhorse.engine.lease import Lease
from packhorse.sites.site import Site
from packhorse.store.database import Database
from packhorse.store.shares import forget_stored, runs_with_stored

_FIRST_S, _EVERY_S = 600.0, 6 * 3600.0  # all run folders of a site are listed
_AT_ONCE = 1000


class Gone:
    """Of one site."""

    def __init__(self, site: Site, database: Database, lease: Lease) -> None:
        self._site = site
        self._database = database
        self._lease = lease
        self._look_at: float | None = None

    def tick(self, monotonic: float) -> None:
        """Looks a few times a day. Raises SiteUnreachable, OSError."""
        if self._look_at is None:
            self._look_at = monotonic + _FIRST_S
        if monotonic >= self._look_at:
            self._look_at = monotonic + _EVERY_S
            self.look()

    def look(self) -> None:
        """Counts the outputs of runs that have ended, and whose folders are not there, as removed."""
        there = set(self._site.transport.names(f"{self._site.root}/runs"))
        after = 0
        while True:
            with self._database.read() as connection:
                rows = runs_with_stored(connection, self._site.name, after, _AT_ONCE)
            gone = [row.seq for row in rows if row.id not in there]
            if gone:
                with self._lease.write() as connection:
                    forget_stored(connection, self._site.name, gone)
            if len(rows) < _AT_ONCE:
                return
            after = rows[-1].seq
