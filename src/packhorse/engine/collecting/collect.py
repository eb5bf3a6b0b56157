"""Reads journals and applies them.

The new offset commits in the transaction of its effects: every record counts exactly once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import structlog

from packhorse.domain.states import AllocationState
from packhorse.engine.collecting.journal import Batch, parse_journal
from packhorse.engine.collecting.verdict import Failure
from packhorse.engine.sizing.sizing import Sizing
from packhorse.engine.steps.cache import Steps
from packhorse.estimate.durations import Durations
from packhorse.sites.base import Shape
from packhorse.sites.journals import READ_BYTES
from packhorse.sites.site import Site
from packhorse.store import allocations as stored

if TYPE_CHECKING:
    from packhorse.engine.collecting.effects import Effects
    from packhorse.engine.collecting.records import Recorder

_log = structlog.get_logger("packhorse.collect")


class Collector:
    """Applies the journals of one site's allocations."""

    def __init__(self, site: Site, steps: Steps, durations: Durations, sizing: Sizing) -> None:
        self._site = site
        self._sizing = sizing
        self._steps = steps
        self._durations = durations
        self._stopped: defaultdict[int, set[str]] = defaultdict(set)  # agents that we saw end, by allocation

    @cached_property
    def _recorder(self) -> Recorder:
        from packhorse.engine.collecting.records import Recorder

        return Recorder(self._site, self._sizing.rules)

    def apply(self, connection: sa.Connection, allocation: Any, agent: str, data: bytes, now: float) -> int:
        """Applies what one journal says from the stored offset on; returns how many bytes of it."""
        batch = parse_journal(data, READ_BYTES)
        journal = stored.journal_of(connection, allocation.seq, agent)
        journal_id = journal.id if journal else stored.insert_journal(connection, allocation.seq, agent)
        node = self._apply_allocation(connection, allocation, agent, batch, now)
        if not node.name and journal is not None:
            node = stored.Node(journal.node, journal.node_type)
        effects = self._effects(connection, batch.task_ids, allocation.seq, journal_id, node)
        for record in batch.records:
            effects.add(record, now)
        effects.write()
        bad_lines = batch.bad_lines + effects.bad_records
        if bad_lines:
            _log.warning("journal_lines_skipped", allocation=allocation.id, agent=agent, lines=bad_lines)
        offset = (journal.offset if journal else 0) + batch.length
        stored.advance_journal(connection, journal_id, offset, bad_lines, node)
        return batch.length

    def close(
        self,
        connection: sa.Connection,
        allocation_seq: int,
        lost: Mapping[int, Failure],
        unstarted: Mapping[int, str],
        now: float,
        ended_at: float | None = None,
    ) -> None:
        """Ends what an allocation leaves behind:

        ``lost`` tasks failed with it, ``unstarted`` ones go back to the queue, with reasons.

        ``ended_at`` is when the allocation ended, where that is not now: until then it held the cores of the lost ones.
        """
        effects = self._effects(connection, {*lost, *unstarted}, allocation_seq, None, stored.Node())
        for task, failure in lost.items():
            effects.lost(task, failure, now, ended_at)
        for task, why in unstarted.items():
            effects.give_back(task, why, now)
        effects.write()

    def forget(self, allocation_seq: int) -> None:
        """An allocation is over."""
        self._stopped.pop(allocation_seq, None)

    def _effects(
        self,
        connection: sa.Connection,
        tasks: set[int],
        allocation_seq: int,
        journal_id: int | None,
        node: stored.Node,
    ) -> Effects:
        from packhorse.engine.collecting.effects import Effects  # imported while the first agent starts

        return Effects(
            connection,
            tasks,
            steps=self._steps,
            durations=self._durations,
            site=self._site,
            retrying=self._sizing.retrying,
            allocation_seq=allocation_seq,
            journal_id=journal_id,
            node=node,
            recorder=self._recorder,
        )

    def _apply_allocation(
        self, connection: sa.Connection, allocation: Any, agent: str, batch: Batch, now: float
    ) -> stored.Node:
        """What the records say of the allocation itself; returns the node if they tell of it."""
        node = stored.Node()
        claimed: list[int] = []
        for record in batch.records:
            match record["k"]:
                case "agent":
                    node = stored.Node(record.get("host") or "", record.get("processor") or "")
                    if allocation.started_at is None:
                        started = float(record.get("t") or now)
                        stored.update_allocation(
                            connection, allocation.seq, started_at=started, state=AllocationState.RUNNING
                        )
                case "claim":
                    claimed.append(int(record["block"]))
                case (
                    "bad"
                ):  # we wrote the block: its file was damaged since. Its tasks are found again when the allocation ends
                    _log.error(
                        "block_damaged", allocation=allocation.id, block=record.get("block"), says=record.get("msg")
                    )
                case "stop":
                    stored.add_busy(connection, allocation.seq, float(record.get("busy_core_s") or 0.0))
                    self._stopped[allocation.seq].add(agent)
                    if len(self._stopped[allocation.seq]) >= Shape(**json.loads(allocation.shape)).agents:
                        # the time stands until the scheduler says better
                        stopped = {"state": AllocationState.CLOSING, "ended_at": float(record.get("t") or now)}
                        stored.update_allocation(connection, allocation.seq, **stopped)
        stored.set_block_states(connection, allocation.seq, claimed, "claimed")
        return node
