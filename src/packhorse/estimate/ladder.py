"""A short ladder of amounts, so that tasks of similar size share blocks and allocations."""

from __future__ import annotations

from math import ceil, log2

_STEPS = 4
"""To each doubling: no request is more than 19 % above what was decided."""


def ladder(amount: float) -> int:
    """The least step that is not below ``amount``, a whole number; 0 for 0."""
    if amount <= 0:
        return 0
    step = ceil(round(log2(amount) * _STEPS, 9))
    return ceil(round(2 ** (step / _STEPS), 6))
