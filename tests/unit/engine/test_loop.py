"""How long a loop rests between its steps."""

from __future__ import annotations

import math
import threading

import pytest

from packhorse.engine.clock import SystemClock
from packhorse.engine.loop import TICK_S, Loop


class Moving(Loop):
    """Moves in each of so many ticks, and notes how long it would rest."""

    def __init__(self, ticks: int, soon_s: float) -> None:
        super().__init__("moving", SystemClock(), threading.Event())
        self.soon_s = soon_s
        self.rests: list[float] = []
        self._left = ticks
        self._ending = threading.Event()

    def tick(self, monotonic: float) -> bool:
        self._left -= 1
        if not self._left:
            self._ending.set()
        return True

    def _pause(self, seconds: float) -> bool:
        self.rests.append(seconds)
        return False

    def rest(self) -> list[float]:
        """Runs to the end."""
        self.run(self._ending)
        return self.rests


def test_it_rests_ever_longer_while_things_move() -> None:
    rests = Moving(20, math.inf).rest()
    assert rests[0] < 2 * TICK_S[0] and rests[-1] == pytest.approx(TICK_S[1])
    assert rests == sorted(rests)


@pytest.mark.parametrize(("soon_s", "at_most"), [(0.0, TICK_S[0]), (0.1, 0.1)])
def test_it_does_not_sleep_over_what_is_to_be_seen_soon(soon_s: float, at_most: float) -> None:
    rests = Moving(20, soon_s).rest()
    assert max(rests) == pytest.approx(at_most) and min(rests) >= TICK_S[0]
