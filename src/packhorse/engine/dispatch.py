"""Gives work to a site: starts allocations, and keeps the bundles of the living ones supplied with blocks.

The store is always written first. A block that is planned there and not at the site (we died in between) is written when we come back; an
allocation without a job id is looked for by its token, and submitted again if the scheduler never got it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from packhorse.domain.errors import PackhorseError
from packhorse.domain.failures import Evidence, FailureClass
from packhorse.domain.ids import new_id
from packhorse.domain.states import AllocationState, TaskState
from packhorse.engine import pack
from packhorse.engine.clock import Clock
from packhorse.engine.collect import Collector
from packhorse.engine.gathering import write_results
from packhorse.engine.lease import Lease
from packhorse.engine.retry import MAX_BACKOFF_S
from packhorse.engine.spec import RunSpec
from packhorse.engine.specs import Specs, duration_key
from packhorse.engine.verdict import Failure
from packhorse.estimate.durations import Durations
from packhorse.sites.base import SubmitRejected
from packhorse.sites.site import BLOCK, Site
from packhorse.store import allocations as stored
from packhorse.store.database import Database
from packhorse.store.moves import place_tasks
from packhorse.store.runs import counts_of, open_runs
from packhorse.store.tasks import has_ready, ready_tasks, tasks_of_block

_log = structlog.get_logger("packhorse.dispatch")


@dataclass(frozen=True, slots=True)
class Block:
    """A block that is in the store and must get to the site. ``tasks`` are rows of the store."""

    allocation_seq: int
    allocation_id: str
    number: int
    tasks: Sequence[Any]
    spec: RunSpec


class Dispatcher:
    """Places the tasks of open runs at one site."""

    def __init__(
        self, site: Site, database: Database, lease: Lease, specs: Specs, durations: Durations, collector: Collector, clock: Clock
    ) -> None:
        self._site = site
        self._collector = collector
        self._database = database
        self._lease = lease
        self._specs = specs
        self._durations = durations
        self._clock = clock
        self._written: dict[int, list[int]] = {}  # blocks that are at the site, and the store does not know yet
        self._templates: set[tuple[str, str]] = set()

    def plan(self) -> list[Block]:
        """Decides in one transaction which tasks go where next; what it returns must be carried out by ``carry_out``."""
        with self._database.read() as connection:
            demands = self._demands(connection)
            allocations = stored.live_allocations(connection, self._site.name)
        if not demands and not self._written:
            return []
        with self._lease.write() as connection:
            for seq, numbers in self._written.items():
                stored.set_block_states(connection, seq, numbers, "written")
            self._written = {}
            if demands and len(allocations) < self._site.max_allocations:
                self._open_allocation(connection)
                allocations = stored.live_allocations(connection, self._site.name)
            blocks: list[Block] = []
            for allocation in allocations:
                blocks += self._feed(connection, allocation, demands)
                demands = self._demands(connection) if len(allocations) > 1 else []
            return blocks

    def carry_out(self, blocks: Sequence[Block]) -> None:
        """Submits what has not been submitted and writes blocks to the site. What fails here is found again by ``recover``."""
        for block in blocks:
            self._write_block(block)
        with self._database.read() as connection:
            waiting = [row for row in stored.live_allocations(connection, self._site.name) if row.state == AllocationState.SUBMITTING]
        for allocation in waiting:
            self._submit(allocation)

    def recover(self) -> None:
        """After a restart: writes the planned blocks that are not at the site."""
        with self._database.read() as connection:
            for allocation in stored.live_allocations(connection, self._site.name):
                planned = stored.blocks_of(connection, allocation.seq, ["planned"])
                for row in planned:
                    tasks = tasks_of_block(connection, allocation.seq, row.number)
                    if not tasks or self._is_at_site(allocation.id, row.number):
                        self._written.setdefault(allocation.seq, []).append(row.number)
                    else:
                        spec = self._specs.of_task(connection, tasks[0].id)
                        self._write_block(Block(allocation.seq, allocation.id, row.number, tasks, spec))

    def _demands(self, connection: sa.Connection) -> list[pack.Demand]:
        """Runs that have a task to place now, with the number of their queued tasks (of which some may still wait)."""
        now = self._clock.now()
        runs = {row.seq: row for row in open_runs(connection)}
        counts = counts_of(connection, runs)
        demands = []
        for seq, row in runs.items():
            queued = counts[seq].get(TaskState.QUEUED, 0)
            if queued and has_ready(connection, seq, now, now + 2 * MAX_BACKOFF_S):
                spec = self._specs.of_run(connection, seq)
                demands.append(pack.Demand(row.user, seq, queued, self._durations.predict(duration_key(spec, "row")) or pack.UNKNOWN_S))
        return demands

    def _open_allocation(self, connection: sa.Connection) -> None:
        allocation_id = new_id("a")
        shape = json.dumps(self._site.shape(allocation_id))
        stored.insert_allocation(connection, allocation_id, self._site.name, shape, self._clock.now())

    def _feed(self, connection: sa.Connection, allocation: Any, demands: Sequence[pack.Demand]) -> list[Block]:
        """Plans blocks until the allocation has enough unclaimed work."""
        unclaimed = stored.blocks_of(connection, allocation.seq, ["planned", "written"])
        quota = pack.quota(self._site.cores, sum(block.predicted_core_s for block in unclaimed))
        if quota <= 0 or not demands:
            return []
        now = self._clock.now()
        number = stored.next_block_number(connection, allocation.seq)
        each = {demand.run_seq: demand.core_s for demand in demands}
        blocks: list[Block] = []
        for run_seq, wanted in pack.share(quota, demands).items():
            # the newest of a million ready tasks is not looked at before the oldest is placed
            rows = ready_tasks(connection, run_seq, now, now + 2 * MAX_BACKOFF_S, min(wanted, 10 * pack.MAX_BLOCK_TASKS))
            for some in pack.split(rows, each[run_seq], self._site.cores):
                stored.insert_block(connection, allocation.seq, number, len(some), each[run_seq] * len(some))
                why = f"Placed at '{self._site.name}' in block {number} of allocation {allocation.id}."
                place_tasks(connection, [row.id for row in some], allocation.seq, number, now, why)
                blocks.append(Block(allocation.seq, allocation.id, number, some, self._specs.of_run(connection, run_seq)))
                number += 1
        return blocks

    def _write_block(self, block: Block) -> None:
        spool = self._site.spool(block.allocation_id)
        self._site.transport.make_folder(f"{spool}/bundle")
        lines: list[str] = []
        unfit: dict[int, Failure] = {}
        for row in block.tasks:
            try:
                key, template, line = self._render(block, row)
            except (OSError, PackhorseError):
                raise
            except Exception as error:  # one task that cannot be rendered must not hold up the others
                _log.exception("not_rendered", task=row.id)
                unfit[row.id] = Failure(FailureClass.STAGING, Evidence(f"It could not be prepared: {type(error).__name__}: {error}."))
                continue
            if (block.allocation_id, key) not in self._templates:
                self._site.transport.make_folder(f"{spool}/templates")
                self._site.transport.write(f"{spool}/templates/{key}.json", json.dumps({"key": key, **template}).encode())
                self._templates.add((block.allocation_id, key))
            lines.append(json.dumps(line, separators=(",", ":")) + "\n")
        if unfit:
            with self._lease.write() as connection:
                self._collector.close(connection, block.allocation_seq, unfit, {}, self._clock.now())
        self._site.transport.write(f"{spool}/bundle/{BLOCK.format(block.number)}", "".join(lines).encode())
        self._written.setdefault(block.allocation_seq, []).append(block.number)

    def _render(self, block: Block, row: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
        results = ""
        if row.role == "gather":
            results = f"{self._site.spool(block.allocation_id)}/results-{row.id}.jsonl"
            with tempfile.TemporaryDirectory() as folder:
                local = Path(folder) / "results.jsonl"
                write_results(self._database, row.id, local)
                self._site.transport.put(local, results)
        return block.spec.render(row.id, row.role, row.params, row.attempt, row.overrides, f"{self._site.root}/runs", results)

    def _is_at_site(self, allocation_id: str, number: int) -> bool:
        spool, name = self._site.spool(allocation_id), BLOCK.format(number)
        if self._site.transport.exists(f"{spool}/bundle/{name}") or self._site.transport.exists(f"{spool}/revoked/{name}"):
            return True
        stem = name.removesuffix(".jsonl")
        return any(claimed.startswith(f"{stem}.") for claimed in self._site.transport.names(f"{spool}/claimed"))

    def _submit(self, allocation: Any) -> None:
        """Submits an allocation that has no job id, unless its job is found by token: then we died after submitting it."""
        job = self._site.job(allocation.id)
        job_id = self._site.scheduler.find(self._site.transport, job)
        try:
            if job_id is None:
                self._site.prepare_spool(allocation.id, json.loads(allocation.shape))
                began = time.monotonic()
                job_id = self._site.scheduler.submit(self._site.transport, job)
                _log.info("submitted", allocation=allocation.id, job=job_id, took_s=round(time.monotonic() - began, 3))
        except SubmitRejected as error:
            _log.warning("rejected", allocation=allocation.id, reason=str(error))
            with self._lease.write() as connection:
                stored.update_allocation(connection, allocation.seq, job_id="", state=AllocationState.PENDING, reason=str(error))
            return
        with self._lease.write() as connection:
            stored.update_allocation(connection, allocation.seq, job_id=job_id, state=AllocationState.PENDING)
