"""Brings what tasks need to a site: data that they name by URL, and what is on this machine. Each once, whoever waits
for it; and fails those who wait in vain.

The store says how far each is. Bytes that came before an engine died are there for the next one, which goes on where it
stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import structlog

from packhorse.domain.config import DataConfig
from packhorse.domain.failures import FailureClass
from packhorse.domain.states import DataState, TaskState
from packhorse.engine.appfolders import AppFolders
from packhorse.engine.change import Change
from packhorse.engine.data.deliveries import Deliveries
from packhorse.engine.data.gone import Gone
from packhorse.engine.data.job import Brought, Job, Known, start
from packhorse.engine.data.keeping import Keeping
from packhorse.engine.data.leftovers import Leftovers
from packhorse.engine.data.outputcopy import OutputCopy
from packhorse.engine.data.uploads import Uploads, is_of_this_machine
from packhorse.engine.loop import AtSite, LoopOfSite
from packhorse.http.reach import Reach
from packhorse.sites import cache
from packhorse.sites.site import Site
from packhorse.staging import data as machine
from packhorse.staging.data import Fetch, Trouble, advance, subject
from packhorse.store import data as stored
from packhorse.store.data import DataKey
from packhorse.store.moves import Move, apply_moves, lock_tasks
from packhorse.store.stepdata import forget_need, give_to_steps, queued_between, steps_in_vain

if TYPE_CHECKING:
    from packhorse.engine.data.datajob import Carrier

_AT_ONCE = 4  # of each kind
_LOOK_S = 0.5  # between two looks at a store that this process has not written to, as in ``siteloop``
_NOTE_S = 1.0  # between two notes of how far a fetch is
_LEAVE_S = 5.0
_TASKS_AT_ONCE = 1000

_log = structlog.get_logger("packhorse.data")


class DataLoop(LoopOfSite):
    """Drives the data of one site. ``given`` is called when tasks have got what they waited for; ``sites`` are all, by
    name.
    """

    wakes_for = Change.DATA

    def __init__(
        self,
        at: AtSite,
        config: DataConfig,
        folder: Path,
        given: Callable[[], None],
        folders: AppFolders,
        sites: Mapping[str, Site],
        reach: Reach | None = None,
    ) -> None:
        super().__init__(at, "data")
        self._config = config
        self._reach = reach
        self._folder = folder
        self._given = given
        self._folders = folders
        folders.wake = self.wake
        self._keeping = Keeping()
        own = (at.site, at.database, at.lease)
        self._uploads = Uploads(at.site, at.database, self._keeping, OutputCopy(at.site, sites))
        self._leftovers, self._gone = Leftovers(*own), Gone(*own)
        self._jobs: dict[int, Job] = {}
        self._looks: dict[DataKey, Job] = {}  # at folders of apps that were there
        self._noted: dict[int, float] = {}  # monotonic
        self._are_some_in_vain = True
        self._made: Carrier | None = None
        self._seen_writes = -1
        self._look_at = 0.0
        self._deliveries = Deliveries(*own, at.clock, self._wake, folder)

    def recover(self) -> None:
        """What is at the site is looked at again; who waits in vain may not have been told."""
        self._folders.forget()
        self._looks.clear()
        self._are_some_in_vain = True
        self._seen_writes = -1

    def tick(self, monotonic: float) -> bool:
        """One step; whether anything moved. Nothing is asked of a store that is as it was, while nothing is on its
        way."""
        self._look_at_folders()
        writes = self._database.writes_of_others()
        is_busy = bool(self._jobs) or self._deliveries.is_busy
        if not is_busy and writes == self._seen_writes and monotonic < self._look_at:
            return False
        moved = self._deliveries.tick(self._carrier)
        for row in self._rows():
            job = self._jobs.get(row.id)
            if job is not None and job.over.is_set():
                self._settle(row, job)
                moved = True
            elif job is not None:
                self._watch(row, job, monotonic)
            elif not row.is_wanted:
                self._save(row.id, machine.Unwanted())
                moved = True
            else:
                self._begin(row, monotonic)
                moved = True
        if self._are_some_in_vain:
            moved |= self._end_in_vain()
        self._leftovers.tick(monotonic)
        self._gone.tick(monotonic)
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

    def _rows(self) -> Sequence[Any]:
        """What is under way, and what is to be begun."""
        now = self._clock.now()
        under_way = Counter(stored.kind_of(job.url) for job in self._jobs.values())
        room = {kind: _AT_ONCE - under_way[kind] for kind in stored.KINDS}
        latest = now + 2 * machine.MAX_BACKOFF_S
        with self._database.read() as connection:
            return stored.open_data(connection, self._site.name, self._jobs.keys(), room, now, latest)

    def _look_at_folders(self) -> None:
        """Looks again at the folders of apps that are in use; one that is damaged, or gone, is brought again."""
        for key in self._folders.to_look_at() - self._looks.keys():
            job = self._looks[key] = Job(0, key.url, key.version)
            start(self._site, job, self._uploads.bring, self._wake)
        for key, job in list(self._looks.items()):
            if not job.over.is_set():
                continue
            del self._looks[key]
            if job.failed is None or job.failed.trouble is Trouble.SITE:
                self._folders.came(key)  # as far as is known
            else:
                self._folders.gone(key)
                _log.warning("app_folder_lost", site=self._site.name, app=key.url, reason=job.failed.message)

    def _begin(self, row: Any, monotonic: float) -> None:
        known = None
        if row.sha256 is not None and row.path is not None:
            with self._database.read() as connection:
                if stored.is_cached(connection, self._site.name, row.sha256):
                    known = Known(row.etag, row.last_modified, row.size, row.sha256, row.path)
        job = self._jobs[row.id] = Job(row.id, row.url, row.version, known)
        if is_of_this_machine(row.url):
            # most is there in a moment: that it is under way is noted if it takes longer
            self._noted[row.id] = monotonic
            job.is_again = row.state != DataState.QUEUED or row.error is not None
            start(self._site, job, self._uploads.bring, self._wake)
            return
        # under way in the store, and no job of ours: an engine died over it
        self._save(row.id, machine.Interrupted(), machine.Begun())
        start(self._site, job, self._carrier().bring, self._wake)

    def _carrier(self) -> Carrier:
        if self._made is None:
            from packhorse.engine.data.datajob import Carrier  # slow to import, and most runs name no URL

            self._made = Carrier(self._site, self._config, self._folder, self._keeping, self._reach)
        return self._made

    def _watch(self, row: Any, job: Job, monotonic: float) -> None:
        if not row.is_wanted:
            job.unwanted = True
            job.stop.set()
        elif monotonic >= self._noted.get(row.id, 0.0) + _NOTE_S:
            self._noted[row.id] = monotonic
            job.is_again = row.state != DataState.QUEUED or row.error is not None
            state = DataState.VERIFYING if job.complete else DataState.FETCHING
            if (row.state, row.bytes_done, row.size) != (state, job.bytes_done, job.size):
                self._save(row.id, machine.Begun(), *_progress(job), size=job.size)

    def _settle(self, row: Any, job: Job) -> None:
        """What came of a job."""
        del self._jobs[row.id]
        self._noted.pop(row.id, None)
        if job.brought is not None:
            self._ready(row, job, job.brought)
        elif job.failed is not None:
            _log.warning(
                "not_brought", site=self._site.name, url=row.url, trouble=job.failed.trouble, reason=job.failed.message
            )
            failed = machine.Failed(job.failed.trouble, job.failed.message, job.failed.after_s)
            fetch = self._save(row.id, machine.Begun(), *_progress(job), failed, size=job.size)
            if fetch.state is DataState.FAILED:
                self._clean(row)
        else:
            self._save(row.id, machine.Interrupted(), *([] if row.is_wanted else [machine.Unwanted()]))

    def _ready(self, row: Any, job: Job, brought: Brought) -> None:
        now = self._clock.now()
        sha256, path, fetched = brought.sha256, brought.path, brought.fetched
        values: dict[str, Any] = {
            "etag": brought.etag,
            "last_modified": brought.last_modified,
            "sha256": sha256,
            "path": path,
        }
        if fetched is not None:
            values |= {"size": fetched.size, "crc64nvme": fetched.crc64nvme, "md5": fetched.md5, "fetched_at": now}
        is_app = row.url.startswith("app:")
        with self._lease.write() as connection:
            self._apply(connection, row.id, [machine.Begun(), *_progress(job), machine.Stored()], values)
            if brought.kept_bytes is not None:
                stored.remember_cached(connection, self._site.name, sha256, brought.kept_bytes, now)
            stored.give_data(connection, row.id, sha256, path)
            if is_app:
                self._folders.came(job.key)  # before the tasks of the steps are looked at
            give_to_steps(connection, row, sha256, path, keep=not is_app)
        _log.info("ready", site=self._site.name, url=row.url, sha256=sha256, fetched=fetched is not None)
        if brought.kept_bytes is not None:
            self._keeping.end(sha256)
        self._clean(row)
        self._given()
        if self._site.data_quota_bytes is not None and brought.kept_bytes is not None:
            self._make_room(self._site.data_quota_bytes)

    def _clean(self, row: Any) -> None:
        """Removes what is left of what is there, or given up."""
        if not is_of_this_machine(row.url):
            self._carrier().clean(row.id)

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
            waiting = stored.waiting_tasks(connection, row.id)
            self._fail(connection, waiting, _why_not(row, self._site, fetch.error or ""))
            self._are_some_in_vain = True
        return fetch

    def _end_in_vain(self) -> bool:
        """Ends the tasks of steps that wait for what will not come: some in each transaction, for they may be many.

        Returns whether there were any.
        """
        found = False
        while True:
            with self._database.read() as connection:
                lost = steps_in_vain(connection, self._site.name)
            if not lost:
                self._are_some_in_vain = False
                return found
            found = True
            for row in lost:
                why = _why_not(row, self._site, row.error or "")
                more = True
                while more:
                    with self._lease.write() as connection:
                        some = queued_between(connection, row.first, row.last, _TASKS_AT_ONCE)
                        self._fail(connection, some, why)
                        more = bool(some)
                        if not more:
                            forget_need(connection, self._site.name, row.step_seq, row.data_id)

    def _fail(self, connection: sa.Connection, ids: Sequence[int], why: str) -> None:
        now = self._clock.now()
        end = {"failure": FailureClass.STAGING, "reason": why, "ended_at": now}
        current = lock_tasks(connection, ids)
        apply_moves(connection, [Move(task, TaskState.SYSTEM_ERROR, now, why, dict(end)) for task in current], current)

    def _make_room(self, quota_bytes: int) -> None:
        """The least recently used leave, until the rest fits; never what an active task has, or what is just coming."""
        with self._database.read() as connection:
            too_much = stored.cached_bytes(connection, self._site.name) - quota_bytes
            unused = stored.least_used(connection, self._site.name) if too_much > 0 else []
        for content in unused:
            if too_much <= 0:
                return
            if self._keeping.begin_to_drop(content.sha256):
                try:
                    too_much -= self._drop(content)
                finally:
                    self._keeping.end(content.sha256)

    def _drop(self, content: Any) -> int:
        """Removes content from the cache, unless an active task has it; returns the bytes that are free now."""
        with self._lease.write() as connection:
            gone = stored.forget_cached(connection, self._site.name, content.sha256)
        if not gone:
            return 0
        cache.drop(self._site, content.sha256)
        _log.info("evicted", site=self._site.name, sha256=content.sha256, bytes=content.size)
        return int(content.size)


def _why_not(row: Any, site: Site, error: str) -> str:
    what = subject(row.url)
    told = what if what == row.url else f"{what[0].upper()}{what[1:]}"
    return f"{told} could not be brought to '{site.name}': {error}"


def _progress(job: Job) -> list[machine.Event]:
    return [machine.Came(job.bytes_done), *([machine.Complete()] if job.complete else [])]
