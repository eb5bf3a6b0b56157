"""One site's part of the engine: journals are read, tasks placed, jobs watched."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from packhorse.domain.config import EstimatesConfig
from packhorse.domain.states import AllocationState
from packhorse.engine.appfolders import AppFolders
from packhorse.engine.change import Change
from packhorse.engine.collecting.collect import Collector
from packhorse.engine.collecting.reading import JournalReader
from packhorse.engine.growing import Growing
from packhorse.engine.heartbeats import Heartbeats
from packhorse.engine.loop import IDLE_S, AtSite, LoopOfSite
from packhorse.engine.placing.blocks import Blocks
from packhorse.engine.placing.demands import Demands
from packhorse.engine.placing.dispatch import Dispatcher
from packhorse.engine.placing.needs import Needs
from packhorse.engine.sealing import Seal
from packhorse.engine.sizing.sizing import Sizing
from packhorse.engine.steps.cache import Steps
from packhorse.engine.watch import Watcher
from packhorse.estimate.durations import Durations
from packhorse.sites.schedulers.pace import Pace
from packhorse.store.allocations import live_allocations
from packhorse.store.asked import AskedOfSite, asked_of_site
from packhorse.store.demands import recount
from packhorse.store.holds import settle_holds

# between two looks at a store that this process has not written to: other processes write to it, and back-offs end
_LOOK_S = 0.5

_log = structlog.get_logger("packhorse.engine")


class SiteLoop(LoopOfSite):
    """Drives one site. A tick that finds nothing new in the journals, and a store as it was, asks the store nothing."""

    wakes_for = Change.TASKS

    def __init__(
        self,
        at: AtSite,
        weights: Mapping[str, float],
        folders: AppFolders,
        seal: Seal,
        estimates: EstimatesConfig,
    ) -> None:
        super().__init__(at)
        site, database, lease, clock = at.site, at.database, at.lease, at.clock
        steps, durations = Steps(), Durations()
        sizing = Sizing(site, steps, estimates)
        collector = Collector(site, steps, durations, sizing)
        needs = Needs(site, folders, steps)
        self._blocks = Blocks(site, database, lease, steps, collector, clock, seal)
        demands = Demands(site.name, steps, durations, needs, sizing.sizer)
        self._dispatcher = Dispatcher(site, database, lease, steps, demands, self._blocks, clock, weights, needs)
        self._reader = JournalReader(site, database, lease, collector, clock)
        self._growing = Growing(site, database, lease, steps, clock)
        self._watcher = Watcher(site, database, lease, collector, self._reader, clock)
        self._heartbeats = Heartbeats(clock)
        self._pace = Pace(*site.poll_s)
        self._allocations: Sequence[Any] = ()
        self._asked = AskedOfSite(cancels=True, grows=True)
        self._seen_writes = -1
        self._look_at = 0.0
        self._goes_on = False  # what the last step did may let the next one do more
        self.after_end: Callable[[], None] = lambda: None  # called when journals have told something

    def recover(self) -> None:
        """Blocks that were planned and not written; steps that an older engine did not understand; counts."""
        self._reader.forget()
        with self._lease.write() as connection:
            settle_holds(connection, self._site.name)
            off = recount(connection, self._site.name)
        if off:
            _log.error("demands_recounted", site=self._site.name, demands=off)
        self._blocks.recover()
        self._seen_writes = -1

    def tick(self, monotonic: float) -> bool:
        """One step; whether anything moved."""
        writes = self._database.writes_of_others()
        changed = self._goes_on or writes != self._seen_writes or monotonic >= self._look_at
        if changed:
            self._see()
        # nothing is placed where an allocation is on its way out, so that what it still says can wait
        is_late = changed and all(row.state == AllocationState.CLOSING for row in self._allocations)
        collected = not is_late and self._collect()
        if not (changed or collected or self._heartbeats.any_silent()):
            return False
        self._goes_on = True  # unless the step ends well, and finds that all is as it should be
        moved = self._take_step(monotonic)
        if moved:
            self._notifier.notify()
        if is_late:
            collected = self._collect()
        self._seen_writes, self._look_at = writes, monotonic + _LOOK_S
        return moved or collected

    def _see(self) -> None:
        with self._database.read() as connection:
            self._allocations = live_allocations(connection, self._site.name)
            self._asked = asked_of_site(connection, self._site.name)

    def _collect(self) -> bool:
        """Reads on in the journals; whether they have told something, which others then know."""
        collected = self._reader.look(self._allocations, self._heartbeats)
        if collected:
            self._notifier.notify()
            self._see()
            self.after_end()
        return collected

    def _take_step(self, monotonic: float) -> bool:
        """Does what the store and the scheduler ask for; whether anything moved but journals."""
        watcher = self._watcher
        moved = bool(watcher.cancel(self._asked.cancels))
        moved |= self._asked.grows and self._growing.go_on()
        plan = self._dispatcher.plan()
        allocations = self._allocations = plan.live
        self._dispatcher.carry_out(plan)
        closing = any(row.state == AllocationState.CLOSING for row in allocations)
        if plan.unsubmitted or closing or self._heartbeats.any_silent():
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
        self._goes_on = moved or bool(plan.unsubmitted) or plan.goes_on
        if plan.has_demand:
            self.soon_s = 0.0 if plan.guesses else math.inf
        else:
            self.soon_s = watcher.ends_in_s(allocations)
        return moved

    def idle_s(self) -> float:
        """Where journals can be looked at for next to nothing, what follows from a task's end does not wait."""
        return self._reader.rest_s if self._allocations else IDLE_S

    def leave(self) -> None:
        """Nobody will feed agents that are idle, and jobs that wait for nothing."""
        self._watcher.retire()
        self._watcher.let_agents_stop()
