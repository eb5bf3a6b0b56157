"""What could start at a site now: the demands of its users, with what one of their tasks is likely to take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
import structlog

from packhorse.engine.placing import pack
from packhorse.engine.steps.cache import SENSELESS, Steps
from packhorse.estimate.durations import Durations
from packhorse.store.demands import hold_steps, take_ready, waiting_demands

_log = structlog.get_logger("packhorse.dispatch")


class Demands:
    """Reads the demands of one site, and takes tasks of them."""

    def __init__(self, site: str, steps: Steps, durations: Durations) -> None:
        self._site = site
        self._steps = steps
        self._durations = durations
        self._odd: set[int] = set()  # demands that were complained about

    def waiting(self, connection: sa.Connection) -> list[pack.Demand]:
        """Those that have ready tasks: as many as users have kinds of work, however many tasks wait."""
        found: list[pack.Demand] = []
        for row in waiting_demands(connection, self._site):
            try:
                asked = self._steps.asked_of(row)
            except SENSELESS:  # it must not hold up the others
                if row.seq not in self._odd:
                    _log.exception("demand_not_understood", site=self._site, demand=row.seq)
                self._odd.add(row.seq)
                continue
            known = self._durations.predict(asked.label)
            core_s = known or pack.UNKNOWN_S * asked.resources.cpu_cores
            order = {"rank": row.rank or 0, "step_seq": row.step_seq or 0}
            found.append(pack.Demand(row.user, row.seq, row.ready, core_s, asked.resources, known is not None, **order))
        return found

    def take(self, connection: sa.Connection, demand: pack.Demand, limit: int) -> Sequence[Any]:
        """At most ``limit`` tasks of a demand, locked, by priority and age of their steps.

        A step that is not understood (of a newer version, or damaged) is held until an engine starts that may know it.
        """
        rows = take_ready(connection, demand.seq, limit)
        steps = {row.step_seq for row in rows}
        odd = steps - self._steps.many(connection, steps).keys()
        if odd:
            _log.error("steps_not_understood", site=self._site, steps=sorted(odd))
            hold_steps(connection, odd, held=True)
        return [row for row in rows if row.step_seq not in odd]
