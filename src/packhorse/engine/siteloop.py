"""One site's part of the engine: journals are read, tasks placed, jobs watched."""

from __future__ import annotations

import threading

from packhorse.domain.states import AllocationState
from packhorse.engine.clock import Clock
from packhorse.engine.collecting.collect import Collector
from packhorse.engine.heartbeats import Heartbeats
from packhorse.engine.lease import Lease
from packhorse.engine.loop import Loop
from packhorse.engine.placing.dispatch import Dispatcher
from packhorse.engine.pulse import Pulse
from packhorse.engine.specs import Specs
from packhorse.engine.watch import Watcher
from packhorse.estimate.durations import Durations
from packhorse.sites.schedulers.pace import Pace
from packhorse.sites.site import Site
from packhorse.store.database import Database


class SiteLoop(Loop):
    """Drives one site."""

    def __init__(self, site: Site, database: Database, lease: Lease, clock: Clock, pulse: Pulse, tell: threading.Event) -> None:
        super().__init__(site.name, clock, tell)
        self._pulse = pulse
        specs, durations = Specs(), Durations()
        collector = Collector(site, specs, durations)
        self._dispatcher = Dispatcher(site, database, lease, specs, durations, collector, clock)
        self._watcher = Watcher(site, database, lease, collector, clock)
        self._heartbeats = Heartbeats(site, clock)
        self._pace = Pace(*site.poll_s)

    def recover(self) -> None:
        """Blocks that were planned and not written."""
        self._dispatcher.recover()

    def tick(self, monotonic: float) -> bool:
        """One step; whether anything moved."""
        watcher = self._watcher
        moved = False
        allocations = watcher.live()
        for allocation in allocations:
            moved |= bool(watcher.collect(allocation))
        moved |= bool(watcher.cancel())
        plan = self._dispatcher.plan()
        self._dispatcher.carry_out(plan)
        closing = any(row.state == AllocationState.CLOSING for row in allocations)
        if plan.unsubmitted or closing or self._heartbeats.any_silent(allocations):
            self._pace.hurry()
        if not plan.has_demand and any(row.started_at is None for row in allocations):
            if watcher.reclaim():
                moved = True
            elif watcher.retire():
                self._pace.hurry()
        if allocations and self._pace.is_due(monotonic):
            changed = watcher.poll(watcher.live())
            self._pace.asked(monotonic, changed=changed)
            moved |= changed
        moved |= bool(plan.blocks)
        if moved:
            self._pulse.beat()
        return moved

    def leave(self) -> None:
        """Nobody will feed agents that are idle, and jobs that wait for nothing."""
        self._watcher.retire()
        self._watcher.let_agents_stop()
