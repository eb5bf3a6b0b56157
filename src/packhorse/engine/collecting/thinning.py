"""Which attempts of a large run are remembered: all of a small one, ever fewer of many that are alike. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

SHORT_CORE_S = 10.0  # attempts that cost less are alike enough, after some
_WHOLE_SHORT, _WHOLE = 100, 2000  # attempts of a step, with the same outcome, of which each is kept
_MORE = 1.05  # what used that much more than all before is always kept
_STEPS = 4096


@dataclass(slots=True)
class _Seen:
    """Attempts of one step with one outcome."""

    number: int = 0
    left_out: int = 0
    most_memory: float = 0.0
    most_s: float = 0.0


class Thinning:
    """Of n attempts that are alike it keeps about ``whole · (1 + ln(n / whole))``: 1,000 of a million short ones."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[int, str | None], _Seen] = OrderedDict()

    def keep(self, step: int, outcome: str | None, core_s: float, wall_s: float, memory: float) -> int:
        """How many attempts this one stands for, those that were left out before it among them; 0: it is left out."""
        seen = self._seen.get((step, outcome))
        if seen is None:
            seen = self._seen[step, outcome] = _Seen()
            if len(self._seen) > _STEPS:
                self._seen.popitem(last=False)
        seen.number += 1
        whole = _WHOLE_SHORT if core_s < SHORT_CORE_S else _WHOLE
        is_more = memory > _MORE * seen.most_memory or wall_s > _MORE * seen.most_s
        if seen.left_out < (seen.number - 1) // whole and not is_more:
            seen.left_out += 1
            return 0
        seen.most_memory, seen.most_s = max(seen.most_memory, memory), max(seen.most_s, wall_s)
        stands_for, seen.left_out = 1 + seen.left_out, 0
        return stands_for
