"""How much memory (or disk) to ask for, by the way of deciding that would have wasted least so far.

A way is a point model, a breadth within which tasks count as similar, and a margin. Each is judged on a task before
that is learnt; the one that would have wasted least decides the next. What the user asks for is one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from packhorse.estimate.fit import BREADTHS, Fit
from packhorse.estimate.points import MODELS, Floats
from packhorse.estimate.waste import CORE_MB, LEAST_RAISE, beyond, least_waste, wasted

MARGINS = (0.0, 0.002, 0.01, 0.03, 0.08, 0.2)
LEAST_HISTORY = 3
_LEAST_MARGIN_AGAIN = 1.01
_WAYS = (len(MODELS), len(BREADTHS), len(MARGINS))
_FADING = 0.995
"""What a way's past waste counts for with each observation."""
_CHANGED_FADING = 0.02
_CAP = 0.1
"""Chance of failure at which ways are judged. A policy's own cap moves the request of the way that won, and not who
wins.
"""
_ONE_BY_ONE = 4
"""So many new rows are judged each by what was there before it; more at once, each by all the others."""
_AT_ONCE = 32
"""At most so many of these."""


@dataclass(frozen=True, slots=True)
class Sized:
    """A request and the distribution behind it, in MB; ``way`` is how it was come by."""

    request: float
    median: float
    low: float
    high: float
    failure_chance: float
    way: str


class Sizer:
    """Memory, or disk, of one kind of task."""

    def __init__(self) -> None:
        self._cost = np.zeros(
            int(np.prod(_WAYS)) + 1
        )  # MB × seconds that each way would have wasted; the preset's last
        self._judged = 0
        self._fit: Fit | None = None

    def learn(self, y: Floats, time: Floats, preset: Floats, sizes: Floats, choices: Floats, weight: Floats,
              new: int) -> None:  # fmt: skip
        """The window as it is now (n, the oldest first), of which the last ``new`` rows are new: judged, then learnt.

        ``y`` are needs, ``time`` runtimes in seconds, ``preset`` what was asked for (NaN: nothing).
        """
        start = max(len(y) - new, 0)
        if new <= _ONE_BY_ONE:
            for row in range(max(start, LEAST_HISTORY), len(y)):
                before, one = slice(0, row), slice(row, row + 1)
                fit = self._fit
                if fit is None or not fit.is_of(y[before], weight[before]):
                    fit = self._fitted(Fit(y[before], time[before], sizes[before], choices[before], weight[before]))
                needs, distance = fit.points.at(sizes[one], choices[one])
                self._judge(fit, y[one], time[one], preset[one], needs, fit.weights(distance))
        fit = self._fitted(Fit(y, time, sizes, choices, weight))
        if new > _ONE_BY_ONE:
            start = max(start, fit.old)
            rows = np.unique(np.linspace(start, len(y) - 1, min(len(y) - start, _AT_ONCE)).astype(int))
            weights = fit.weights(fit.points.apart(rows))
            weights[:, np.arange(len(rows)), rows] = 0
            self._judge(fit, y[rows], time[rows], preset[rows], fit.points.held_out[:, rows], weights)

    def size(self, sizes: Floats, choices: Floats, preset: float | None, cap: float) -> Sized:
        """What to ask for a task of ``sizes`` (s) and ``choices`` (c), such that it fails with a chance of at most
        ``cap``.
        """
        model, breadth, margin = self._best()
        assert self._fit is not None
        sample = self._fit.sample(model, breadth, sizes, choices)
        request, way = sample.choose(cap) * (1 + MARGINS[margin]), MODELS[model]
        if preset is not None and self._judged and self._cost[-1] < self._cost[:-1].min():
            request, way = preset, "preset"
        low, median, high = (sample.quantile(q) for q in (0.05, 0.5, 0.95))
        return Sized(request, median, low, high, sample.chance_above(request), way)

    def resize(self, failed: float, sizes: Floats, choices: Floats, preset: float | None, cap: float) -> float:
        """What to ask for after ``failed`` was too little: the same decision, given that the need is above it."""
        model, breadth, margin = self._best()
        assert self._fit is not None
        sample = self._fit.sample(model, breadth, sizes, choices)
        factor = max(1 + MARGINS[margin], _LEAST_MARGIN_AGAIN)
        rest = sample.above(failed)
        if len(rest.values) >= LEAST_HISTORY:
            again = rest.choose(cap) * factor
            if again > failed * LEAST_RAISE:
                return again
        most = max(float(sample.values[-1]), self._fit.most) * factor
        return most if most > failed * LEAST_RAISE else beyond(failed, preset)

    def _fitted(self, fit: Fit) -> Fit:
        """Takes a fit for the present one; where it says that the app has changed, what was judged before hardly
        counts.
        """
        if fit.old and not (self._fit and self._fit.old):
            self._cost *= _CHANGED_FADING
        self._fit = fit
        return fit

    def _best(self) -> tuple[int, int, int]:
        """Model, breadth and margin of the way that would have wasted least."""
        model, breadth, margin = np.unravel_index(int(np.argmin(self._cost[:-1])), _WAYS)
        return int(model), int(breadth), int(margin)

    def _judge(self, fit: Fit, y: Floats, time: Floats, preset: Floats, needs: Floats, weights: Floats) -> None:
        """Adds to each way's cost what it would have wasted on tasks (k) that it has not seen.

        ``needs`` (models, k) is what the models say of them, ``weights`` (breadths, k, n) what the rows count for.
        """
        counts = weights[:, :, fit.order]  # (breadths, k, models, n)
        chosen = least_waste(fit.ratio, counts, counts * fit.time[fit.order], CORE_MB / needs.T[:, :, None], _CAP)
        farthest = fit.farthest(needs)
        request = fit.ratio[np.arange(len(MODELS)), chosen].transpose(2, 0, 1) * needs[:, None, :]
        request = np.minimum(request, farthest[:, None, :])  # (models, breadths, k)
        most = np.maximum(np.minimum(needs * fit.ratio[:, -1:], farthest), fit.most)[:, None, :]
        margin = 1 + np.array(MARGINS)[:, None]
        first, then = request[:, :, None, :] * margin, most[:, :, None, :] * np.maximum(margin, _LEAST_MARGIN_AGAIN)
        fade = _FADING ** np.arange(len(y) - 1, -1, -1)
        asked = np.where(np.isfinite(preset), preset, y * 1e6)  # no preset: one that nobody would choose
        self._cost *= _FADING ** len(y)
        self._cost[:-1] += (wasted(first, then, y, time) * fade).sum(axis=-1).ravel()
        self._cost[-1] += (wasted(asked, 2 * asked, y, time) * fade).sum()
        self._judged += len(y)

    def state(self) -> dict[str, Any]:
        """What does not follow from the window."""
        return {"cost": self._cost.tolist(), "judged": self._judged}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes what ``state()`` gave; ValueError where it has another shape."""
        cost = np.array(state["cost"], dtype=np.float64)
        if cost.shape != self._cost.shape:
            raise ValueError("The kept estimates are of another version; they are learnt anew.")
        self._cost, self._judged = cost, int(state["judged"])
