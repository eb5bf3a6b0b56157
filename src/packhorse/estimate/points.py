"""Point models of what a task needs, from its size and from tasks like it, each with what it would have said of
those known.

Errors are measured on rows that a model has not seen: leave-one-out, in closed form for the linear ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MODELS = ("constant", "linear", "power law", "nearest", "3 nearest", "7 nearest")
FAR = 2.0
"""No more than so many times what was seen, or is expected, is thought possible: of few rows an error may have any
size.
"""
_NEAREST = (1, 3, 7)
_OTHER_CHOICE = 1.0
"""How far apart, in logarithms of size, tasks are that differ in one choice."""
_RECENT = 1e-6
"""What a row is farther away for each that came after it: of rows alike, the latest are near."""


class Points:
    """All models of a window: ``y`` (n) are needs, ``sizes`` (n, s) their sizes, ``choices`` (n, c) codes,
    ``weight`` (n).
    """

    def __init__(self, y: Floats, sizes: Floats, choices: Floats, weight: Floats) -> None:
        self.y, self.choices, self.weight = y, _codes(choices), weight
        self._log_y = np.log(y)
        filled, self._fill = _without_gaps(sizes)
        self.column = _most_telling(np.log1p(filled), self._log_y, weight)
        self.x = filled[:, self.column] if filled.shape[1] else np.zeros(len(y))
        self.log_x = np.log1p(self.x)
        self._low, self._high = float(y.min()) / FAR, float(y.max()) * FAR
        self._largest = float(self.x.max())
        self._age = _RECENT * np.arange(len(y) - 1, -1, -1)
        self.held_out = np.empty((len(MODELS), len(y)))
        """(models, n): what each model says of each row without having seen it."""
        self._fit()

    def at(self, sizes: Floats, choices: Floats) -> tuple[Floats, Floats]:
        """For tasks of ``sizes`` (k, s) and ``choices`` (k, c): needs (models, k), and distances to the rows (k, n)."""
        k = len(sizes)
        x = np.zeros(k)
        if self.column is not None and sizes.shape[1]:
            x = np.where(np.isfinite(sizes[:, self.column]), sizes[:, self.column], self._fill[self.column])
        log_x = np.log1p(np.maximum(x, 0))
        distance = np.abs(log_x[:, None] - self.log_x[None, :]) + self._age
        if choices.shape[1]:
            distance = distance + _OTHER_CHOICE * _differing(_codes(choices), self.choices)
        need = np.empty((len(MODELS), k))
        need[0] = self._mean
        high = self._high * np.maximum(x / max(self._largest, 1), 1)  # beyond the largest, at most in proportion
        need[1] = np.clip(self._linear[0] + self._linear[1] * (x - self._linear[2]), self._low, high)
        log_need = self._power[0] + self._power[1] * (log_x - self._power[2])
        need[2] = np.exp(np.clip(log_need, np.log(self._low), np.log(high)))
        most = min(_NEAREST[-1], len(self.y))
        near = np.argpartition(distance, most - 1, axis=1)[:, :most]
        order = np.take_along_axis(distance, near, 1).argsort(axis=1, kind="stable")
        near_y = self.y[np.take_along_axis(near, order, 1)]
        for index, count in enumerate(_NEAREST):
            need[3 + index] = near_y[:, : min(count, most)].mean(axis=1)
        return need, distance

    def apart(self, rows: NDArray[np.intp]) -> Floats:
        """(k, n): how far ``rows`` (k) are from all of them; none is near itself. Not kept: it would be most of what
        is held.
        """
        distance: Floats = np.abs(self.log_x[rows, None] - self.log_x[None, :]) + self._age
        if self.choices.shape[1]:
            distance += _OTHER_CHOICE * _differing(self.choices[rows], self.choices)
        distance[np.arange(len(rows)), rows] = np.inf
        return distance

    def _fit(self) -> None:
        y, w, n = self.y, self.weight, len(self.y)
        total = w.sum()
        self._mean = float((w * y).sum() / total)
        without = (total * self._mean - w * y) / (total - w)
        self.held_out[0] = np.clip(without, self._low, self._high)  # the difference of large sums may be nothing
        self._linear, without = _line(self.x, y, w)
        self.held_out[1] = np.clip(without, self._low, self._high)
        self._power, without = _line(self.log_x, self._log_y, w)
        self.held_out[2] = np.exp(np.clip(without, np.log(self._low), np.log(self._high)))
        distance = self.apart(np.arange(n))
        most = min(_NEAREST[-1], n - 1)
        near = np.argpartition(distance, most - 1, axis=1)[:, :most]
        order = np.take_along_axis(distance, near, 1).argsort(axis=1, kind="stable")
        near_y = y[np.take_along_axis(near, order, 1)]
        for index, count in enumerate(_NEAREST):
            self.held_out[3 + index] = near_y[:, : min(count, most)].mean(axis=1)


def _line(u: Floats, v: Floats, w: Floats) -> tuple[tuple[float, float, float], Floats]:
    """Weighted least squares of v on u: (mean of v, slope, mean of u), and each fitted value without its own row."""
    total = w.sum()
    mean_u, mean_v = (w * u).sum() / total, (w * v).sum() / total
    du = u - mean_u
    spread = (w * du * du).sum()
    if spread <= 1e-12 * total or len(u) < 3:
        return (float(mean_v), 0.0, float(mean_u)), (total * mean_v - w * v) / (total - w)
    slope = (w * du * v).sum() / spread
    error = v - (mean_v + slope * du)
    leverage = w / total + w * du * du / spread
    return (float(mean_v), float(slope), float(mean_u)), v - error / np.maximum(1 - leverage, 0.05)


def _most_telling(log_sizes: Floats, log_y: Floats, weight: Floats) -> int | None:
    """The size by which a power law errs least on rows that it has not seen."""
    count = log_sizes.shape[1]
    if count <= 1:
        return 0 if count else None
    errors = [
        np.average(np.abs(log_y - _line(log_sizes[:, c], log_y, weight)[1]), weights=weight) for c in range(count)
    ]
    return int(np.argmin(errors))


def _without_gaps(sizes: Floats) -> tuple[Floats, Floats]:
    """Sizes with the median of their column where one is not known, and these medians; never below 0."""
    if not sizes.shape[1]:
        return sizes, np.zeros(0)
    known = np.where(np.isfinite(sizes), np.maximum(sizes, 0), np.nan)
    if np.isfinite(known).all():
        return known, np.median(known, axis=0)
    fill = np.zeros(sizes.shape[1])
    for column in range(sizes.shape[1]):
        there = known[:, column][np.isfinite(known[:, column])]
        fill[column] = np.median(there) if len(there) else 0.0
    return np.where(np.isfinite(known), known, fill), fill


def _codes(choices: Floats) -> Floats:
    """Choices with a code of their own for those that are not known; others are never negative."""
    return np.where(np.isnan(choices), -1.0, choices)


def _differing(ones: Floats, others: Floats) -> Floats:
    """How many choices differ, (k, n)."""
    different = np.zeros((len(ones), len(others)))
    for one, other in zip(ones.T, others.T, strict=True):
        different += one[:, None] != other[None, :]
    return different
