"""What tasks will need, from those that ran before."""

from __future__ import annotations

import math
from collections import OrderedDict, deque

from packhorse.domain.failures import FailureClass
from packhorse.estimate.decisions import Decision, Estimate, Limits, Policy
from packhorse.estimate.records import Amounts, Features, Kind, Record

_POLICY = Policy()
_LIMITS = Limits()
_MARGIN = 1.25


class Predictor:
    """The most seen, with a margin."""

    def __init__(self) -> None:
        self._kinds: OrderedDict[Kind, deque[Record]] = OrderedDict()

    def observe(self, record: Record) -> None:
        self._kinds.setdefault(record.kind, deque(maxlen=500)).append(record)
        self._kinds.move_to_end(record.kind)
        if len(self._kinds) > 1000:
            self._kinds.popitem(last=False)

    def decide(self, kind: Kind, features: Features, preset: Amounts, policy: Policy = _POLICY,
               limits: Limits = _LIMITS, node_type: str = "") -> Decision:  # fmt: skip
        seen = self._kinds.get(kind, ())
        memory = [one.peak_memory_bytes / 1e6 for one in seen if one.peak_memory_bytes and not one.memory_censored]
        wall = [one.wall_s for one in seen if one.wall_s is not None and not one.walltime_censored]
        return Decision(
            _estimate(memory, preset.memory_mb, limits.least.memory_mb, limits.most.memory_mb, 1.0),
            _estimate(wall, preset.walltime_s, limits.least.walltime_s, limits.most.walltime_s, 2.0),
        )

    def retry(self, kind: Kind, features: Features, failed: Amounts, failure: FailureClass, preset: Amounts,
              policy: Policy = _POLICY, limits: Limits = _LIMITS, node_type: str = "") -> Decision:  # fmt: skip
        memory, wall = failed.memory_mb, failed.walltime_s
        if failure is FailureClass.OUT_OF_MEMORY and memory is not None:
            most = limits.most.memory_mb or math.inf
            if memory >= most:
                return Decision(exhausted="memory_mb")
            memory = min(most, 2 * memory)
        if failure is FailureClass.OUT_OF_TIME and wall is not None:
            most = limits.most.walltime_s or math.inf
            if wall >= most:
                return Decision(exhausted="walltime_s")
            wall = min(most, 2 * wall)
        return Decision(_fixed(memory), _fixed(wall))

    def history(self, kind: Kind) -> int:
        return len(self._kinds.get(kind, ()))


def _fixed(amount: float | None) -> Estimate | None:
    return None if amount is None else Estimate(amount, amount, amount, amount, 0.05, 0, "twice what was too little")


def _estimate(
    seen: list[float], preset: float | None, least: float | None, most: float | None, more: float
) -> Estimate | None:
    if len(seen) < 3:
        return None if preset is None else Estimate(preset, preset, 0, preset, 0.05, len(seen), "as asked for")
    ordered = sorted(seen)
    request = min(max(_MARGIN * more * ordered[-1], least or 0.0), most or math.inf)
    median = ordered[len(ordered) // 2]
    return Estimate(request, median, ordered[0], ordered[-1], 0.05, len(seen), "the most seen, and a quarter more")
