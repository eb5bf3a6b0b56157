"""The models of a window, and what one more task may need by each: a sample of what it predicts times its past
errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from packhorse.estimate.behaviour import changed_before
from packhorse.estimate.points import FAR, MODELS, Floats, Points
from packhorse.estimate.waste import CORE_MB, least_waste

BREADTHS = (0.1, 0.5, np.inf)
"""Standard deviations of a normal kernel over the logarithm of a task's size: within which tasks count as similar."""
_FLOOR = 1e-3
_OLD_WEIGHT = 0.02
"""Of all that was before an app changed, relative to all since."""
_POWER_LAW = MODELS.index("power law")


@dataclass(frozen=True, slots=True)
class Sample:
    """What one task may need: values in ascending order, with their weights as counts and by runtime."""

    values: Floats
    counts: Floats
    times: Floats

    def quantile(self, q: float) -> float:
        """The least value at or below which a share ``q`` lies."""
        below = np.cumsum(self.counts)
        return float(self.values[min(np.searchsorted(below, q * below[-1] * (1 - 1e-12)), len(self.values) - 1)])

    def choose(self, cap: float) -> float:
        """The value that wastes least, of those that fail with a chance of at most ``cap``."""
        return float(self.values[int(least_waste(self.values, self.counts, self.times, CORE_MB, cap))])

    def above(self, amount: float) -> Sample:
        """Given that more is needed."""
        more = self.values > amount
        return Sample(self.values[more], self.counts[more], self.times[more])

    def chance_above(self, amount: float) -> float:
        """Of needing more; never quite none near what was seen, since there is always a task that has not been seen."""
        share = float(self.counts[self.values > amount].sum() / self.counts.sum())
        return share if amount > FAR * self.values[-1] else max(share, 1 / (len(self.values) + 2))


class Fit:
    """All models of a window: ``y`` (n) are needs, ``time`` (n) runtimes in seconds, the rest as for ``Points``."""

    def __init__(self, y: Floats, time: Floats, sizes: Floats, choices: Floats, weight: Floats) -> None:
        self.given = y, weight
        self.points = Points(y, sizes, choices, weight)
        self.old = changed_before(y / self.points.held_out[_POWER_LAW])
        """How many rows are of a behaviour that is over."""
        if self.old:
            weight = weight.copy()
            weight[: self.old] *= _OLD_WEIGHT * (len(y) - self.old) / self.old
            self.points = Points(y, sizes, choices, weight)
        self.most = float(y[self.old :].max())
        ratio = y / self.points.held_out
        self.order = ratio.argsort(axis=1)
        self.ratio = np.take_along_axis(ratio, self.order, 1)
        """(models, n): errors in ascending order, as ``order`` gives the rows."""
        self.time = time

    def is_of(self, y: Floats, weight: Floats) -> bool:
        """Whether it is of these rows, or of these and older ones."""
        count = len(y)
        return np.array_equal(self.given[0][-count:], y) and np.array_equal(self.given[1][-count:], weight)

    def weights(self, distance: Floats) -> Floats:
        """What rows count for at ``distance`` (k, n): (breadths, k, n)."""
        kernels = [
            np.exp(-0.5 * (distance / breadth) ** 2) + _FLOOR if np.isfinite(breadth) else np.ones_like(distance)
            for breadth in BREADTHS
        ]
        return np.stack(kernels) * self.points.weight

    def farthest(self, need: Floats) -> Floats:
        """The most that is thought possible where a model says ``need``."""
        return FAR * np.maximum(need, self.most)

    def sample(self, model: int, breadth: int, sizes: Floats, choices: Floats) -> Sample:
        """What a task of ``sizes`` (s) and ``choices`` (c) may need."""
        needs, distance = self.points.at(sizes[None, :], choices[None, :])
        order, need = self.order[model], needs[model, 0]
        counts = self.weights(distance)[breadth, 0][order]
        return Sample(np.minimum(need * self.ratio[model], self.farthest(need)), counts, counts * self.time[order])
