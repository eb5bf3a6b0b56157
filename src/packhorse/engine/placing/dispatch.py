"""Gives work to a site: starts allocations, and keeps the bundles of the living ones supplied with blocks.

The store is always written first. A block that is planned there and not at the site (we died in between) is written
when we come back; an allocation without a job id is looked for by its token, and submitted again if the scheduler never
got it.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa
import structlog

from packhorse.domain.ids import new_id
from packhorse.domain.states import AllocationState
from packhorse.domain.text import kept_json
from packhorse.engine.clock import Clock
from packhorse.engine.containers import job_image
from packhorse.engine.lease import Lease
from packhorse.engine.placing import pack
from packhorse.engine.placing.blocks import Block, Blocks
from packhorse.engine.placing.demands import Demands, Waiting
from packhorse.engine.placing.needs import Needs
from packhorse.engine.placing.share import Turns
from packhorse.engine.retry import MAX_BACKOFF_S
from packhorse.engine.steps.cache import Steps
from packhorse.sites.base import Limits, Shape, SubmitRejected
from packhorse.sites.site import Site, fitting
from packhorse.store import allocations as stored
from packhorse.store.database import Database
from packhorse.store.demands import add_ready_to_demands, end_back_offs, next_back_off
from packhorse.store.moves import PlacedBlock, place_tasks

_BACK_OFFS_AT_ONCE = 5000
_REFUSED_S = 30.0  # until a job is offered again to a scheduler whose queue is full
_log = structlog.get_logger("packhorse.dispatch")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the store says must happen at the site next: blocks to write, allocations to submit, of those that are
    ``live``.

    ``has_demand``: tasks want to be placed; ``goes_on``: more may be found at once; ``guesses``: how long the tasks of
    its blocks take is not known, so that these may be few: agents soon want more.
    """

    blocks: Sequence[Block]
    live: Sequence[Any]
    unsubmitted: Sequence[Any]
    has_demand: bool
    goes_on: bool = False
    guesses: bool = False


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a look at the store found: what waits, which demands have to wait for more, rows of allocations that are not
    over, and the core-seconds of them that nobody has claimed.
    """

    waiting: Waiting
    lacking: Sequence[pack.Demand]
    live: Sequence[Any]
    unclaimed: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Live:
    """An allocation that is not over. ``left_s`` is what of its walltime tasks may still use; None is no limit."""

    seq: int
    id: str
    shape: Shape
    has_started: bool
    left_s: float | None

    @classmethod
    def of(cls, row: Any, now: float) -> Live:
        """From its row of the store."""
        shape = Shape(**json.loads(row.shape))
        return cls(row.seq, row.id, shape, row.started_at is not None, pack.left_s(shape, row.started_at, now))


class Dispatcher:
    """Places the tasks that wait for one site."""

    def __init__(
        self,
        site: Site,
        database: Database,
        lease: Lease,
        steps: Steps,
        demands: Demands,
        blocks: Blocks,
        clock: Clock,
        weights: Mapping[str, float],
        needs: Needs,
    ) -> None:
        self._site = site
        self._database = database
        self._lease = lease
        self._steps = steps
        self._needs = needs
        self._demands = demands
        self._blocks = blocks
        self._clock = clock
        self._weights = weights
        self._turns: dict[int, Turns] = {}  # by allocation
        self._placed: Counter[int] = Counter()  # in the transaction under way: ready tasks less, by demand
        self._fresh: set[int] = set()  # allocations of our own that nobody can have submitted yet
        self._refused_until = 0.0  # monotonic: the scheduler takes no job of ours before that

    def plan(self) -> Plan:
        """Decides in one transaction which tasks go where next; what it returns must be carried out by ``carry_out``.

        Where nothing can be placed nothing is written either: most looks find the site supplied.
        """
        seen = self._look()
        waiting = seen.waiting
        has_sized = bool(waiting.open) and self._size(waiting, seen.live)
        if has_sized:
            seen = self._look()
        demands, lacking, rows, unclaimed = seen.waiting.sized, seen.lacking, seen.live, seen.unclaimed
        if lacking:
            with self._lease.write() as connection:
                self._demands.hold(connection, lacking)
                lacking = self._demands.lacking(connection, lacking)
            demands = [demand for demand in demands if demand not in lacking]
        limits = self._site.limits() if demands else ()
        blocks: list[Block] = []
        if self._blocks.written or self._can_place(self._live(rows), demands, limits, unclaimed):
            with self._lease.write() as connection:
                self._placed.clear()
                self._blocks.note_written(connection)
                rows = stored.live_allocations(connection, self._site.name)
                live = self._live(rows)
                number = len(live)
                unclaimed = stored.unclaimed_core_s(connection, [one.seq for one in live]) if demands else {}
                blocks = self._fill(connection, live, demands, unclaimed)
                blocks += self._open(connection, live, demands, limits)
                add_ready_to_demands(connection, self._placed)
                if len(live) > number:
                    rows = stored.live_allocations(connection, self._site.name)
            self._forget_all_but(rows)
        has_held, self._demands.have_held = self._demands.have_held, False
        if has_held:
            self._needs.wake()
        unsubmitted = [row for row in rows if row.state == AllocationState.SUBMITTING]
        goes_on = has_held or bool(lacking) or has_sized
        guesses = bool(blocks) and not all(demand.is_known for demand in demands)
        return Plan(blocks, rows, unsubmitted, bool(demands or waiting.open), goes_on, guesses)

    def _size(self, waiting: Waiting, rows: Sequence[Any]) -> bool:
        """Decides what some of the tasks ask for that are about to be placed; whether it did."""
        room = self._demands.room_to_size(waiting, sum(one.shape.all_cores for one in self._live(rows)))
        if not room:
            return False
        limits = self._site.limits()
        with self._lease.write() as connection:
            return self._demands.size(connection, waiting, room, limits, self._clock.monotonic())

    def _look(self) -> _Seen:
        """What there is to place, and where; tasks whose back-off is over are made ready before."""
        now = self._clock.now()
        latest = now + 2 * MAX_BACKOFF_S
        while True:
            with self._database.read() as connection:
                due = next_back_off(connection)
                if due is None or now < due <= latest:
                    waiting = self._demands.waiting(connection)
                    lacking = self._demands.lacking(connection, waiting.sized)
                    live = stored.live_allocations(connection, self._site.name)
                    seqs = [row.seq for row in live] if waiting.sized else []
                    return _Seen(waiting, lacking, live, stored.unclaimed_core_s(connection, seqs))
            with self._lease.write() as connection:
                end_back_offs(connection, now, latest, _BACK_OFFS_AT_ONCE)

    def _live(self, rows: Sequence[Any]) -> list[Live]:
        return [Live.of(row, self._clock.now()) for row in rows if row.state != AllocationState.CLOSING]

    def _can_place(
        self, live: Sequence[Live], demands: list[pack.Demand], limits: Sequence[Limits], unclaimed: Mapping[int, float]
    ) -> bool:
        """Whether an allocation of ``live`` may be given work, or another one is to be opened."""
        for one in live:
            if pack.quota(one.shape.all_cores, unclaimed.get(one.seq, 0.0)) and _suiting(one, live, demands):
                return True
        return any(self._next_shape(demand, live, limits) for demand in demands)

    def _forget_all_but(self, live: Sequence[Any]) -> None:
        """Of allocations that are over nothing is remembered: an engine runs for months."""
        self._blocks.forget_all_but({row.id for row in live})
        seqs = {row.seq for row in live}
        self._fresh &= seqs
        self._turns = {seq: turns for seq, turns in self._turns.items() if seq in seqs}

    def carry_out(self, plan: Plan) -> None:
        """Submits what has not been submitted and writes blocks to the site.

        What fails here is found again by ``Blocks.recover`` and ``plan``.
        """
        for block in plan.blocks:
            self._blocks.write(block)
        for allocation in plan.unsubmitted:
            if self._clock.monotonic() >= self._refused_until:
                self._submit(allocation)

    def _fill(
        self,
        connection: sa.Connection,
        live: Sequence[Live],
        demands: list[pack.Demand],
        unclaimed: Mapping[int, float],
    ) -> list[Block]:
        """Plans blocks for the allocations that run, or, where none does, for those that wait, until each has enough
        unclaimed work.
        """
        blocks: list[Block] = []
        for allocation in live:
            if suiting := _suiting(allocation, live, demands):
                blocks += self._feed(connection, allocation, unclaimed.get(allocation.seq, 0.0), suiting, demands)
        return blocks

    def _open(
        self, connection: sa.Connection, live: list[Live], demands: list[pack.Demand], limits: Sequence[Limits]
    ) -> list[Block]:
        """Opens the allocations that ``demands`` are worth, and gives them their first blocks."""
        blocks: list[Block] = []
        for demand in list(demands):
            while demand in demands and (shape := self._next_shape(demand, live, limits)) is not None:
                has_runner = any(one.has_started and pack.suits(one.shape, demand, one.left_s) for one in live)
                image = self._image(connection, demand)
                opened = self._insert(connection, replace(shape, image=image))
                live.append(opened)
                if not has_runner:
                    blocks += self._feed(connection, opened, 0.0, [demand], demands)
                    demand = next((one for one in demands if one.seq == demand.seq), demand)
        return blocks

    def _image(self, connection: sa.Connection, demand: pack.Demand) -> str | None:
        """The image that a job is to be set up with, where the site does that: the one that the first tasks want."""
        if not self._site.sets_up_images:
            return None
        step = self._steps.many(connection, [demand.step_seq]).get(demand.step_seq)
        if step is None:
            return None
        return job_image(self._site, self._steps.fresh_images(connection, [step.row.run_seq])[step.row.run_seq])

    def _next_shape(self, demand: pack.Demand, live: Sequence[Live], limits: Sequence[Limits]) -> Shape | None:
        """The next allocation that ``demand`` is worth beside ``live``; None where those do, or the site gives no more.

        None also where no node fits: the site has lost nodes since the run was accepted, and may get them back.
        """
        fitting_limits = fitting(limits, demand.resources)
        room = self._site.max_allocations - len(live)
        if not fitting_limits or room <= 0:
            return None
        shapes = [one.shape for one in live if pack.suits(one.shape, demand, one.left_s)]
        missing = pack.nodes_missing(demand, fitting_limits[0], shapes)
        left = self._nodes_left(live)
        if (not missing and demand.resources.nodes == 1) or left < demand.resources.nodes:
            return None
        return pack.shape(demand, limits, min(left, math.ceil(max(1, missing) / room)))

    def _nodes_left(self, live: Sequence[Live]) -> int:
        if self._site.max_nodes is None:
            return 1_000_000
        return self._site.max_nodes - sum(one.shape.nodes for one in live)

    def _insert(self, connection: sa.Connection, shape: Shape) -> Live:
        allocation_id = new_id("a")
        seq = stored.insert_allocation(
            connection, allocation_id, self._site.name, kept_json(asdict(shape)), self._clock.now()
        )
        self._fresh.add(seq)
        return Live(seq, allocation_id, shape, has_started=False, left_s=None)

    def _feed(
        self,
        connection: sa.Connection,
        allocation: Live,
        unclaimed_core_s: float,
        suiting: Sequence[pack.Demand],
        demands: list[pack.Demand],
    ) -> list[Block]:
        """Plans blocks until the allocation has enough unclaimed work, and takes what it took off ``demands``."""
        cores = allocation.shape.all_cores
        quota = pack.quota(cores, unclaimed_core_s)
        if allocation.shape.for_one_task:
            given = {suiting[0]: 1}
        else:
            given = self._turns.setdefault(allocation.seq, Turns()).share(quota, suiting, self._weights)
        now = self._clock.now()
        number = stored.next_block_number(connection, allocation.seq) if given else 0
        placed: list[PlacedBlock] = []
        new: list[stored.NewBlock] = []
        for demand, wanted in given.items():
            rows = self._demands.take(connection, demand, min(wanted, pack.MAX_TASKS_AT_ONCE))
            for some in pack.split(rows, demand.core_s, cores):
                why = f"Placed at '{self._site.name}' in block {number} of allocation {allocation.id}."
                placed.append(PlacedBlock(allocation.seq, number, some, why))
                new.append(stored.NewBlock(allocation.seq, number, len(some), demand.core_s * len(some)))
                number += 1
            place = demands.index(demand)
            left = demand.tasks - len(rows) if rows else 0
            demands[place : place + 1] = [replace(demand, tasks=left)] if left > 0 else []
        stored.insert_blocks(connection, new)
        self._placed.update(place_tasks(connection, placed, now))
        return [Block(allocation.seq, allocation.id, one.number, one.rows) for one in placed]

    def _submit(self, allocation: Any) -> None:
        """Submits an allocation that has no job id, unless its job is found by token: then we died, or lost the site,
        just after.
        """
        shape = Shape(**json.loads(allocation.shape))
        job = self._site.job(allocation.id, shape)
        job_id = None if allocation.seq in self._fresh else self._site.scheduler.find(self._site.transport, job)
        try:
            if job_id is None:
                self._site.prepare_spool(allocation.id, shape)
                self._fresh.discard(allocation.seq)
                began = time.monotonic()
                job_id = self._site.scheduler.submit(self._site.transport, job)
                _log.info("submitted", allocation=allocation.id, job=job_id, took_s=round(time.monotonic() - began, 3))
        except SubmitRejected as error:
            _log.warning("rejected", allocation=allocation.id, reason=str(error), may_pass=error.may_pass)
            values: dict[str, Any] = {"reason": f"The batch scheduler of '{self._site.name}' takes no job now: {error}"}
            if error.may_pass:
                self._refused_until = self._clock.monotonic() + _REFUSED_S
            else:
                values = {"job_id": "", "state": AllocationState.PENDING, "reason": str(error)}
            with self._lease.write() as connection:
                stored.update_allocation(connection, allocation.seq, **values)
            return
        with self._lease.write() as connection:
            stored.update_allocation(
                connection, allocation.seq, job_id=job_id, state=AllocationState.PENDING, reason=None
            )


def _suiting(allocation: Live, live: Sequence[Live], demands: Sequence[pack.Demand]) -> list[pack.Demand]:
    """What an allocation can run; of one that waits, only what none of those that run could: it may wait for hours."""
    suiting = [demand for demand in demands if pack.suits(allocation.shape, demand, allocation.left_s)]
    if allocation.has_started:
        return suiting
    running = [other for other in live if other.has_started]
    return [demand for demand in suiting if not any(pack.suits(other.shape, demand, other.left_s) for other in running)]
