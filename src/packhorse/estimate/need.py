"""Memory or disk of one kind of task: from the first attempt on, with what was cut off, as an estimate with its
reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from packhorse.estimate import cold
from packhorse.estimate.censoring import settled
from packhorse.estimate.decisions import Estimate
from packhorse.estimate.history import PRESET, WALL
from packhorse.estimate.points import Floats
from packhorse.estimate.sizing import LEAST_HISTORY, Sized, Sizer
from packhorse.estimate.window import Window

_TIME_UNKNOWN = 60.0
_SMALLEST = 1.0
"""MB: less is not told apart."""

Others = Callable[[], Sequence[cold.Spread]]


class Need:
    """One quantity, in MB: the column of a window that has it, and the one that says 'at least'."""

    def __init__(self, column: int, at_least: int, with_presets: bool) -> None:
        self._column, self._at_least, self._with_presets = column, at_least, with_presets
        self._sizer = Sizer()
        self._few: list[float] = []
        self.count = 0

    def learn(self, window: Window, new: int) -> None:
        """Takes the window as it is now, whose last ``new`` rows are new."""
        at_least = window.rows[:, self._at_least]
        y, weight = settled(window.rows[:, self._column], at_least, window.weight)
        kept = weight > 0
        self.count = int(kept.sum())
        y = np.maximum(y[kept], _SMALLEST)
        self._few = y.tolist()[: LEAST_HISTORY - 1]
        if self.count < LEAST_HISTORY:
            return
        time = window.rows[kept, WALL]
        known = np.isfinite(time)
        time = np.where(known, time, np.median(time[known]) if known.any() else _TIME_UNKNOWN)
        preset = window.rows[kept, PRESET] if self._with_presets else np.full(self.count, np.nan)
        new = int(kept[len(kept) - min(new, len(kept)) :].sum())
        self._sizer.learn(y, time, preset, window.sizes[kept], window.choices[kept], weight[kept], new)

    def size(self, sizes: Floats, choices: Floats, preset: float | None, cap: float, others: Others) -> Sized | None:
        """What to ask for; None where nothing is known and nothing was asked for."""
        if self.count >= LEAST_HISTORY:
            return self._sizer.size(sizes, choices, preset, cap)
        return cold.size(self._few, preset, others(), cap)

    def after(self, failed: float, sizes: Floats, choices: Floats, preset: float | None, cap: float,
              others: Others) -> float:  # fmt: skip
        """What to ask for after ``failed`` was too little: more than that, and no less than at first."""
        if self.count >= LEAST_HISTORY:
            more = self._sizer.resize(failed, sizes, choices, preset, cap)
        else:
            more = cold.resize(failed, self._few, preset, others(), cap)
        first = self.size(sizes, choices, preset, cap, others)
        return max(more, first.request if first is not None else 0.0)

    def state(self) -> dict[str, Any]:
        """What does not follow from the window."""
        return self._sizer.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Takes what ``state()`` gave."""
        self._sizer.restore(state)


def explained(sized: Sized, count: int, least: float | None, most: float | None) -> Estimate:
    """An estimate within bounds, with one sentence about it."""
    request = bounded(sized.request, least, most)
    if sized.way == "preset" and not count:
        reason = "as asked: nothing is known yet"
    elif sized.way == "preset":
        reason = f"as asked: over {count} attempts nothing else would have wasted less"
    elif sized.way == "other kinds":
        reason = f"from {count or 'no'} attempts, and from what other steps used of what they asked for"
    else:
        reason = f"from {count} attempts, by {sized.way}"
    if request != sized.request:
        reason += f"; moved from {sized.request:.0f} to a limit"
    return Estimate(request, sized.median, sized.low, sized.high, sized.failure_chance, count, reason)


def bounded(amount: float, least: float | None, most: float | None) -> float:
    """``amount`` within limits; where they contradict each other, the most counts."""
    amount = amount if least is None else max(amount, least)
    return amount if most is None else min(amount, most)
