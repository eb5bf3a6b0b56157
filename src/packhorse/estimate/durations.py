"""What a task of an app is likely to cost, from the last ones that ended. Decides the size of blocks, nothing else."""

from __future__ import annotations

from collections import OrderedDict, deque

_WINDOW = 31
_KEPT = 1000


class Durations:
    """Recent core-seconds by key.

    The median, so that the task that loaded a model does not stand for the thousand that did not.
    """

    def __init__(self) -> None:
        self._recent: OrderedDict[str, deque[float]] = OrderedDict()  # those of which nothing ended for longest leave
        self._known: dict[str, float] = {}

    def observe(self, key: str, core_s: float) -> None:
        """A task of ``key`` ended after ``core_s`` core-seconds."""
        self._recent.setdefault(key, deque(maxlen=_WINDOW)).append(core_s)
        self._recent.move_to_end(key)
        self._known.pop(key, None)
        if len(self._recent) > _KEPT:
            self._known.pop(self._recent.popitem(last=False)[0], None)

    def predict(self, key: str) -> float | None:
        """Core-seconds of the next one; None when none has ended yet."""
        if key not in self._known:
            recent = self._recent.get(key)
            if not recent:
                return None
            from statistics import median  # slow to import, and nothing has ended when an engine begins

            self._known[key] = median(recent)
        return self._known[key]
