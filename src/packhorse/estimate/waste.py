"""What requests waste: the objective that decides one, and what one that was made would have cost."""

from __future__ import annotations

from typing import Any

import numpy as np

from packhorse.estimate.points import Floats

LEAST_RAISE = 1.05
"""A retry asks for at least so many times what was too little."""
OVERHEAD_S = 60.0
"""What a failed attempt costs beside its own time: it is placed and started again."""
CORE_MB = 4000.0
"""The memory that a core is worth, which a failed attempt keeps busy meanwhile."""


def least_waste(values: Floats, counts: Floats, times: Floats, core: Any, cap: float) -> Any:
    """Index of the value that wastes least if asked for, over the last axis, of those that fail with a chance of at
    most ``cap``.

    Values are in ascending order, ``counts`` what each stands for, ``times`` that times its runtime in seconds,
    ``core`` the worth of a core in the unit of the values. Tovar et al.'s objective (2018): what is asked for, for
    as long as it runs, once; and for those that fail once more, as the most that was seen; with what a failed
    attempt costs beside. Of equals the largest.
    """
    below_times, below_counts = np.cumsum(times, axis=-1), np.cumsum(counts, axis=-1)
    all_times, all_counts = below_times[..., -1:], below_counts[..., -1:]
    tail_times, tail_counts = all_times - below_times, all_counts - below_counts
    tail_times[..., -1] = tail_counts[..., -1] = 0
    waste = values * all_times + (values + core) * OVERHEAD_S * tail_counts + values[..., -1:] * tail_times
    waste = np.where(tail_counts <= cap * all_counts, waste, np.inf)
    return waste.shape[-1] - 1 - np.argmin(waste[..., ::-1], axis=-1)


def wasted(first: Floats, then: Floats, need: Floats, time: Floats) -> Floats:
    """MB × seconds wasted on ``need`` by asking for ``first``, then ``then``, then twice as much each time."""
    then = np.where(then > first * LEAST_RAISE, then, 2 * first)
    doublings = np.ceil(np.log2(np.maximum(need / then, 1)))
    again = then * (2.0**doublings - 1) * (time + OVERHEAD_S) + (then * 2.0**doublings - need) * time
    failed = first * (time + OVERHEAD_S) + (1 + doublings) * CORE_MB * OVERHEAD_S
    return np.where(first >= need, (first - need) * time, failed + again)


def beyond(failed: float, preset: float | None, far: bool = False) -> float:
    """What to try after more than anything seen was too little: twice as much, or the preset where it is not as far.

    With ``far`` the preset wherever it is more.
    """
    if preset is not None and failed < preset and (far or preset < 2 * failed):
        return preset
    return 2 * failed
