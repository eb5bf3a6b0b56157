"""How long a task will run: a median to plan by, and an upper quantile as its limit. Kept apart: they answer two
questions.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from packhorse.estimate.censoring import settled
from packhorse.estimate.history import WALL, WALL_AT_LEAST
from packhorse.estimate.points import FAR, MODELS, Floats, Points
from packhorse.estimate.window import Window

LEAST_HISTORY = 3
_HALF_LIFE = 60
"""Attempts after which one counts for half: runtimes drift more than memory does."""
_LATEST = 100
"""Attempts that are looked at."""
_BEYOND = 1.5
"""How far, at least, a limit lies above the longest."""
_LAST = "the last two"


@dataclass(frozen=True, slots=True)
class Runtime:
    """A limit and the distribution behind it, in seconds."""

    limit: float
    median: float
    low: float
    high: float
    failure_chance: float
    model: str


class Runtimes:
    """Wall time of one kind, on its usual node type."""

    def __init__(self, y: Floats, sizes: Floats, choices: Floats, weight: Floats) -> None:
        self.count = len(y)
        self._points = Points(y, sizes, choices, weight)
        self._recent = weight * 0.5 ** (np.arange(len(y) - 1, -1, -1) / _HALF_LIFE)
        said = np.vstack([self._points.held_out, _means_of_two_before(y)])
        error = np.abs(np.log(y / said))
        self._model = int(np.argmin((error * self._recent).sum(axis=1)))
        ratio = y / said[self._model]
        self._order = ratio.argsort()
        self._ratio = ratio[self._order]
        self._next = float(np.exp(np.log(y[-2:]).mean()))

    @classmethod
    def of(cls, window: Window, speed: Floats) -> Runtimes | None:
        """From a window, whose rows ran on nodes that take ``speed`` (n) times as long as the usual ones; None where
        they are too few.
        """
        latest = slice(-_LATEST, None)
        rows, weight = window.rows[latest], window.weight[latest]
        y, weight = settled(rows[:, WALL] / speed[latest], rows[:, WALL_AT_LEAST], weight)
        kept = weight > 0
        if kept.sum() < LEAST_HISTORY:
            return None
        return cls(y[kept], window.sizes[latest][kept], window.choices[latest][kept], weight[kept])

    def expect(self, sizes: Floats, choices: Floats, cap: float, ran_s: float = 0.0) -> Runtime:
        """For a task of ``sizes`` (s) and ``choices`` (c) that has run for ``ran_s``: how long it takes in all, and a
        limit that it reaches with a chance of at most ``cap``.
        """
        needs, _ = self._points.at(sizes[None, :], choices[None, :])
        by_model = self._model < len(MODELS)
        expected = float(needs[self._model, 0]) if by_model else self._next
        values = np.minimum(self._ratio * expected, FAR * max(expected, float(self._points.y.max())))
        # Errors of tasks of any size: those of alike ones alone are too few to say where the middle lies
        counts = self._recent[self._order]
        longer = values > ran_s
        if not longer.any():
            return Runtime(2 * ran_s, 2 * ran_s, ran_s, 2 * ran_s, 0.0, "twice as long as it ran")
        values, counts = values[longer], counts[longer]
        below = np.cumsum(counts) / counts.sum()
        low, median, high = (_at(values, below, q) for q in (0.05, 0.5, 0.95))
        # Longer than the longest: what was never seen may still come, the sooner the less was seen
        longest = max(_at(values, below, 1 - cap), float(self._points.y.max()))
        limit = longest * (_BEYOND + 1 / sqrt(self.count))
        above = float(counts[values > limit].sum() / counts.sum())
        return Runtime(limit, median, low, high, above, MODELS[self._model] if by_model else _LAST)


def _at(values: Floats, below: Floats, q: float) -> float:
    return float(values[min(int(np.searchsorted(below, q - 1e-12)), len(values) - 1)])


def _means_of_two_before(y: Floats) -> Floats:
    """The geometric mean of the two before each row; of the first nothing is said that could win."""
    log_y = np.log(y)
    said = np.empty(len(y))
    said[0] = log_y[0] + 1
    said[1] = log_y[0]
    said[2:] = (log_y[:-2] + log_y[1:-1]) / 2
    return np.exp(said)
