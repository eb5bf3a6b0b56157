"""What to ask for while fewer than three of a kind have ended: from what other kinds used of their presets, and how
they vary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from packhorse.estimate.points import Floats
from packhorse.estimate.sizing import LEAST_HISTORY, Sized
from packhorse.estimate.waste import CORE_MB, LEAST_RAISE, beyond, least_waste

LEAST_KINDS = 5
"""Other kinds that have to be known before anything is taken from them."""
QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_CAUTION = 0.5
"""What a cap on failures is multiplied by, where other kinds stand for this one."""
_RUNTIME_S = 300.0
"""What is supposed of the time of tasks that nobody has seen."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What is taken from another kind: quantiles of what its tasks used, and of that as a share of their presets."""

    used: tuple[float, ...]
    share: tuple[float, ...] | None


def spread_of(used: Floats, preset: Floats) -> Spread:
    """Of one kind's window (n); the order of its rows is no matter."""
    known = np.isfinite(preset)
    share = tuple(np.quantile(used[known] / preset[known], QUANTILES).tolist()) if known.any() else None
    return Spread(tuple(np.quantile(used, QUANTILES).tolist()), share)


def size(own: Sequence[float], preset: float | None, others: Sequence[Spread], cap: float) -> Sized | None:
    """From what one or two of its own used, or from none; None where nothing can be said."""
    values = _values(own, preset, others)
    if values is not None:
        request = _choose(values, cap)
        if preset is not None and preset >= max(own, default=0):
            request = min(request, preset)
        low, median, high = (float(each) for each in np.quantile(values, (0.05, 0.5, 0.95)))
        return Sized(request, median, low, high, float((values > request).mean()), "other kinds")
    if preset is not None and preset >= max(own, default=0):
        middle = float(np.median(own)) if own else preset
        return Sized(preset, middle, min([*own, middle]), preset, 0.0, "preset")
    if own:
        return Sized(2 * max(own), float(np.median(own)), min(own), 2 * max(own), 1 / (len(own) + 2), "twice the most")
    return None


def resize(failed: float, own: Sequence[float], preset: float | None, others: Sequence[Spread], cap: float) -> float:
    """What to ask for after ``failed`` was too little."""
    values = _values(own, preset, others)
    if values is not None and preset is None:
        above = values[values > failed]
        if len(above) >= LEAST_HISTORY:
            again = _choose(above, cap)
            if again > failed * LEAST_RAISE:
                return again
    return beyond(failed, preset, far=True)


def _choose(values: Floats, cap: float) -> float:
    even = np.ones(len(values))
    return float(values[int(least_waste(values, even, even * _RUNTIME_S, CORE_MB, _CAUTION * cap))])


def _values(own: Sequence[float], preset: float | None, others: Sequence[Spread]) -> Floats | None:
    """What a task may need, each as likely as any other, in ascending order; None where too few other kinds are
    known.
    """
    if own:
        used = np.array([each.used for each in others])
        if len(used) < LEAST_KINDS:
            return None
        middle = np.exp(np.mean(np.log(own)))
        return np.sort((middle * used[:, :, None] / used[:, None, :]).ravel())
    shares = [each.share for each in others if each.share is not None]
    if preset is None or len(shares) < LEAST_KINDS:
        return None
    return np.sort(preset * np.array(shares).ravel())
