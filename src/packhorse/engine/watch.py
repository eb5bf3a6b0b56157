"""Watches what a site has of ours: reads journals, asks the scheduler, carries cancels there, and closes allocations that are over."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import structlog

from packhorse.domain.failures import Evidence, FailureClass
from packhorse.domain.states import AllocationState
from packhorse.engine.clock import Clock
from packhorse.engine.collect import Collector
from packhorse.engine.lease import Lease
from packhorse.engine.verdict import Failure, node_lost
from packhorse.sites.base import JobState, JobStatus
from packhorse.sites.site import BLOCK, Site
from packhorse.store import allocations as stored
from packhorse.store.database import Database
from packhorse.store.tasks import canceling_tasks, tasks_at_site

_CANCELS_AT_ONCE = 20_000
_REVOKED = "Its block was taken back before an agent claimed it."
_log = structlog.get_logger("packhorse.watch")


class Watcher:
    """Keeps the store true to what happens at one site."""

    def __init__(self, site: Site, database: Database, lease: Lease, collector: Collector, clock: Clock) -> None:
        self._site = site
        self._database = database
        self._lease = lease
        self._collector = collector
        self._clock = clock
        self._told: set[tuple[int, int]] = set()

    def live(self) -> Sequence[Any]:
        """The site's allocations that are not over."""
        with self._database.read() as connection:
            return stored.live_allocations(connection, self._site.name)

    def collect(self, allocation: Any) -> int:
        """Applies what the journals of one allocation have to say; returns how many bytes that was."""
        with self._database.read() as connection:
            offsets = {agent: journal.offset for agent, journal in stored.journals_of(connection, allocation.seq).items()}
        done = 0
        for agent, data in self._collector.fetch(allocation.id, offsets).items():
            with self._lease.write() as connection:
                done += self._collector.apply(connection, allocation, agent, data, self._clock.now())
        return done

    def poll(self, allocations: Sequence[Any]) -> None:
        """Asks the scheduler about all of them in one query, and closes those that are over."""
        submitted = {row.job_id: row for row in allocations if row.state != AllocationState.SUBMITTING}
        statuses = self._site.scheduler.poll(self._site.transport, [job_id for job_id in submitted if job_id])
        for job_id, allocation in submitted.items():
            status = statuses[job_id] if job_id else JobStatus(JobState.ENDED, "rejected", allocation.reason or "")
            if status.state is JobState.ENDED:
                while self.collect(allocation):
                    pass
                self._close(allocation, status)

    def cancel(self) -> int:
        """Tells the agents about tasks whose cancel is under way; takes back blocks that nobody has claimed. Returns how many were new."""
        with self._database.read() as connection:
            rows = [row for row in canceling_tasks(connection, _CANCELS_AT_ONCE) if (row.id, row.attempt) not in self._told]
            live = {row.seq: row for row in stored.live_allocations(connection, self._site.name)} if rows else {}
        by_allocation: defaultdict[int, list[Any]] = defaultdict(list)
        for row in rows:
            if row.allocation_seq in live:
                by_allocation[row.allocation_seq].append(row)
        for seq, mine in by_allocation.items():
            spool = self._site.spool(live[seq].id)
            cancels = json.dumps({"cancel": [[row.id, row.attempt] for row in mine]}, separators=(",", ":"))
            self._site.transport.append(f"{spool}/control.jsonl", cancels.encode() + b"\n")
            revoked = [number for number in {row.block for row in mine} if self._revoke(spool, number)]
            if revoked:
                self._give_back(seq, revoked)
            self._told.update((row.id, row.attempt) for row in mine)
        return len(rows)

    def let_agents_stop(self) -> None:
        """Tells idle agents not to wait for more work."""
        for allocation in self.live():
            self._site.transport.append(f"{self._site.spool(allocation.id)}/control.jsonl", b'{"close": true}\n')

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
        says = status.reason or status.native_state
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
                    lost[row.id] = node_lost(node, says)
            self._collector.close(connection, allocation.seq, lost, unstarted, now)
            stored.update_allocation(connection, allocation.seq, state=AllocationState.ENDED, ended_at=now, reason=says)
        _log.info("ended", allocation=allocation.id, scheduler=says, lost=len(lost), given_back=len(unstarted))
        for folder in ("bundle", "claimed", "revoked", "templates", "work"):
            self._site.transport.remove(f"{spool}/{folder}")

    def _claimed(self, spool: str, number: int) -> bool:
        stem = BLOCK.format(number).removesuffix(".jsonl")
        return any(name.startswith(f"{stem}.") for name in self._site.transport.names(f"{spool}/claimed"))

    def _never_started(self, allocation: Any, status: JobStatus) -> Failure:
        """No agent ever wrote a journal: the batch system, or the node's Python, is to blame."""
        try:
            printed = self._site.transport.read(f"{self._site.spool(allocation.id)}/job.out", 0, 2000).decode(errors="replace").strip()
        except FileNotFoundError:
            printed = ""
        says = "; ".join(text for text in (status.reason or status.native_state, printed[-500:]) if text)
        message = f"Allocation {allocation.id} at '{self._site.name}' ended before its agent started ({says})."
        return Failure(FailureClass.SCHEDULER, Evidence(message, scheduler_state=status.native_state))
