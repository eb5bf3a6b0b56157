"""Brings the data that tasks name by URL to a site: each URL once, whoever waits for it, and fails those who wait in
vain.

The store says how far each is. Bytes that came before an engine died are there for the next one, which goes on where it
stopped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import structlog

from packhorse.domain.config import DataConfig
from packhorse.domain.failures import FailureClass
from packhorse.domain.states import DataState, TaskState
from packhorse.engine.clock import Clock
from packhorse.engine.data.deliveries import Deliveries
from packhorse.engine.lease import Lease
from packhorse.engine.loop import Loop
from packhorse.engine.notifier import Notifier
from packhorse.sites import cache
from packhorse.sites.site import Site
from packhorse.staging import data as machine
from packhorse.staging.data import Fetch, advance
from packhorse.store import data as stored
from packhorse.store.database import Database
from packhorse.store.moves import Move, apply_moves, lock_tasks

if TYPE_CHECKING:
    from packhorse.engine.data.datajob import Carrier
    from packhorse.engine.data.job import Brought, Job

_AT_ONCE = 4
_LOOK_S = 0.5  # between two looks at a store that this process has not written to, as in ``siteloop``
_NOTE_S = 1.0  # between two notes of how far a fetch is
_LEAVE_S = 5.0

_log = structlog.get_logger("packhorse.data")


class DataLoop(Loop):
    """Drives the data of one site. ``given`` is called when tasks have got what they waited for."""

    def __init__(
        self,
        site: Site,
        database: Database,
        lease: Lease,
        clock: Clock,
        notifier: Notifier,
        tell: threading.Event,
        config: DataConfig,
        folder: Path,
        given: Callable[[], None],
    ) -> None:
        super().__init__(f"{site.name} data", clock, tell)
        self._site = site
        self._database = database
        self._lease = lease
        self._notifier = notifier
        self._config = config
        self._folder = folder
        self._given = given
        self._jobs: dict[int, Job] = {}
        self._noted: dict[int, float] = {}  # monotonic
        self._made: Carrier | None = None
        self._seen_writes = -1
        self._look_at = 0.0
        self._deliveries = Deliveries(site, database, lease, clock, self._wake, folder)

    def tick(self, monotonic: float) -> bool:
        """One step; whether anything moved. Nothing is asked of a store that is as it was, while nothing is on its
        way."""
        writes = self._database.writes_of_others()
        is_busy = bool(self._jobs) or self._deliveries.is_busy
        if not is_busy and writes == self._seen_writes and monotonic < self._look_at:
            return False
        with self._database.read() as connection:
            rows = stored.open_data(connection, self._site.name)
        moved = self._deliveries.tick(self._carrier)
        for row in rows:
            job = self._jobs.get(row.id)
            if job is not None and job.over.is_set():
                self._settle(row, job)
                moved = True
            elif job is not None:
                self._watch(row, job, monotonic)
            elif not row.is_wanted:
                self._save(row.id, machine.Unwanted())
            elif len(self._jobs) < _AT_ONCE and self._is_due(row):
                self._begin(row)
                moved = True
        # what moved may let more move
        self._seen_writes, self._look_at = -1 if moved else writes, monotonic + _LOOK_S
        if moved:
            self._notifier.notify()
        return moved

    def leave(self) -> None:
        """Stops what is under way; its bytes stay for the next engine."""
        for job in self._jobs.values():
            job.stop.set()
        for job in self._jobs.values():
            job.over.wait(_LEAVE_S)
        self._jobs.clear()

    def _is_due(self, row: Any) -> bool:
        """A back-off that ends far away was set by a clock that has jumped since: it is over."""
        now = self._clock.now()
        return bool(row.not_before <= now or row.not_before > now + 2 * machine.MAX_BACKOFF_S)

    def _begin(self, row: Any) -> None:
        from packhorse.engine.data.job import Job, Known

        known = None
        if row.sha256 is not None and row.path is not None:
            with self._database.read() as connection:
                if stored.is_cached(connection, self._site.name, row.sha256):
                    known = Known(row.etag, row.last_modified, row.size, row.sha256, row.path)
        # under way in the store, and no job of ours: an engine died over it
        self._save(row.id, machine.Interrupted(), machine.Begun())
        job = self._jobs[row.id] = Job(row.id, row.url, row.version, known)
        self._carrier().start(job, self._wake)

    def _carrier(self) -> Carrier:
        if self._made is None:
            from packhorse.engine.data.datajob import Carrier  # slow to import, and most runs name no URL

            self._made = Carrier(self._site, self._config, self._folder)
        return self._made

    def _watch(self, row: Any, job: Job, monotonic: float) -> None:
        if not row.is_wanted:
            job.unwanted = True
            job.stop.set()
        elif monotonic >= self._noted.get(row.id, 0.0) + _NOTE_S:
            self._noted[row.id] = monotonic
            state = DataState.VERIFYING if job.complete else DataState.FETCHING
            if (row.state, row.bytes_done, row.size) != (state, job.bytes_done, job.size):
                self._save(row.id, *_progress(job), size=job.size)

    def _settle(self, row: Any, job: Job) -> None:
        """What came of a job."""
        del self._jobs[row.id]
        self._noted.pop(row.id, None)
        if job.brought is not None:
            self._ready(row, job, job.brought)
        elif job.failed is not None:
            _log.warning(
                "not_fetched", site=self._site.name, url=row.url, trouble=job.failed.trouble, reason=job.failed.message
            )
            failed = machine.Failed(job.failed.trouble, job.failed.message, job.failed.after_s)
            fetch = self._save(row.id, *_progress(job), failed, size=job.size)
            if fetch.state is DataState.FAILED:
                self._carrier().clean(row.id)
        else:
            self._save(row.id, machine.Interrupted(), *([] if row.is_wanted else [machine.Unwanted()]))

    def _ready(self, row: Any, job: Job, brought: Brought) -> None:
        now = self._clock.now()
        source = brought.source
        values: dict[str, Any] = {
            "etag": source.etag,
            "last_modified": source.last_modified,
            "sha256": brought.sha256,
            "path": brought.path,
        }
        if brought.fetched is not None:
            sums = brought.fetched
            values |= {"size": sums.size, "crc64nvme": sums.crc64nvme, "md5": sums.md5, "fetched_at": now}
        with self._lease.write() as connection:
            self._apply(connection, row.id, [*_progress(job), machine.Stored()], values)
            stored.remember_cached(connection, self._site.name, brought.sha256, brought.kept_bytes, now)
            stored.give_data(connection, row.id, brought.sha256, brought.path)
        _log.info(
            "ready", site=self._site.name, url=row.url, sha256=brought.sha256, fetched=brought.fetched is not None
        )
        self._carrier().forget(brought.sha256)
        self._carrier().clean(row.id)
        self._given()
        if self._site.data_quota_bytes is not None:
            self._make_room(self._site.data_quota_bytes)

    def _save(self, data_id: int, *events: machine.Event, **values: Any) -> Fetch:
        """Moves a row on; where that is its end without success, so is it of those who wait for it."""
        with self._lease.write() as connection:
            return self._apply(connection, data_id, list(events), values)

    def _apply(
        self, connection: sa.Connection, data_id: int, events: list[machine.Event], values: dict[str, Any]
    ) -> Fetch:
        row = stored.lock_data(connection, data_id)
        here = {field.name: getattr(row, field.name) for field in fields(Fetch)}
        fetch = before = Fetch(**{**here, "state": DataState(row.state)})
        for event in events:
            if isinstance(event, machine.Unwanted) and stored.is_awaited(connection, data_id):
                continue  # somebody has come since we looked
            fetch = advance(fetch, event, self._clock.now())
        stored.update_data(connection, data_id, **asdict(fetch), **values)
        if fetch.state is DataState.FAILED and before.state is not DataState.FAILED:
            self._fail_tasks(connection, row, fetch.error or "")
        return fetch

    def _fail_tasks(self, connection: sa.Connection, row: Any, error: str) -> None:
        now = self._clock.now()
        why = f"{row.url} could not be brought to '{self._site.name}': {error}"
        end = {"failure": FailureClass.STAGING, "reason": why, "ended_at": now}
        current = lock_tasks(connection, stored.waiting_tasks(connection, row.id))
        apply_moves(connection, [Move(task, TaskState.SYSTEM_ERROR, now, why, dict(end)) for task in current], current)

    def _make_room(self, quota_bytes: int) -> None:
        """The least recently used leave, until the rest fits; never what an active task has, or what is just coming."""
        with self._database.read() as connection:
            too_much = stored.cached_bytes(connection, self._site.name) - quota_bytes
            unused = stored.least_used(connection, self._site.name) if too_much > 0 else []
        for content in unused:
            if too_much <= 0:
                return
            if self._carrier().begin_to_drop(content.sha256):
                try:
                    too_much -= self._drop(content)
                finally:
                    self._carrier().forget(content.sha256)

    def _drop(self, content: Any) -> int:
        """Removes content from the cache, unless an active task has it; returns the bytes that are free now."""
        with self._lease.write() as connection:
            gone = stored.forget_cached(connection, self._site.name, content.sha256)
        if not gone:
            return 0
        cache.drop(self._site, content.sha256)
        _log.info("evicted", site=self._site.name, sha256=content.sha256, bytes=content.size)
        return int(content.size)


def _progress(job: Job) -> list[machine.Event]:
    return [machine.Came(job.bytes_done), *([machine.Complete()] if job.complete else [])]
