"""What could start at a site now: the demands of its users, with what one of their tasks is likely to take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
import structlog

from packhorse.engine.placing import pack
from packhorse.engine.placing.needs import Needs
from packhorse.engine.sizing.sizer import Group, Open, Sizer
from packhorse.engine.steps.cache import SENSELESS, Steps
from packhorse.estimate.durations import Durations
from packhorse.sites.base import Limits
from packhorse.store.demands import hold_steps, take_ready, waiting_demands

_log = structlog.get_logger("packhorse.dispatch")


@dataclass(frozen=True, slots=True)
class Waiting:
    """The demands that have ready tasks: those that can be placed, and those that are to be ``sized`` first."""

    sized: list[pack.Demand]
    open: list[Open]
    ahead: Mapping[Group, int]
    """Tasks that are sized, by what their demands have in common."""


class Demands:
    """Reads the demands of one site, and takes tasks of them."""

    def __init__(self, site: str, steps: Steps, durations: Durations, needs: Needs, sizer: Sizer) -> None:
        self._sizer = sizer
        self._site = site
        self._needs = needs
        self._steps = steps
        self._durations = durations
        self.have_held = False
        self._odd: set[int] = set()  # demands that were complained about

    def waiting(self, connection: sa.Connection) -> Waiting:
        """Those that have ready tasks: as many as users have kinds of work, however many tasks wait."""
        found: list[tuple[Group, pack.Demand]] = []
        to_size: list[Open] = []
        for row in waiting_demands(connection, self._site):
            try:
                asked = self._steps.asked_of(row)
            except SENSELESS:  # it must not hold up the others
                if row.seq not in self._odd:
                    _log.exception("demand_not_understood", site=self._site, demand=row.seq)
                self._odd.add(row.seq)
                continue
            known = self._durations.predict(asked.label)
            if self._sizer.is_open(row, asked):
                to_size.append(Open(row, asked, known))
                continue
            outlook = self._sizer.outlook(row.seq)
            if outlook is not None:
                known = outlook.median_s * asked.resources.cpu_cores
            core_s = known or pack.UNKNOWN_S * asked.resources.cpu_cores
            more: dict[str, Any] = {
                "rank": row.rank or 0,
                "step_seq": row.step_seq or 0,
                "high_s": outlook and outlook.high_s,
            }
            demand = pack.Demand(row.user, row.seq, row.ready, core_s, asked.resources, known is not None, **more)
            found.append(((row.user, asked.label, asked.image), demand))
        ahead: Counter[Group] = Counter()
        for group, demand in found:
            ahead[group] += demand.tasks
        unsized: Counter[Group] = Counter()
        for one in to_size:
            unsized[one.group] += one.row.ready
        return Waiting([_with_followers(one, unsized[group] / ahead[group]) for group, one in found], to_size, ahead)

    def room_to_size(self, waiting: Waiting, cores: int) -> dict[int, int]:
        """How many tasks are to be sized now, by demand; ``cores`` are those of living allocations."""
        return self._sizer.room(waiting.open, waiting.ahead, cores)

    def size(
        self,
        connection: sa.Connection,
        waiting: Waiting,
        room: Mapping[int, int],
        limits: Sequence[Limits],
        now: float,
    ) -> bool:
        """Decides what some tasks ask for that are about to be placed; whether it did. ``now`` is monotonic."""
        return self._sizer.size(connection, waiting.open, room, limits, now)

    def hold(self, connection: sa.Connection, demands: Sequence[pack.Demand]) -> None:
        """Of demands whose first step needs what is not at the site: holds the steps of as many tasks as are taken at
        once.
        """
        for demand in demands:
            self.take(connection, demand, pack.MAX_TASKS_AT_ONCE)

    def lacking(self, connection: sa.Connection, demands: Sequence[pack.Demand]) -> list[pack.Demand]:
        """Those whose first step needs what is not at the site: no allocation is opened for them."""
        steps = self._steps.many(connection, {demand.step_seq for demand in demands})
        lacking = self._needs.lacking(connection, steps)
        return [demand for demand in demands if demand.step_seq in lacking]

    def take(self, connection: sa.Connection, demand: pack.Demand, limit: int) -> Sequence[Any]:
        """At most ``limit`` tasks of a demand, locked, by priority and age of their steps.

        A step that is not understood (of a newer version, or damaged) is held until an engine starts that may know it;
        one that needs what is not at the site, until that is there (``have_held``).
        """
        rows = take_ready(connection, demand.seq, limit)
        seqs = {row.step_seq for row in rows}
        steps = self._steps.many(connection, seqs)
        odd = seqs - steps.keys()
        if odd:
            _log.error("steps_not_understood", site=self._site, steps=sorted(odd))
            hold_steps(connection, odd, held=True)
        waiting = self._needs.hold(connection, steps)
        self.have_held = self.have_held or bool(waiting)
        return [row for row in rows if row.step_seq not in odd | waiting]


def _with_followers(demand: pack.Demand, each: float) -> pack.Demand:
    """With its part of the tasks that are not sized yet: allocations are to be large enough for them, too."""
    return replace(demand, tasks=demand.tasks + int(demand.tasks * each)) if each else demand
