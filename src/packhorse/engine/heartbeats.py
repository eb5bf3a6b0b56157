"""Whether agents still say that they live.

One that does not is asked after at the batch scheduler, sooner than it would be otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from packhorse.domain.states import AllocationState
from packhorse.engine.clock import Clock
from packhorse.sites.site import Site

_LOOK_S = 0.5  # between two looks, or more where there are many agents to look at
_LOOK_EACH_S = 0.01
_LATE_S = 1.6  # beats come once a second; of many agents, less often
_MARGIN = 1.5
_WORRY_S = 30.0  # after that, a silent agent is the scheduler's usual business again: its node may hang for hours


@dataclass(slots=True)
class _Beat:
    value: bytes
    since: float
    gap_s: float = 0.0
    """Between the last two; not known at first."""

    def is_late(self, now: float) -> bool:
        """Whether there should have been another, but not so long ago that this is no news."""
        return max(_LATE_S, _MARGIN * self.gap_s if self.gap_s > _LATE_S else 0.0) < now - self.since < _WORRY_S


class Heartbeats:
    """Reads the beats (docs/spool.md) of one site's agents.

    Times are of the monotonic clock here: no node's clock is trusted.
    """

    def __init__(self, site: Site, clock: Clock) -> None:
        self._site = site
        self._clock = clock
        self._beats: dict[str, _Beat] = {}
        self._look_at = 0.0
        self._silent = False

    def any_silent(self, allocations: Sequence[Any]) -> bool:
        """Whether an agent of these has been silent for longer than it should, and not for so long that it is no
        news.
        """
        now = self._clock.monotonic()
        if now >= self._look_at:
            seen: dict[str, _Beat] = {}
            for allocation in allocations:
                if allocation.state == AllocationState.RUNNING:
                    seen |= self._read(allocation.id, now)
            self._beats = seen
            self._silent = any(beat.is_late(now) for beat in seen.values())
            self._look_at = now + max(_LOOK_S, _LOOK_EACH_S * len(seen))
        return self._silent

    def _read(self, allocation_id: str, now: float) -> dict[str, _Beat]:
        folder = f"{self._site.spool(allocation_id)}/journal"
        found: dict[str, _Beat] = {}
        for name in self._site.transport.names(folder):
            if not name.endswith(".beat"):
                continue
            path = f"{folder}/{name}"
            try:
                value = self._site.transport.read(path, 0, 32)
            except FileNotFoundError:
                continue
            before = self._beats.get(path)
            if before is None:
                found[path] = _Beat(value, now)
            elif value in (before.value, b""):  # empty: it is being written
                found[path] = before
            else:
                found[path] = _Beat(value, now, now - before.since)
        return found
