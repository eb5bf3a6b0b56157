"""The engine: compares what the store says should be with what the sites say is, and takes the next step.

It may be killed at any instant: it holds nothing that it cannot read back.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import structlog

from packhorse.domain.backoff import BackOff
from packhorse.domain.config import DataConfig, EstimatesConfig, ImagesConfig
from packhorse.domain.errors import Conflict, Unavailable
from packhorse.engine.appfolders import AppFolders
from packhorse.engine.change import Change
from packhorse.engine.clock import Clock, SystemClock
from packhorse.engine.lease import Lease
from packhorse.engine.loop import TROUBLE_S, AtSite, Loop
from packhorse.engine.notifier import Notifier
from packhorse.engine.sealing import Seal
from packhorse.engine.siteloop import SiteLoop
from packhorse.engine.unfinished import forget_tokens_of_ended, remove_unfinished
from packhorse.http.reach import Reach
from packhorse.sites.site import Site
from packhorse.store.database import Database
from packhorse.store.records import Kept, prune_history

_HEAD_START_S = 0.1  # for the first look at tasks that wait, before others take its thread's time
_LOOK_S = 0.5  # between two looks whether we may lead, or still do
_SWEEP_S = 60.0  # between two looks for what was begun and never finished
_PRUNE_S = 3600.0  # between two looks for history that is more than is kept

_log = structlog.get_logger("packhorse.engine")


class Engine:
    """Drives all sites of one store while it holds the lease, each in a thread of its own: one that does not answer
    holds up no other.
    """

    def __init__(
        self,
        database: Database,
        sites: Sequence[Site],
        clock: Clock | None = None,
        notifier: Notifier | None = None,
        images: ImagesConfig | None = None,
        data: DataConfig | None = None,
        home: Path | None = None,
        weights: Mapping[str, float] | None = None,
        reach: Reach | None = None,
        seal: Seal | None = None,
        estimates: EstimatesConfig | None = None,
    ) -> None:
        """``weights`` are users' parts of what there is, 1 where none is given. ``reach`` is where their URLs and
        images may lead; None is anywhere.

        ``home`` is for data on its way to sites that have not this machine's files; without it, a temporary folder.
        """
        self._database, self._lease = database, Lease(database)
        self._stop = threading.Event()
        self._look = threading.Event()
        self._estimates = estimates or EstimatesConfig()
        clock, notifier = clock or SystemClock(), notifier or Notifier()
        self._clock = clock
        own = (home or Path(tempfile.gettempdir()) / f"packhorse-{os.getuid()}") / "fetching"
        seal = seal or Seal(own.parent / "seal.key")
        self._sites = sites
        self._notifier, self._seal, self._reach = notifier, seal, reach
        self._data, self._images, self._own = data or DataConfig(), images or ImagesConfig(), own
        self._folders = {site.name: AppFolders() for site in sites}
        self._placing = {
            site.name: SiteLoop(self._at(site), weights or {}, self._folders[site.name], seal, self._estimates)
            for site in sites
        }
        self._others: Sequence[Loop] = ()
        self.leading = threading.Event()

    @property
    def _loops(self) -> list[Loop]:
        return [*self._placing.values(), *self._others]

    def _at(self, site: Site) -> AtSite:
        return AtSite(site, self._database, self._lease, self._clock, self._notifier, self._look)

    def _make_others(self) -> list[Loop]:
        """The loops beside those that place tasks. To import them takes as long as an agent's start."""
        import packhorse.engine.collecting.effects  # noqa: F401  what agents tell needs it
        from packhorse.engine.data.dataloop import DataLoop
        from packhorse.engine.reuse.reuseloop import ReuseLoop
        from packhorse.engine.webhooks.webhookloop import WebhookLoop

        made: list[Loop] = []
        by_name = {site.name: site for site in self._sites}
        for site in self._sites:
            work, at = self._placing[site.name], self._at(site)
            reuse = ReuseLoop(at, work.wake)
            work.after_end = reuse.wake_if_busy
            given = partial(_wake_all, work.wake, reuse.wake_if_busy)
            folder, folders = self._own / site.name, self._folders[site.name]
            made += [reuse, DataLoop(at, self._data, folder, given, folders, by_name, self._reach)]
            if site.runs_images:
                from packhorse.engine.images.imageloop import ImageLoop  # slow to import, and most do without

                made.append(ImageLoop(at, self._images, given, self._reach))
        return [*made, WebhookLoop(self._database, self._clock, self._look, self._seal, self._reach)]

    def wake(self, change: Change = Change.ANY, sites: Collection[str] | None = None) -> None:
        """Something was submitted or canceled: those whom it concerns do not wait for their next tick. ``sites``: where
        that was; None: it may be any.
        """
        for loop in self._loops:
            if loop.wakes_for & change and (sites is None or loop.site in sites):
                loop.wake()

    def stop(self) -> None:
        """Ends ``run`` after the current steps. Agents go on with what they have."""
        self._stop.set()
        self._look.set()

    def run(self) -> None:
        """Works until ``stop``. While another engine leads, waits; while the database is away, tries again."""
        trouble = BackOff(*TROUBLE_S)
        while not self._stop.is_set():
            try:
                if self._lease.try_take():
                    self._lead()
                else:
                    self._pause(_LOOK_S)
                trouble.succeeded()
            except (Unavailable, OSError) as error:
                retry_s = trouble.failed(self._clock.monotonic())
                _log.warning("waiting", reason=str(error), retry_s=retry_s)
                self._pause(retry_s)

    def _lead(self) -> None:
        """Runs the loops until we are to stop, or another engine has taken over."""
        self.leading.set()
        ending = threading.Event()
        threads: list[threading.Thread] = []
        superseded = False
        sweep = self._sweep()
        try:
            self._start_loops(threads, ending)
            while not self._stop.is_set() and not superseded:
                superseded = any(loop.superseded for loop in self._loops) or not self._keep()
                if not superseded:
                    next(sweep)
                    self._pause(_LOOK_S)
        finally:
            ending.set()
            for loop in self._loops:
                loop.end()
            for thread in threads:
                thread.join()
            self.leading.clear()
        if superseded:
            self._lease.epoch = None
        else:
            self._leave()

    def _start_loops(self, threads: list[threading.Thread], ending: threading.Event) -> None:
        """Those that place tasks first: an agent starts while the others are made and have their first look."""
        for loop in self._placing.values():
            threads.append(_started(loop, ending))
        give_up = time.monotonic() + _HEAD_START_S
        for loop in self._placing.values():
            loop.begun.wait(max(0.0, give_up - time.monotonic()))
        self._others = self._others or self._make_others()
        for other in self._others:
            threads.append(_started(other, ending))

    def _keep(self) -> bool:
        """Keeps the lease alive; False when it is another's."""
        try:
            self._lease.keep()
        except Conflict as error:
            _log.warning("superseded", reason=str(error))
            return False
        except (Unavailable, OSError) as error:
            _log.warning("lease_not_kept", reason=str(error))
        return True

    def _sweep(self) -> Iterator[None]:
        """Never ends: removes what was begun and never finished, a piece at each step, so that the lease is kept."""
        prune_at = self._clock.monotonic() + _SWEEP_S
        while True:
            try:
                yield from remove_unfinished(self._database)
                yield from forget_tokens_of_ended(self._database)
                if self._clock.monotonic() >= prune_at:
                    prune_at = self._clock.monotonic() + _PRUNE_S
                    yield from self._prune()
            except (Unavailable, OSError) as error:
                _log.warning("not_swept", reason=str(error))
            again = self._clock.monotonic() + _SWEEP_S
            while self._clock.monotonic() < again:
                yield

    def _prune(self) -> Iterator[None]:
        """Removes history that is more than is kept, a piece at each step."""
        config = self._estimates
        kept = Kept(config.keep_rows_of_user, config.keep_rows, config.keep_days * 86400)
        more = True
        while more:
            with self._database.write() as connection:
                more = prune_history(connection, kept, self._clock.now()) > 0
            yield

    def _leave(self) -> None:
        try:
            self._lease.release()
        except (Unavailable, OSError) as error:
            _log.warning("lease_not_released", reason=str(error))

    def _pause(self, seconds: float) -> None:
        self._look.wait(seconds)
        if not self._stop.is_set():
            self._look.clear()


def _started(loop: Loop, ending: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=loop.run, args=(ending,), name=loop.name, daemon=True)
    thread.start()
    return thread


def _wake_all(*wake: Callable[[], None]) -> None:
    for one in wake:
        one()
