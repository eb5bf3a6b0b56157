"""When attempts ran, by allocation and node, in constant memory: each of them while they are few, else busy cores in
equal parts of the time.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: More attempts are not drawn one by one.
MAX_BARS = 1500
BINS = 240
MAX_LANES = 40
#: Steps share colours by their number, and what shares a colour is drawn as one.
COLOURS = 10


@dataclass(frozen=True, slots=True)
class Allocation:
    """A job of the batch scheduler; it may have run tasks of other runs as well. Times are None until they come."""

    id: str
    site: str
    job_id: str | None
    cores: int
    """On each node."""
    nodes: int
    created_at: float
    started_at: float | None
    ended_at: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """One attempt: a step's number, when it ran, how many cores it was granted, and whether it failed."""

    step: int
    start: float
    end: float
    cores: float
    failed: bool
    label: str


class Lane:
    """What ran on one node of one allocation (``allocation`` None: on all that have no lane of their own)."""

    __slots__ = ("allocation", "attempts", "bars", "busy", "node")

    def __init__(self, allocation: Allocation | None, node: str | None) -> None:
        self.allocation = allocation
        self.node = node
        self.attempts = 0
        self.bars: list[Bar] = []
        self.busy: dict[int, array[float]] = {}
        """Granted core-seconds in each part of the time, by colour."""


class Timeline:
    """Filled by ``add``, one attempt at a time.

    ``lanes``: (allocation, node) by a key of the caller's, the most important first; only ``MAX_LANES`` are kept apart.
    ``bars``: whether each attempt is remembered by itself.
    """

    def __init__(
        self,
        start: float,
        end: float,
        lanes: Mapping[int | None, tuple[Allocation | None, str | None]],
        allocations: Sequence[Allocation],
        *,
        bars: bool,
    ) -> None:
        self.start = start
        self.end = max(end, start + 1e-3)
        self.allocations = allocations
        self.has_bars = bars
        apart = dict(list(lanes.items())[:MAX_LANES])
        self.left_out = len(lanes) - len(apart)
        self._lanes = {key: Lane(*of) for key, of in apart.items()}
        self._rest = Lane(None, None)
        self.total: dict[int, array[float]] = {}
        """Granted core-seconds in each part of the time, by colour, of all lanes."""
        self.steps: set[int] = set()
        """Numbers of those of which something ran."""
        self._width = (self.end - self.start) / BINS

    @property
    def bin_s(self) -> float:
        """How long one part of the time is."""
        return self._width

    @property
    def lanes(self) -> list[Lane]:
        """Those on which something ran, in the order of allocations and nodes; what has no lane of its own is last."""
        used = [lane for lane in self._lanes.values() if lane.attempts]
        used.sort(key=lambda lane: (_began(lane.allocation), lane.node or ""))
        return [*used, self._rest] if self._rest.attempts else used

    def add(self, key: int | None, bar: Bar) -> None:
        """An attempt in the lane of ``key``."""
        lane = self._lanes.get(key, self._rest)
        lane.attempts += 1
        self.steps.add(bar.step)
        if self.has_bars:
            lane.bars.append(bar)
        else:
            self._spread(lane.busy, bar)
        self._spread(self.total, bar)

    def _spread(self, busy: dict[int, array[float]], bar: Bar) -> None:
        colour = bar.step % COLOURS
        if colour not in busy:
            busy[colour] = array("d", bytes(8 * BINS))
        bins = busy[colour]
        width = self._width
        start, end = max(bar.start, self.start) - self.start, min(bar.end, self.end) - self.start
        first, last = int(start / width), min(BINS - 1, int(end / width))
        if first >= last:
            bins[min(first, BINS - 1)] += max(0.0, end - start) * bar.cores
            return
        bins[first] += ((first + 1) * width - start) * bar.cores
        for number in range(first + 1, last):
            bins[number] += width * bar.cores
        bins[last] += (end - last * width) * bar.cores

    def held(self) -> list[float]:
        """Cores of the run's allocations in the middle of each part of the time."""
        steps = [0.0] * (BINS + 1)
        for one in self.allocations:
            if one.started_at is None:
                continue
            ended = self.end if one.ended_at is None else one.ended_at
            first = round((max(one.started_at, self.start) - self.start) / self._width)
            last = round((min(ended, self.end) - self.start) / self._width)
            if first < last:
                steps[first] += one.cores * one.nodes
                steps[last] -= one.cores * one.nodes
        cores, found = 0.0, []
        for change in steps[:BINS]:
            cores += change
            found.append(cores)
        return found


def _began(allocation: Allocation | None) -> float:
    if allocation is None:
        return float("inf")
    return allocation.created_at if allocation.started_at is None else allocation.started_at


def rows_of(bars: Sequence[Bar]) -> list[list[Bar]]:
    """Bars in as few rows as go, so that none covers another: each in the first row that is free."""
    rows: list[list[Bar]] = []
    ends: list[float] = []
    for bar in sorted(bars, key=lambda one: (one.start, one.end)):
        for number, end in enumerate(ends):
            if end <= bar.start:
                rows[number].append(bar)
                ends[number] = bar.end
                break
        else:
            rows.append([bar])
            ends.append(bar.end)
    return rows
