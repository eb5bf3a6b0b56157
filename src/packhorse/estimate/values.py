"""What a number that tasks said will be next: how fast they got on, by which a step makes its chunks."""

from __future__ import annotations

from collections.abc import Sequence

_HALF_LIFE = 100
"""Tasks after which one counts for half: a run's tasks count alike, those of runs long ago hardly."""
_FAR = 50.0
"""In logarithms: what is farther from the median is as good as that."""


def expected(said: Sequence[float]) -> float | None:
    """The median of what tasks ``said``, the oldest first: the latest count more, and what was before a clear change
    (other nodes, another database) does not count. None of nothing.
    """
    since = said[_changed(said) :]
    weighed = sorted((value, 0.5 ** ((len(since) - place) / _HALF_LIFE)) for place, value in enumerate(since))
    half, passed = sum(weight for _, weight in weighed) / 2, 0.0
    for value, weight in weighed:
        passed += weight
        if passed >= half:
            return value
    return None


def _changed(said: Sequence[float]) -> int:
    """How many, the oldest, are of a behaviour that is over."""
    if not said or min(said) <= 0:
        return 0
    import numpy as np

    from packhorse.estimate.behaviour import changed_before

    far = np.log(np.array(said))
    return changed_before(np.exp(np.clip(far - np.median(far), -_FAR, _FAR)))
