"""Goes on with the tasks that lists become, a part in a transaction: others write in between."""

from __future__ import annotations

import structlog

from packhorse.engine.clock import Clock
from packhorse.engine.lease import Lease
from packhorse.engine.steps.cache import SENSELESS, Steps
from packhorse.engine.steps.growth import Growth
from packhorse.sites.site import Site
from packhorse.store.database import Database
from packhorse.store.growths import Part, add_part, open_growths

_AT_ONCE_S = 0.3  # then what else a site needs has its turn

_log = structlog.get_logger("packhorse.engine")


class Growing:
    """The steps of one site of which only some tasks are there yet."""

    def __init__(self, site: Site, database: Database, lease: Lease, steps: Steps, clock: Clock) -> None:
        self._site = site
        self._database = database
        self._lease = lease
        self._growth = Growth(steps, site)
        self._clock = clock
        self._senseless: set[int] = set()  # steps that a newer program has written: they wait for one

    def go_on(self) -> bool:
        """Adds tasks for a moment; whether there were any to add."""
        began = self._clock.monotonic()
        moved = False
        while self._clock.monotonic() < began + _AT_ONCE_S and (part := self._next()) is not None:
            with self._lease.write() as connection:
                add_part(connection, part, self._clock.now())
            moved = True
        return moved

    def _next(self) -> Part | None:
        """What comes next, of the oldest step that has not all of its tasks."""
        with self._database.read() as connection:
            for growth in open_growths(connection, self._site.name):
                try:
                    return self._growth.next_part(connection, growth)
                except SENSELESS:
                    if growth.step_seq not in self._senseless:
                        _log.exception("list_not_understood", step=growth.step_seq)
                    self._senseless.add(growth.step_seq)
        return None
