"""The engine: compares what the store says should be with what the sites say is, and takes the next step.

It may be killed at any instant: it holds nothing that it cannot read back.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog

from packhorse.domain.errors import Conflict, Unavailable
from packhorse.engine.clock import Clock, SystemClock
from packhorse.engine.collect import Collector
from packhorse.engine.dispatch import Dispatcher
from packhorse.engine.lease import Lease
from packhorse.engine.specs import Specs
from packhorse.engine.watch import Watcher
from packhorse.estimate.durations import Durations
from packhorse.sites.site import Site
from packhorse.store.database import Database

_TICK_S = 0.02  # while things move
_IDLE_S = 0.5  # when nothing does; a submission in this process wakes us at once
_SLOWER = 1.3
_POLL_S = 0.25  # between two questions to the scheduler
_TROUBLE_S = (0.2, 5.0)  # back-off while the database or a site is away

_log = structlog.get_logger("packhorse.engine")


class Engine:
    """Drives all sites of one store, while it holds the lease."""

    def __init__(self, database: Database, sites: Sequence[Site], clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        self._lease = Lease(database)
        self._specs = Specs()
        self._durations = Durations()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._sites = [_SiteLoop(site, self) for site in sites]
        self.leading = threading.Event()

    def wake(self) -> None:
        """Something was submitted or canceled: do not wait for the next tick."""
        self._wake.set()

    def stop(self) -> None:
        """Ends ``run`` after its current step. Agents go on with what they have."""
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        """Works until ``stop``. While another engine leads, waits; while the database is away, tries again."""
        trouble_s = _TROUBLE_S[0]
        while not self._stop.is_set():
            try:
                if self._lease.epoch is None and not self._lead():
                    self._pause(0.5)
                    continue
                self._work()
                trouble_s = _TROUBLE_S[0]
            except Conflict as error:
                _log.warning("superseded", reason=str(error))
                self._lease.epoch = None
            except (Unavailable, OSError) as error:
                _log.warning("waiting", reason=str(error), retry_s=trouble_s)
                self._pause(trouble_s)
                trouble_s = min(_TROUBLE_S[1], trouble_s * 2)
            except Exception:  # a bug of ours must not end the night's work: say it loudly, and go on
                _log.exception("engine_failed", retry_s=trouble_s)
                self._pause(trouble_s)
                trouble_s = min(_TROUBLE_S[1], trouble_s * 2)
        self.leading.clear()
        try:
            if self._lease.epoch is not None:
                self._leave()
        except (Unavailable, OSError) as error:
            _log.warning("lease_not_released", reason=str(error))

    def _lead(self) -> bool:
        if not self._lease.try_take():
            return False
        self.leading.set()
        return True

    def _leave(self) -> None:
        for site in self._sites:
            site.watcher.let_agents_stop()
        self._lease.release()

    def _work(self) -> None:
        """Ticks, quickly while things move and ever more slowly while they do not. Begins with what an interrupted step left undone."""
        for site in self._sites:
            site.dispatcher.recover()
        pause_s = _TICK_S
        while not self._stop.is_set():
            moved = [site.tick(self._clock.monotonic()) for site in self._sites]
            self._lease.keep()
            pause_s = _TICK_S if any(moved) else min(_IDLE_S, pause_s * _SLOWER)
            if self._pause(pause_s):
                pause_s = _TICK_S

    def _pause(self, seconds: float) -> bool:
        """Waits; True when woken."""
        woken = self._wake.wait(seconds)
        self._wake.clear()
        return woken

    def site_loop_parts(self, site: Site) -> tuple[Dispatcher, Watcher]:
        """The two hands of the engine at a site."""
        collector = Collector(site, self._specs, self._durations)
        dispatcher = Dispatcher(site, self._database, self._lease, self._specs, self._durations, collector, self._clock)
        return dispatcher, Watcher(site, self._database, self._lease, collector, self._clock)


class _SiteLoop:
    """One tick at one site."""

    def __init__(self, site: Site, engine: Engine) -> None:
        self.dispatcher, self.watcher = engine.site_loop_parts(site)
        self._polled_at = float("-inf")

    def tick(self, monotonic: float) -> bool:
        """One step; whether anything moved."""
        moved = False
        allocations = self.watcher.live()
        for allocation in allocations:
            moved |= bool(self.watcher.collect(allocation))
        moved |= bool(self.watcher.cancel())
        blocks = self.dispatcher.plan()
        self.dispatcher.carry_out(blocks)
        if allocations and monotonic - self._polled_at >= _POLL_S:
            self.watcher.poll(self.watcher.live())
            self._polled_at = monotonic
        return moved or bool(blocks)
