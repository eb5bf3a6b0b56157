"""Whether what was seen can be taken for need: apps that take what they are given, and apps that have changed."""

from __future__ import annotations

import numpy as np

from packhorse.estimate.points import Floats

_LEAST_FOLLOWING = 6
_LEAST_VARIED = 0.1
"""Standard deviation of the logarithm of the grants, for tasks of one size: below it nothing can be told."""
_FOLLOWS, _CORRELATED = 0.7, 0.9
_LATEST = (8, 12, 18, 27, 40, 60, 90, 135, 200)
_STRAY = 0.15
_CLEARLY = 1.2


def follows_grant(peak: Floats, granted: Floats, sizes: Floats) -> bool:
    """Whether peak memory goes with what was granted rather than with the task's size.

    For tasks of one size, grants have to differ: a good estimate, which goes with the size as well, is not taken for
    an app that sizes itself from its host. ``peak`` and ``granted`` are (n), ``sizes`` (n, s).
    """
    known = np.isfinite(peak) & np.isfinite(granted) & (granted > 0) & (peak > 0)
    if known.sum() < _LEAST_FOLLOWING:
        return False
    if np.log(granted[known]).std() < _LEAST_VARIED:  # nor will it be more for tasks of one size
        return False
    explained = [np.ones(int(known.sum()))]
    for column in np.where(np.isfinite(sizes[known]), np.log1p(np.maximum(sizes[known], 0)), 0).T:
        if np.ptp(column) > 0:
            explained.append(column)
    basis = np.stack(explained, axis=1)
    if len(basis) < basis.shape[1] + _LEAST_FOLLOWING - 1:
        return False
    both = np.stack([np.log(peak[known]), np.log(granted[known])], axis=1)
    rest = both - basis @ np.linalg.lstsq(basis, both, rcond=None)[0]
    y, g = rest[:, 0], rest[:, 1]
    if g.std() < _LEAST_VARIED or y.std() == 0:
        return False
    slope, correlation = float(y @ g / (g @ g)), float(y @ g / np.sqrt((y @ y) * (g @ g)))
    return slope >= _FOLLOWS and correlation >= _CORRELATED


def changed_before(ratio: Floats) -> int:
    """How many rows (the oldest first) are of a behaviour that is over; 0 where none are.

    ``ratio`` is need by what a model said without having seen it: sizes that grow are no change. An app has changed
    where the latest (eight or more) lie clearly above, or clearly below, what was before, all but a few strays on
    both sides.
    """
    least = _LATEST[0]
    if len(ratio) < 2 * least:
        return 0
    latest, middle = ratio[-least:], ratio.mean()
    upward = bool(latest.min() > middle)
    if not upward and not latest.max() < middle:
        return 0
    if not upward:
        ratio = 1 / ratio
    old = 0
    for count in _LATEST:
        if len(ratio) < count + least:
            break
        before = np.quantile(ratio[:-count], 1 - _STRAY)
        if np.quantile(ratio[-count:], _STRAY) > before * _CLEARLY:
            old = len(ratio) - count
    return old
