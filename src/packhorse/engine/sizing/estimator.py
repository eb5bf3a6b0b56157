"""What a task is estimated to need, within the bounds of its site and of what was asked for: before it is placed, and
after it failed for want of something.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import sqlalchemy as sa
import structlog

from packhorse.domain.failures import FailureClass
from packhorse.domain.history import Features as StoredFeatures
from packhorse.domain.resources import Resources
from packhorse.engine.sizing.explained import explained
from packhorse.engine.sizing.histories import Histories, features_of
from packhorse.engine.sizing.rules import Rules, bounds, decides, preset
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.features import FeatureReader
from packhorse.estimate.decisions import Decision, Estimate
from packhorse.estimate.ladder import ladder
from packhorse.estimate.records import Amounts, Kind
from packhorse.sites.base import Limits as SiteLimits

_log = structlog.get_logger("packhorse.sizing")
_NOTHING_NEW = 1.0 / 1.05  # of what was asked for: what is nearly as much is granted as it was asked for


@dataclass(frozen=True, slots=True)
class Sized:
    """What a task is granted, what was decided, and what the decision goes by."""

    asked: Resources
    granted: Resources
    decision: Decision
    why: str
    others: bool = False
    """It goes by what other users' tasks used, too."""

    @property
    def median_s(self) -> float | None:
        """Wall time that half of such tasks need."""
        return self._wall.median if self._wall is not None and self._wall.history else None

    @property
    def high_s(self) -> float | None:
        """Wall time that nearly all of such tasks need."""
        return self._wall.high if self._wall is not None and self._wall.history else None

    @property
    def history(self) -> int:
        """How many attempts stand behind it."""
        return max((one.history for one in (self.decision.memory_mb, self._wall) if one is not None), default=0)

    @property
    def _wall(self) -> Estimate | None:
        return self.decision.walltime_s

    def row(self, task: int, attempt: int) -> dict[str, Any]:
        """As the store keeps it."""
        granted = self.granted
        said = explained(self.decision, self.asked, granted, self.why)
        return {
            "task_id": task,
            "attempt": attempt,
            "memory_mb": granted.memory_mb,
            "walltime_s": granted.walltime_s,
            "decision": said,
        }


class Estimator:
    """For one thread at a time."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.features = FeatureReader()
        self._histories = Histories()

    def refresh(self, connection: sa.Connection) -> None:
        """Takes in what has ended since the last time."""
        self._histories.refresh(connection)

    def knows(self, connection: sa.Connection, step: Step, kind: Kind) -> int:
        """How many attempts stand behind the estimates for tasks of this kind of a step."""
        best, _ = self._histories.best(kind, self._owner(connection, step))
        return self._histories.predictor.history(best)

    def decide(
        self,
        connection: sa.Connection,
        step: Step,
        params: str,
        asked: Resources,
        features: StoredFeatures,
        limits: Sequence[SiteLimits],
    ) -> Sized:
        """What one task is to be granted where estimates are on."""
        kind, others = self._histories.best(step.kind(params), self._owner(connection, step))
        within = bounds(asked, limits, others=others)
        how = (kind, features_of(features), preset(asked), self.rules.policy, within)
        on = self._histories.nodes_of(step.row.site)
        decision = _or_nothing(lambda: self._histories.predictor.decide(*how, on))
        memory, wall = decides(asked, sizes_itself=step.sizes_itself)
        changes: dict[str, Any] = {}
        if memory and (estimate := decision.memory_mb) and _differs(estimate, asked.memory_mb):
            changes["ram_gb"] = _on_ladder(estimate.request, within.most.memory_mb) / 1000
        if wall and (estimate := decision.walltime_s) and _differs(estimate, asked.walltime_s):
            changes["walltime_s"] = _on_ladder(estimate.request, within.most.walltime_s)
        granted = asked.override(changes)
        return Sized(asked, granted, decision, self._why(decision, step, others=others), others)

    def _why(self, decision: Decision, step: Step, *, others: bool) -> str:
        known = max((one.history for one in (decision.memory_mb, decision.walltime_s) if one is not None), default=0)
        if not known:
            return "Nothing is known of tasks like it yet, so that what was asked for is granted."
        number = "one attempt" if known == 1 else f"{known:,} attempts"
        whose = "of several users" if others else "of the same user"
        told = f"Estimated from {number} {whose} at tasks like it."
        if step.sizes_itself:
            told += " Its command is told its memory, which it may fill: that is granted as it was asked for."
        return told

    def raised(
        self,
        connection: sa.Connection,
        step: Step,
        params: str,
        features: StoredFeatures,
        failure: FailureClass,
        granted: Resources,
        asked: Resources,
        limits: Sequence[SiteLimits],
    ) -> Sized | str:
        """What to grant after a failure for want of memory or time, or why there is no more of it."""
        kind, _ = self._histories.best(step.kind(params), self._owner(connection, step))
        within = bounds(asked, limits, others=False)
        failed = Amounts(granted.memory_mb, granted.walltime_s, granted.cpu_cores)
        how = (kind, features_of(features), failed, failure, preset(asked), self.rules.policy, within)
        on = self._histories.nodes_of(step.row.site)
        decision = _or_nothing(lambda: self._histories.predictor.retry(*how, on))
        if decision.exhausted:
            if asked.hard:
                return "what was asked for is marked as a hard limit"
            return "no site can give it more"
        changes: dict[str, Any] = {}
        if failure is FailureClass.OUT_OF_MEMORY and (estimate := decision.memory_mb):
            changes["ram_gb"] = _on_ladder(estimate.request, within.most.memory_mb) / 1000
        if failure is FailureClass.OUT_OF_TIME and (estimate := decision.walltime_s):
            changes["walltime_s"] = _on_ladder(estimate.request, within.most.walltime_s)
        return Sized(asked, granted.override(changes), decision, f"It went over its limit ({failure.value}) before.")

    def _owner(self, connection: sa.Connection, step: Step) -> str:
        return self.features.texts.digest(connection, f"user {step.row.user}")


def _or_nothing(decide: Callable[[], Decision]) -> Decision:
    """A decision; where it cannot be made, one that changes nothing: whatever a history holds, it stops no site."""
    try:
        decision = decide()
    except Exception:
        _log.exception("not_estimated")
        return Decision()
    if not all(isfinite(one.request) for one in (decision.memory_mb, decision.walltime_s) if one is not None):
        _log.warning("estimate_not_finite")
        return Decision()
    return decision


def _differs(estimate: Estimate, asked: float | None) -> bool:
    """Whether what is estimated is worth another size than what was asked for."""
    if asked is None:
        return False
    return estimate.request > asked or ladder(estimate.request) < _NOTHING_NEW * asked


def _on_ladder(amount: float, most: float | None) -> float:
    """The next step of the ladder, or the most that there is."""
    step = float(ladder(amount))
    return step if most is None else min(step, most)
