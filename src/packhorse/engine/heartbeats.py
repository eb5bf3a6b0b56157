"""Whether agents still say that they live.

One that does not is asked after at the batch scheduler, sooner than it would be otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from packhorse.engine.clock import Clock

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
    """Judges the beats (docs/spool.md) of one site's agents, which are read together with the journals.

    Times are of the monotonic clock here: no node's clock is trusted.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beats: dict[tuple[str, str], _Beat] = {}
        self._look_at = 0.0
        self._silent = False

    def is_due(self) -> bool:
        """Whether the beats are to be read again."""
        return self._clock.monotonic() >= self._look_at

    def take(self, values: Mapping[tuple[str, str], bytes]) -> None:
        """The beats of all agents of running allocations, by allocation and agent; one that is missing is forgotten."""
        now = self._clock.monotonic()
        self._beats = {agent: self._next(self._beats.get(agent), value, now) for agent, value in values.items()}
        self._silent = any(beat.is_late(now) for beat in self._beats.values())
        self._look_at = now + max(_LOOK_S, _LOOK_EACH_S * len(self._beats))

    def any_silent(self) -> bool:
        """Whether an agent was silent for longer than it should, and not for so long that it is no news."""
        return self._silent

    def _next(self, before: _Beat | None, value: bytes, now: float) -> _Beat:
        if before is None:
            return _Beat(value, now)
        if value in (before.value, b""):  # empty: it is being written
            return before
        return _Beat(value, now, now - before.since)
