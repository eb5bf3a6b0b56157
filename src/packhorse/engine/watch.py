"""Watches what a site has of ours: asks the scheduler, carries cancels there, and closes allocations that are
over.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import structlog

from packhorse.domain.failures import Evidence, FailureClass
from packhorse.domain.resources import Resources
from packhorse.domain.states import AllocationState
from packhorse.domain.text import kept_json
from packhorse.engine.clock import Clock
from packhorse.engine.collecting.collect import Collector
from packhorse.engine.collecting.reading import JournalReader
from packhorse.engine.collecting.verdict import Failure, node_lost
from packhorse.engine.lease import Lease
from packhorse.engine.placing import pack
from packhorse.sites.base import JobState, JobStatus, Shape
from packhorse.sites.site import BLOCK, Site
from packhorse.store import allocations as stored
from packhorse.store.database import Database
from packhorse.store.tasks import asked_in_allocations, canceling_tasks, tasks_at_site, without_tasks

_CANCELS_AT_ONCE = 20_000
_UNKNOWN_S = 600.0
_FEW_TASKS = 3000
_REVOKED = "Its block was taken back before an agent claimed it."
_log = structlog.get_logger("packhorse.watch")


class Watcher:
    """Keeps the store true to what happens at one site."""

    def __init__(
        self, site: Site, database: Database, lease: Lease, collector: Collector, reader: JournalReader, clock: Clock
    ) -> None:
        self._site = site
        self._database = database
        self._lease = lease
        self._collector = collector
        self._reader = reader
        self._clock = clock
        self._told: set[tuple[int, int]] = set()
        self._unknown_since: dict[
            int, tuple[float, int]
        ] = {}  # by allocation: since when (monotonic), and how far its journals were then

    def live(self) -> Sequence[Any]:
        """The site's allocations that are not over."""
        with self._database.read() as connection:
            return stored.live_allocations(connection, self._site.name)

    def poll(self, allocations: Sequence[Any]) -> bool:
        """Asks the scheduler about all in one query, notes what it says, and closes those that are over; whether
        anything changed.
        """
        submitted = {row.job_id: row for row in allocations if row.state != AllocationState.SUBMITTING}
        statuses = self._site.scheduler.poll(self._site.transport, [job_id for job_id in submitted if job_id])
        changed = False
        ended: list[tuple[Any, JobStatus]] = []
        for job_id, allocation in submitted.items():
            status = statuses[job_id] if job_id else JobStatus(JobState.ENDED, "rejected", allocation.reason or "")
            if status.state is JobState.UNKNOWN:
                status = self._patience(allocation, status)
            else:
                self._unknown_since.pop(allocation.seq, None)
            if status.state is JobState.ENDED:
                ended.append((allocation, status))
            else:
                changed |= self._note(allocation, status.reason)
        unread = self._reader.drain([allocation for allocation, _ in ended])
        for allocation, status in ended:
            if allocation.id in unread:  # what stands there has happened: its tasks are neither lost nor run again
                changed |= self._note(allocation, f"It has ended, but {unread[allocation.id]}")
            else:
                self._close(allocation, status)
                changed = True
        return changed

    def _note(self, allocation: Any, reason: str) -> bool:
        """Keeps the scheduler's words, which the allocation's waiting tasks show as their reason; whether they are
        new.
        """
        if reason == (allocation.reason or ""):
            return False
        with self._lease.write() as connection:
            stored.update_allocation(connection, allocation.seq, reason=reason)
        return True

    def _patience(self, allocation: Any, status: JobStatus) -> JobStatus:
        """A job that the scheduler does not know is not taken for ended, unless that lasts long and its journals are
        silent.
        """
        read = self._reader.bytes_of(allocation.seq)
        now = self._clock.monotonic()
        since, seen = self._unknown_since.setdefault(allocation.seq, (now, read))
        if read != seen:
            self._unknown_since[allocation.seq] = now, read
        elif now - since >= _UNKNOWN_S:
            message = (
                f"The batch scheduler of '{self._site.name}' has not known its allocation for {_UNKNOWN_S / 60:g}"
                " minutes."
            )
            return replace(status, state=JobState.ENDED, failure=FailureClass.SCHEDULER, message=message)
        return status

    def ends_in_s(self, allocations: Sequence[Any]) -> float:
        """When half of what allocations still have to do is likely to be done, in seconds from now; infinity where that
        is much: nobody waits for the end of it yet.
        """
        if not allocations:
            return math.inf
        with self._database.read() as connection:
            left_core_s = stored.left_core_s(connection, self._site.name, _FEW_TASKS)
        if not left_core_s:
            return math.inf
        return left_core_s / 2 / sum(Shape(**json.loads(row.shape)).all_cores for row in allocations)

    def reclaim(self) -> int:
        """Takes the blocks of allocations that have not started back where others run, have nothing left to do, and
        could do that; returns how many.
        """
        with self._database.read() as connection:
            live = stored.live_allocations(connection, self._site.name)
            busy = stored.unclaimed_core_s(connection, [row.seq for row in live])
            idle = [row for row in live if row.started_at is not None and row.seq not in busy]
            waiting = {row.seq: row for row in live if row.started_at is None} if idle else {}
            asked = asked_in_allocations(connection, waiting)
            could = [seq for seq in waiting if self._could_be_done(asked.get(seq, ()), idle)]
            written = stored.written_blocks(connection, could)
        number = 0
        for seq, numbers in written.items():
            row = waiting[seq]
            if not Shape(**json.loads(row.shape)).for_one_task:
                revoked = [block for block in numbers if self._revoke(self._site.spool(row.id), block)]
                if revoked:
                    self._give_back(seq, revoked)
                number += len(revoked)
        return number

    def _could_be_done(self, asked: Collection[str], idle: Sequence[Any]) -> bool:
        """Whether idle allocations could do what some tasks ask for: what they cannot do would be placed where it was,
        again and again.
        """
        now, wanted = self._clock.now(), [Resources.model_validate_json(text) for text in asked]
        for row in idle:
            shape = Shape(**json.loads(row.shape))
            left_s = pack.left_s(shape, row.started_at, now)
            if any(pack.fits(shape, one) and (left_s is None or left_s > (one.walltime_s or 0.0)) for one in wanted):
                return True
        return False

    def retire(self) -> int:
        """Withdraws the jobs that have not started and that no task is left for; returns how many."""
        with self._database.read() as connection:
            waiting = [
                row
                for row in stored.live_allocations(connection, self._site.name)
                if row.started_at is None and row.job_id and row.state != AllocationState.CLOSING
            ]
            idle = without_tasks(connection, [row.seq for row in waiting])
        unused = [row for row in waiting if row.seq in idle]
        if unused:
            self._set_closing(unused)
            self._site.scheduler.cancel(self._site.transport, [row.job_id for row in unused])
        return len(unused)

    def _set_closing(self, allocations: Sequence[Any]) -> None:
        with self._lease.write() as connection:
            for row in allocations:
                stored.update_allocation(connection, row.seq, state=AllocationState.CLOSING)

    def cancel(self, there_are_some: bool = True) -> int:
        """Tells the agents about tasks whose cancel is under way, if ``there_are_some``; takes back blocks that nobody
        has claimed.

        Returns how many were new.
        """
        if not there_are_some:
            self._told.clear()
            return 0
        with self._database.read() as connection:
            canceling = canceling_tasks(connection, _CANCELS_AT_ONCE)
            self._told &= {(row.id, row.attempt) for row in canceling}
            rows = [row for row in canceling if (row.id, row.attempt) not in self._told]
            live = {row.seq: row for row in stored.live_allocations(connection, self._site.name)} if rows else {}
        by_allocation: defaultdict[int, list[Any]] = defaultdict(list)
        for row in rows:
            if row.allocation_seq in live:
                by_allocation[row.allocation_seq].append(row)
        for seq, mine in by_allocation.items():
            spool = self._site.spool(live[seq].id)
            cancels = kept_json({"cancel": [[row.id, row.attempt] for row in mine]})
            self._control(spool, cancels)
            revoked = [number for number in {row.block for row in mine} if self._revoke(spool, number)]
            if revoked:
                self._give_back(seq, revoked)
            self._told.update((row.id, row.attempt) for row in mine)
        return len(rows)

    def let_agents_stop(self) -> None:
        """Tells agents that have nothing to do not to wait for more work."""
        with self._database.read() as connection:
            live = stored.live_allocations(connection, self._site.name)
            without = without_tasks(connection, [row.seq for row in live])
        idle = [row for row in live if row.seq in without]
        self._set_closing([row for row in idle if row.state != AllocationState.SUBMITTING])
        for allocation in idle:
            self._control(self._site.spool(allocation.id), '{"close": true}')

    def _control(self, spool: str, line: str) -> None:
        """Tells the agents something, on a line of its own also where a full disk took only half of the one before."""
        self._site.transport.append(f"{spool}/control.jsonl", f"\n{line}\n".encode())

    def _revoke(self, spool: str, number: int) -> bool:
        name = BLOCK.format(number)
        return self._site.transport.rename(f"{spool}/bundle/{name}", f"{spool}/revoked/{name}")

    def _give_back(self, allocation_seq: int, blocks: list[int]) -> None:
        with self._lease.write() as connection:
            unstarted = {row.id: _REVOKED for row in tasks_at_site(connection, allocation_seq) if row.block in blocks}
            self._collector.close(connection, allocation_seq, {}, unstarted, self._clock.now())
            stored.set_block_states(connection, allocation_seq, blocks, "revoked")

    def _close(self, allocation: Any, status: JobStatus) -> None:
        """Ends an allocation. Whatever it still has was either never claimed, or died with its agent."""
        spool = self._site.spool(allocation.id)
        for name in self._site.transport.names(f"{spool}/bundle"):
            if name.endswith(".jsonl"):
                self._site.transport.rename(f"{spool}/bundle/{name}", f"{spool}/revoked/{name}")
        revoked = {int(name.split(".")[0]) for name in self._site.transport.names(f"{spool}/revoked")}
        says = (
            ": ".join(text for text in (status.native_state, status.reason) if text)
            if status.message
            else status.reason or status.native_state
        )
        now = self._clock.now()
        with self._lease.write() as connection:
            journals = stored.journals_of(connection, allocation.seq)
            node = ", ".join(journal.node for journal in journals.values() if journal.node) or None
            planned = {row.number for row in stored.blocks_of(connection, allocation.seq, ["planned"])}
            lost: dict[int, Failure] = {}
            unstarted: dict[int, str] = {}
            for row in tasks_at_site(connection, allocation.seq):
                if not journals:
                    lost[row.id] = self._never_started(allocation, status)
                elif row.block in revoked or (row.block in planned and not self._claimed(spool, row.block)):
                    unstarted[row.id] = _REVOKED
                else:
                    lost[row.id] = _lost_with(status, node, says)
            row = stored.get_allocation(connection, allocation.seq) or allocation
            started = status.started_at or row.started_at
            ended = max(status.ended_at or row.ended_at or now, started or 0.0)
            self._collector.close(connection, allocation.seq, lost, unstarted, now, ended_at=ended)
            over = {"state": AllocationState.ENDED, "started_at": started, "ended_at": ended, "reason": says}
            stored.update_allocation(connection, allocation.seq, **over)
        self._unknown_since.pop(allocation.seq, None)
        self._reader.forget_allocation(allocation.seq)
        self._collector.forget(allocation.seq)
        _log.info("ended", allocation=allocation.id, scheduler=says, lost=len(lost), given_back=len(unstarted))
        for folder in ("bundle", "claimed", "revoked", "secrets", "templates", "work"):
            self._site.transport.remove(f"{spool}/{folder}")

    def _claimed(self, spool: str, number: int) -> bool:
        stem = BLOCK.format(number).removesuffix(".jsonl")
        return any(name.startswith(f"{stem}.") for name in self._site.transport.names(f"{spool}/claimed"))

    def _never_started(self, allocation: Any, status: JobStatus) -> Failure:
        """No agent ever wrote a journal: the batch system, or the node's Python, is to blame."""
        try:
            printed = (
                self._site.transport.read(f"{self._site.spool(allocation.id)}/job.out", 0, 2000)
                .decode(errors="replace")
                .strip()
            )
        except FileNotFoundError:
            printed = ""
        says = "; ".join(text for text in (status.reason or status.native_state, printed[-500:]) if text)
        message = f"Allocation {allocation.id} at '{self._site.name}' ended before its agent started ({says})."
        return Failure(FailureClass.SCHEDULER, Evidence(message, scheduler_state=status.native_state))


def _lost_with(status: JobStatus, node: str | None, says: str) -> Failure:
    """The failure of a task that an allocation was running when it ended."""
    if status.failure is None or status.failure is FailureClass.NODE_LOST:
        return node_lost(node, says)
    return Failure(
        status.failure, Evidence(f"{status.message} ({says})", node=node, scheduler_state=status.native_state)
    )
