"""Figures of a server, for whoever watches over it: of all users together, and of no one by name."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import quantiles

from packhorse.domain.states import AllocationState
from packhorse.domain.views import AccountBy
from packhorse.engine.requests.accounting import account
from packhorse.store.database import Database
from packhorse.store.metrics import active_tasks, recent_allocations
from packhorse.store.shares import iter_shares

RECENT_S = 3600.0
"""Waits and the use of allocations are told of those that live, or ended within that time."""


@dataclass(slots=True)
class Figures:
    """``tasks``: by site and state, those that have not ended. ``allocations``: by site and state.

    ``waits_s``: by site, the times from submission to start at the quantiles 0.5, 0.9 and 1.

    ``use``: by site, the part of the paid core-time that tasks had.
    """

    tasks: dict[tuple[str, str], int] = field(default_factory=dict)
    allocations: dict[tuple[str, str], int] = field(default_factory=dict)
    waits_s: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    use: dict[str, float] = field(default_factory=dict)


_REST = 20.0  # times what it took to count, until it is counted again


class LatestFigures:
    """Figures that are counted again when that takes no more than a twentieth of the time: an allocation of a million
    runs has a row for each of them. For many threads.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._turn = threading.Lock()
        self._figures: Figures | None = None
        self._again_at = 0.0

    def of(self, database: Database) -> Figures:
        """Those of a store."""
        with self._turn:  # who comes meanwhile is told what is just counted
            began = self._monotonic()
            if self._figures is None or began >= self._again_at:
                self._figures = figures(database)
                ended = self._monotonic()
                self._again_at = ended + _REST * (ended - began)
            return self._figures


def figures(database: Database) -> Figures:
    """As the store has it now."""
    now = time.time()
    with database.read() as connection:
        tasks = {(row.site, row.state): int(row.tasks) for row in active_tasks(connection)}
        rows = recent_allocations(connection, now - RECENT_S)
        of_sites = account(iter_shares(connection, since=now - RECENT_S), [AccountBy.SITE], now, whole=True)
    waits: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.started_at is not None:
            waits[row.site].append(max(0.0, row.started_at - row.created_at))
    live = Counter((row.site, row.state) for row in rows if row.state != AllocationState.ENDED)
    use = {line.name: line.used_core_s / line.paid_core_s for line in of_sites.by[AccountBy.SITE] if line.paid_core_s}
    return Figures(tasks, dict(live), {site: _quantiles(some) for site, some in waits.items()}, use)


def _quantiles(some: Sequence[float]) -> tuple[float, float, float]:
    if len(some) == 1:
        return some[0], some[0], some[0]
    tenths = quantiles(some, n=10, method="inclusive")
    return tenths[4], tenths[8], max(some)
