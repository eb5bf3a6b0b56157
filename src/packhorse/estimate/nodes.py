"""How fast node types are, from tasks of one kind that ran on several of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from packhorse.estimate.points import Floats

_LEAST = 3
_MOST = 5.0


def log_times(node: Floats, wall: Floats) -> dict[float, float]:
    """Of one kind: the median of the logarithm of its wall time, for each node type on which enough of it ran."""
    known = np.isfinite(wall)
    found = {}
    for each in np.unique(node[known]):
        of_type = np.log(wall[known & (node == each)])
        if len(of_type) >= _LEAST:
            found[float(each)] = float(np.median(of_type))
    return found


def ratio(kinds: Sequence[dict[float, float]], node: float, base: float) -> float | None:
    """Wall time on one type relative to another: the median over the kinds that ran on both; None where none did."""
    shifts = [kind[node] - kind[base] for kind in kinds if node in kind and base in kind]
    return float(np.clip(np.exp(np.median(shifts)), 1 / _MOST, _MOST)) if shifts else None
