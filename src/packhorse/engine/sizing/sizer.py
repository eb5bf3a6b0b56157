"""Decides what tasks ask for, just before they are placed: when the most is known of tasks like them.

A task that is ready belongs to a demand as it was asked for, or to one that was *sized*. Only so many are sized as can
be placed soon; what ends meanwhile informs the rest. Sizes are steps of a short ladder, so that similar tasks share
blocks and allocations.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from packhorse.domain.history import Features as StoredFeatures
from packhorse.domain.resources import Resources
from packhorse.domain.text import kept_json
from packhorse.engine.sizing.rules import Rules
from packhorse.engine.steps.base import Step, demand_key, overridden
from packhorse.engine.steps.cache import Asked, Steps
from packhorse.engine.steps.features import TaskRow
from packhorse.estimate.ladder import ladder
from packhorse.estimate.records import Kind
from packhorse.sites.base import Limits as SiteLimits
from packhorse.sites.site import Site
from packhorse.store.demands import DemandKey, take_ready
from packhorse.store.records import keep_estimates
from packhorse.store.resizing import Resized, resize_ready, take_spread

if TYPE_CHECKING:
    from packhorse.engine.sizing.estimator import Estimator, Sized

AHEAD_S = 8.0  # work for each core that is sized ahead of being placed
LEAST_AHEAD, MOST_AHEAD = 16, 1000  # tasks
PROBES = 8  # of a large run of which nothing is known, before the rest
LARGE = 24  # tasks
ENOUGH = 3  # that ended, for the rest to be decided by them
PROBE_S = 60.0  # for so long, at the most, the rest waits for them
TINY_CORE_S = 1.0  # tasks that take less are decided together, by their app alone
MOST_DECISIONS = 64  # at once: each takes a millisecond or so, and others wait
_KEPT = 4096

#: What demands have in common whose tasks differ in what they ask for only: user, label, image.
Group = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True)
class Open:
    """A demand whose tasks are to be sized: its row of the store, and what they ask for.

    ``core_s`` is what one takes; None: not known yet.
    """

    row: Any
    asked: Asked
    core_s: float | None

    @property
    def group(self) -> Group:
        return self.row.user, self.asked.label, self.asked.image


class Outlook(NamedTuple):
    """What tasks of a sized demand are expected to take, in seconds of wall time."""

    median_s: float
    high_s: float


class Sizer:
    """Of one site, for the thread that places its tasks."""

    def __init__(self, site: Site, steps: Steps, rules: Rules, estimator: Callable[[], Estimator]) -> None:
        self._site = site
        self._steps = steps
        self._rules = rules
        self._estimator = estimator
        self._outlooks: OrderedDict[int, Outlook] = OrderedDict()
        self._until: OrderedDict[int, float] = OrderedDict()  # monotonic: the rest of a demand waits for its probes

    def is_open(self, row: Any, asked: Asked) -> bool:
        """Whether the tasks of a demand are to be sized before they are placed."""
        return self._rules.is_open(row, asked)

    def outlook(self, demand_seq: int) -> Outlook | None:
        """What its tasks are expected to take, where that was estimated since the engine started."""
        return self._outlooks.get(demand_seq)

    def room(self, demands: Sequence[Open], ahead: Mapping[Group, int], cores: int) -> dict[int, int]:
        """How many tasks of open ``demands`` are to be sized now, by ``seq``; those with none are left out.

        ``ahead`` are those of each group that are sized and not placed, ``cores`` those of living allocations.
        """
        return {one.row.seq: room for one in demands if (room := _room(one, cores) - ahead.get(one.group, 0)) > 0}

    def size(
        self,
        connection: sa.Connection,
        demands: Sequence[Open],
        room: Mapping[int, int],
        limits: Sequence[SiteLimits],
        now: float,
    ) -> bool:
        """Sizes some tasks of those ``demands`` that have ``room``; whether it did. ``now`` is monotonic."""
        self._estimator().refresh(connection)
        sized = [self._size(connection, one, room[one.row.seq], limits, now) for one in demands if one.row.seq in room]
        return any(sized)

    def _size(
        self, connection: sa.Connection, demand: Open, room: int, limits: Sequence[SiteLimits], now: float
    ) -> bool:
        seq = demand.row.seq
        waits = self._waits(connection, demand, now)
        if waits and seq in self._until:
            return False
        rows = take_spread(connection, seq, PROBES) if waits else take_ready(connection, seq, room)
        if waits:
            self._until[seq] = now + PROBE_S
            while len(self._until) > _KEPT:
                self._until.popitem(last=False)
        resized: list[Resized] = []
        told: list[dict[str, Any]] = []
        outlooks: dict[DemandKey, Outlook] = {}
        for row, granted, sized in self._decided(connection, demand, rows, limits):
            key = demand_key(demand.asked.label, demand.asked.image, granted, sized=True)
            resized.append(Resized(row, key, row.overrides or _differing(demand.asked.resources, granted)))
            if sized is not None:
                told.append(sized.row(row.id, row.attempt))
                if sized.median_s is not None and sized.high_s is not None:
                    outlooks[key] = Outlook(sized.median_s, sized.high_s)
        seqs = resize_ready(connection, self._site.name, demand.row.user, resized)
        keep_estimates(connection, told)
        for key, outlook in outlooks.items():
            self._outlooks[seqs[key]] = outlook
            self._outlooks.move_to_end(seqs[key])
        while len(self._outlooks) > _KEPT:
            self._outlooks.popitem(last=False)
        return bool(resized)

    def _waits(self, connection: sa.Connection, demand: Open, now: float) -> bool:
        """Whether some are to be tried first, and the rest waits for them."""
        seq = demand.row.seq
        until = self._until.get(seq)
        if until is None and demand.row.ready < LARGE:
            return False
        step = self._steps.many(connection, [demand.row.step_seq]).get(demand.row.step_seq)
        if step is None:
            return False
        kind = Kind(demand.asked.label) if step.app is None else step.kind("{}")
        is_known = self._estimator().knows(connection, step, kind) >= ENOUGH
        if is_known or (until is not None and now >= until):
            self._until[seq] = min(now, until or now)
            return False
        return True

    def _decided(
        self, connection: sa.Connection, demand: Open, rows: Sequence[Any], limits: Sequence[SiteLimits]
    ) -> Iterator[tuple[Any, Resources, Sized | None]]:
        """Those of ``rows`` that were decided, with what they ask for now; what was raised before stays."""
        asked = demand.asked.resources
        is_tiny = demand.core_s is not None and demand.core_s < TINY_CORE_S
        by_step: dict[int, list[Any]] = {}
        for row in rows:
            if row.overrides:
                yield row, overridden(asked, row.overrides), None
            else:
                by_step.setdefault(row.step_seq, []).append(row)
        steps = self._steps.many(connection, by_step)
        left = MOST_DECISIONS
        for seq, some in by_step.items():
            step = steps.get(seq)
            if step is None:  # placing it finds that out
                yield from ((row, asked, None) for row in some)
                continue
            features = self._features(connection, step, some, is_tiny=is_tiny)
            decided: dict[str, Sized] = {}
            for row, found in zip(some, features, strict=True):
                key = f"{step.kind(row.params)} {found.model_dump_json()}"
                if key not in decided:
                    if not left:
                        break
                    left -= 1
                    decided[key] = self._estimator().decide(connection, step, row.params, asked, found, limits)
                yield row, decided[key].granted, decided[key]

    def _features(
        self, connection: sa.Connection, step: Step, rows: Sequence[Any], *, is_tiny: bool
    ) -> list[StoredFeatures]:
        """Of tasks that differ little, the same."""
        if is_tiny:
            return [StoredFeatures()] * len(rows)
        found = self._estimator().features.of(connection, step, [TaskRow(row.id, row.params) for row in rows])
        return [rounded(one) for one in found]


def _room(demand: Open, cores: int) -> int:
    """How many of a demand's tasks may be sized and not placed."""
    core_s = demand.core_s if demand.core_s is not None else demand.asked.resources.cpu_cores
    return int(max(LEAST_AHEAD, min(MOST_AHEAD, AHEAD_S * max(1, cores) / max(core_s, 1e-3))))


def _differing(asked: Resources, granted: Resources) -> str | None:
    """As the overrides of a task."""
    names = ("ram_gb", "walltime_s")
    changed = {name: getattr(granted, name) for name in names if getattr(granted, name) != getattr(asked, name)}
    return kept_json(changed) if changed else None


def rounded(features: StoredFeatures) -> StoredFeatures:
    """Numbers to two digits, sizes up to a step of the ladder: the class of a size."""
    return StoredFeatures(
        numbers={name: float(f"{value:.1e}") for name, value in features.numbers.items()},
        categories=features.categories,
        inputs={name: ladder(size) if size > 0 else 0 for name, size in features.inputs.items()},
        compressed=features.compressed,
    )
