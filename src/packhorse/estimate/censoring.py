"""Attempts that were cut off say 'at least this': what a window is worth with them."""

from __future__ import annotations

import numpy as np

from packhorse.estimate.points import Floats

_BEYOND_ALL = 1.5
"""What is supposed of one that was cut off above everything that ran to its end, as a multiple."""


def settled(values: Floats, at_least: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Values and weights (n) in which those that are only a least value are accounted for; a weight of 0: leave it out.

    The weight of one that was cut off goes to those that needed more, as Efron has it (the two sample problem with
    censored data, 1967), which is Kaplan and Meier's estimate. Where none needed more, it stands for itself, raised.
    """
    values, weight = values.copy(), np.where(np.isfinite(values), weight, 0.0)
    for index in sorted(np.flatnonzero((at_least > 0) & (weight > 0)), key=lambda each: values[each]):
        more = (values > values[index]) & (weight > 0) & (at_least == 0)
        if more.any():
            weight[more] *= 1 + weight[index] / weight[more].sum()
            weight[index] = 0.0
        else:
            values[index] *= _BEYOND_ALL
    return values, weight
