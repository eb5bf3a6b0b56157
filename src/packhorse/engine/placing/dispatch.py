"""Gives work to a site: starts allocations, and keeps the bundles of the living ones supplied with blocks.

The store is always written first. A block that is planned there and not at the site (we died in between) is written
when we come back; an allocation without a job id is looked for by its token, and submitted again if the scheduler never
got it.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from packhorse.domain.errors import PackhorseError
from packhorse.domain.failures import Evidence, FailureClass
from packhorse.domain.ids import new_id
from packhorse.domain.states import AllocationState
from packhorse.domain.text import kept_json
from packhorse.engine.clock import Clock
from packhorse.engine.collecting.collect import Collector
from packhorse.engine.collecting.effects import progress_in
from packhorse.engine.collecting.verdict import Failure
from packhorse.engine.containers import Containers, ReadyImage, job_image, sees_all
from packhorse.engine.gathering import write_results
from packhorse.engine.lease import Lease
from packhorse.engine.placing import pack
from packhorse.engine.placing.wants import Wants
from packhorse.engine.spec import Place, RunSpec, with_data
from packhorse.engine.specs import Specs
from packhorse.estimate.durations import Durations
from packhorse.sites.base import Limits, Shape, SubmitRejected
from packhorse.sites.site import BLOCK, InputNotBrought, Site, fitting
from packhorse.store import allocations as stored
from packhorse.store.data import DataKey, given_data
from packhorse.store.database import Database
from packhorse.store.moves import place_tasks
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.tasks import failures_of, tasks_of_block

_REFUSED_S = 30.0  # until a job is offered again to a scheduler whose queue is full
_log = structlog.get_logger("packhorse.dispatch")


@dataclass(frozen=True, slots=True)
class Block:
    """A block that is in the store and must get to the site. ``tasks`` are rows of the store."""

    allocation_seq: int
    allocation_id: str
    number: int
    tasks: Sequence[Any]
    spec: RunSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """What the store says must happen at the site next: blocks to write, allocations to submit.

    ``has_demand``: tasks want to be placed.
    """

    blocks: Sequence[Block]
    unsubmitted: Sequence[Any]
    has_demand: bool


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
        left_s = (
            None if shape.walltime_s is None else shape.walltime_s - pack.SPARE_S / 2 - (now - (row.started_at or now))
        )
        return cls(row.seq, row.id, shape, row.started_at is not None, left_s)


class Dispatcher:
    """Places the tasks of open runs at one site."""

    def __init__(
        self,
        site: Site,
        database: Database,
        lease: Lease,
        specs: Specs,
        durations: Durations,
        collector: Collector,
        clock: Clock,
        weights: Mapping[str, float],
    ) -> None:
        self._site = site
        self._collector = collector
        self._database = database
        self._lease = lease
        self._wants = Wants(site, specs, durations, clock)
        self._specs = specs
        self._clock = clock
        self._weights = weights
        self._written: dict[int, list[int]] = {}  # blocks that are at the site, and the store does not know yet
        self._templates: set[tuple[str, str]] = set()
        self._spools: set[str] = set()  # of allocations for whose blocks there is a folder
        self._fresh: set[int] = set()  # allocations of our own that nobody can have submitted yet
        self._refused_until = 0.0  # monotonic: the scheduler takes no job of ours before that

    def plan(self) -> Plan:
        """Decides in one transaction which tasks go where next; what it returns must be carried out by ``carry_out``.

        Where nothing can be placed nothing is written either: most looks find the site supplied.
        """
        with self._database.read() as connection:
            demands = self._wants.demands(connection)
            rows = stored.live_allocations(connection, self._site.name)
            unclaimed = {row.seq: _unclaimed_core_s(connection, row.seq) for row in rows} if demands else {}
        limits = self._site.limits() if demands else ()
        blocks: list[Block] = []
        if self._written or self._can_place(self._live(rows), demands, limits, unclaimed):
            with self._lease.write() as connection:
                for seq, numbers in self._written.items():
                    stored.set_block_states(connection, seq, numbers, "written")
                self._written = {}
                live = self._live(stored.live_allocations(connection, self._site.name))
                blocks = self._fill(connection, live, demands)
                blocks += self._open(connection, live, demands, limits)
                rows = stored.live_allocations(connection, self._site.name)
            self._forget_all_but(rows)
        return Plan(blocks, [row for row in rows if row.state == AllocationState.SUBMITTING], bool(demands))

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
        ids = {row.id for row in live}
        self._templates = {known for known in self._templates if known[0] in ids}
        self._spools &= ids
        self._fresh &= {row.seq for row in live}

    def carry_out(self, plan: Plan) -> None:
        """Submits what has not been submitted and writes blocks to the site.

        What fails here is found again by ``recover`` and ``plan``.
        """
        for block in plan.blocks:
            self._write_block(block)
        for allocation in plan.unsubmitted:
            if self._clock.monotonic() >= self._refused_until:
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

    def _fill(self, connection: sa.Connection, live: Sequence[Live], demands: list[pack.Demand]) -> list[Block]:
        """Plans blocks for the allocations that run, or, where none does, for those that wait, until each has enough
        unclaimed work.
        """
        blocks: list[Block] = []
        for allocation in live:
            if suiting := _suiting(allocation, live, demands):
                blocks += self._feed(connection, allocation, suiting, demands)
        return blocks

    def _open(
        self, connection: sa.Connection, live: list[Live], demands: list[pack.Demand], limits: Sequence[Limits]
    ) -> list[Block]:
        """Opens the allocations that ``demands`` are worth, and gives them their first blocks."""
        blocks: list[Block] = []
        for demand in list(demands):
            while demand in demands and (shape := self._next_shape(demand, live, limits)) is not None:
                has_runner = any(one.has_started and pack.suits(one.shape, demand, one.left_s) for one in live)
                image = job_image(self._site, self._specs.images_of(connection, demand.run_seq, fresh=True))
                opened = self._insert(connection, replace(shape, image=image))
                live.append(opened)
                if not has_runner:
                    blocks += self._feed(connection, opened, [demand], demands)
                    same = (demand.run_seq, demand.resources)
                    demand = next((one for one in demands if (one.run_seq, one.resources) == same), demand)
        return blocks

    def _next_shape(self, demand: pack.Demand, live: Sequence[Live], limits: Sequence[Limits]) -> Shape | None:
        """The next allocation that ``demand`` is worth beside ``live``; None where those do, or the site gives no more.

        None also where no node fits: the site has lost nodes since the run was accepted, and may get them back.
        """
        fitting_limits = fitting(limits, demand.resources)
        room = self._site.max_allocations - len(live)
        if not fitting_limits or room <= 0:
            return None
        nodes = sum(one.shape.nodes for one in live if pack.suits(one.shape, demand, one.left_s))
        wanted = pack.nodes_wanted(demand, fitting_limits[0]) - nodes
        left = self._nodes_left(live)
        if (wanted <= 0 and demand.resources.nodes == 1) or left < demand.resources.nodes:
            return None
        return pack.shape(demand, limits, min(left, math.ceil(max(1, wanted) / room)))

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
        self, connection: sa.Connection, allocation: Live, suiting: Sequence[pack.Demand], demands: list[pack.Demand]
    ) -> list[Block]:
        """Plans blocks until the allocation has enough unclaimed work, and takes what it took off ``demands``."""
        cores = allocation.shape.all_cores
        quota = pack.quota(cores, _unclaimed_core_s(connection, allocation.seq))
        if allocation.shape.for_one_task:
            given = {suiting[0]: 1}
        else:
            given = pack.share(quota, suiting, self._weights)
        now = self._clock.now()
        number = stored.next_block_number(connection, allocation.seq) if given else 0
        blocks: list[Block] = []
        for demand, wanted in given.items():
            rows = self._wants.rows(connection, demand, min(wanted, pack.MAX_TASKS_AT_ONCE))
            for some in pack.split(rows, demand.core_s, cores):
                stored.insert_block(connection, allocation.seq, number, len(some), demand.core_s * len(some))
                why = f"Placed at '{self._site.name}' in block {number} of allocation {allocation.id}."
                place_tasks(connection, [row.id for row in some], allocation.seq, number, now, why)
                blocks.append(
                    Block(allocation.seq, allocation.id, number, some, self._specs.of_run(connection, demand.run_seq))
                )
                number += 1
            place = demands.index(demand)
            left = demand.tasks - len(rows) if rows else 0
            demands[place : place + 1] = [replace(demand, tasks=left)] if left > 0 else []
        return blocks

    def _write_block(self, block: Block) -> None:
        spool = self._site.spool(block.allocation_id)
        if block.allocation_id not in self._spools:
            self._site.make_spool(block.allocation_id)
            self._spools.add(block.allocation_id)
        lines: list[str] = []
        unfit: dict[int, Failure] = {}
        with self._database.read() as connection:
            images = (
                self._specs.images_of(connection, block.tasks[0].id // TASKS_PER_RUN, fresh=True) if block.tasks else {}
            )
            data = given_data(connection, [row.id for row in block.tasks]) if block.spec.has_data else {}
        for row in block.tasks:
            try:
                key, template, line = self._render(block, row, images, data.get(row.id, {}))
            except (OSError, PackhorseError):
                raise
            except Exception as error:  # one task that cannot be rendered must not hold up the others
                _log.exception("not_rendered", task=row.id)
                said = (
                    str(error)
                    if isinstance(error, InputNotBrought)
                    else f"It could not be prepared: {type(error).__name__}: {error}."
                )
                unfit[row.id] = Failure(FailureClass.STAGING, Evidence(said))
                continue
            if (block.allocation_id, key) not in self._templates:
                self._site.transport.make_folder(f"{spool}/templates")
                self._site.transport.write(
                    f"{spool}/templates/{key}.json", kept_json({"key": key, **template}).encode()
                )
                self._templates.add((block.allocation_id, key))
            lines.append(kept_json(line) + "\n")
        if unfit:
            with self._lease.write() as connection:
                self._collector.close(connection, block.allocation_seq, unfit, {}, self._clock.now())
        self._site.transport.write(f"{spool}/bundle/{BLOCK.format(block.number)}", "".join(lines).encode())
        self._written.setdefault(block.allocation_seq, []).append(block.number)

    def _render(
        self, block: Block, row: Any, images: Mapping[str, ReadyImage], data: Mapping[DataKey, str]
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        results = ""
        if row.role == "gather":
            results = f"{self._site.spool(block.allocation_id)}/results-{row.id}.jsonl"
            with tempfile.TemporaryDirectory() as folder:
                local = Path(folder) / "results.jsonl"
                write_results(self._database, row.id, local)
                self._site.transport.put(local, results)
        place = self._place(block.spec, row, results, images)
        if data:
            place = with_data(place, data)
        resume = row.attempt > 1 and block.spec.is_resumable(row.role) and self._has_begun(block.spec, row.id)
        return block.spec.render(row.id, row.role, row.params, row.attempt, row.overrides, place, resume=resume)

    def _place(self, spec: RunSpec, row: Any, results: str, images: Mapping[str, ReadyImage]) -> Place:
        """What a task is rendered for.

        Where containers see all of the root, and no more, the app's folder must lie there too.
        """
        outputs, session = f"{self._site.root}/runs", spec.session_of(row.role)
        if not images:
            return Place(
                outputs, self._site.app_folder(spec.app_dir), self._site.bring_input, results, launch=self._site.launch
            )
        containers = Containers(self._site, images)
        app_dir = self._site.app_folder(spec.app_dir, below_root=sees_all(self._site, session))
        return Place(
            outputs,
            app_dir,
            lambda path: containers.bring(path, session),
            results,
            containers,
            launch=self._site.launch,
            copy=lambda path: containers.bring(path, session, copies=True),
        )

    def _has_begun(self, spec: RunSpec, task: int) -> bool:
        """Whether an earlier attempt got on: its log said so, or it was lost and its work folder is not empty."""
        with self._database.read() as connection:
            earlier = failures_of(connection, task)
        if any(progress_in(attempt.evidence) for attempt in earlier):
            return True
        kept = f"{self._site.output_folder(spec.run_id, task % TASKS_PER_RUN)}.work"
        return any(attempt.failure == FailureClass.NODE_LOST for attempt in earlier) and bool(
            self._site.transport.names(kept)
        )

    def _is_at_site(self, allocation_id: str, number: int) -> bool:
        spool, name = self._site.spool(allocation_id), BLOCK.format(number)
        if self._site.transport.exists(f"{spool}/bundle/{name}") or self._site.transport.exists(
            f"{spool}/revoked/{name}"
        ):
            return True
        stem = name.removesuffix(".jsonl")
        return any(claimed.startswith(f"{stem}.") for claimed in self._site.transport.names(f"{spool}/claimed"))

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


def _unclaimed_core_s(connection: sa.Connection, allocation_seq: int) -> float:
    """Predicted work of the blocks of an allocation that no agent has claimed."""
    blocks = stored.blocks_of(connection, allocation_seq, ["planned", "written"])
    return sum((float(block.predicted_core_s) for block in blocks), 0.0)


def _suiting(allocation: Live, live: Sequence[Live], demands: Sequence[pack.Demand]) -> list[pack.Demand]:
    """What an allocation can run; of one that waits, only what none of those that run could: it may wait for hours."""
    suiting = [demand for demand in demands if pack.suits(allocation.shape, demand, allocation.left_s)]
    if allocation.has_started:
        return suiting
    running = [other for other in live if other.has_started]
    return [demand for demand in suiting if not any(pack.suits(other.shape, demand, other.left_s) for other in running)]
