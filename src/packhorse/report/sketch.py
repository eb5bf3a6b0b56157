"""Distributions of millions of numbers in constant memory: quantiles to 1 %, and histograms to draw."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

_ACCURACY = 0.01  # relative
_BASE = (1 + _ACCURACY) / (1 - _ACCURACY)
_LOG = math.log(_BASE)
_TINY = 1e-9  # below it a number is counted as zero


class Sketch:
    """Numbers that are not negative, counted in buckets whose bounds grow by 2 %.

    Masson, Rim and Lee: DDSketch, a fast and fully mergeable quantile sketch with relative-error guarantees (VLDB
    2019).
    """

    __slots__ = ("_buckets", "_zeros", "count", "maximum", "total")

    def __init__(self, numbers: Sequence[float] = ()) -> None:
        self._buckets: Counter[int] = Counter()
        self._zeros = 0
        self.count = 0
        self.total = 0.0
        self.maximum = 0.0
        for number in numbers:
            self.add(number)

    def add(self, number: float) -> None:
        """Counts one; what is negative, or no number, is left out."""
        if not 0 <= number < math.inf:
            return
        self.count += 1
        self.total += number
        if number > self.maximum:
            self.maximum = number
        if number < _TINY:
            self._zeros += 1
        else:
            self._buckets[math.ceil(math.log(number) / _LOG)] += 1

    def quantile(self, part: float) -> float:
        """The number that ``part`` (0 to 1) of all are not above, to 1 %; 0.0 where there are none."""
        rank = part * (self.count - 1)
        seen = self._zeros
        if not self.count or seen > rank:
            return 0.0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen > rank:
                return min(_middle(bucket), self.maximum)
        return self.maximum

    def histogram(self, upper: float, bins: int) -> list[int]:
        """How many lie in each of ``bins`` equal parts from 0 to ``upper``; those above are in the last."""
        found = [0] * bins
        if upper <= 0:
            return found
        found[0] += self._zeros
        for bucket, number in self._buckets.items():
            found[min(bins - 1, int(min(_middle(bucket), self.maximum) / upper * bins))] += number
        return found


def _middle(bucket: int) -> float:
    """The number that stands for a bucket: at most 1 % from any in it."""
    return 2 * _BASE**bucket / (_BASE + 1)
