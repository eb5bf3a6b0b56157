"""All that is predicted of one kind of task: its memory, disk, wall time and cores, as one decision with its
reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from packhorse.domain.failures import FailureClass
from packhorse.estimate import behaviour, cold, cores, nodes
from packhorse.estimate.decisions import Decision, Estimate, Limits, Policy
from packhorse.estimate.history import (
    CPU,
    DISK,
    DISK_AT_LEAST,
    GRANTED_CORES,
    GRANTED_MEMORY,
    MEMORY,
    MEMORY_AT_LEAST,
    NODE,
    PRESET,
    WALL,
    History,
    code_of,
)
from packhorse.estimate.need import Need, bounded, explained
from packhorse.estimate.points import Floats
from packhorse.estimate.records import Amounts, Features
from packhorse.estimate.walltime import LEAST_HISTORY, Runtime, Runtimes
from packhorse.estimate.window import FEW, Window

_BUSY_OBSERVED = 50
_UNKNOWN = "as asked: too little is known"


class KindModels:
    """The models of one kind, fitted to its history when they are asked.

    ``versions`` gives the histories of other versions, the latest last; ``others`` the models of other kinds.
    """

    def __init__(self, history: History, versions: Callable[[], Sequence[History]],
                 others: Callable[[], Sequence[KindModels]]) -> None:  # fmt: skip
        self.history = history
        self._other_versions, self._others = versions, others
        self._memory = Need(MEMORY, MEMORY_AT_LEAST, with_presets=True)
        self._disk = Need(DISK, DISK_AT_LEAST, with_presets=False)
        self._window = Window.of(history, ())
        self._runtimes: Runtimes | None = None
        self._follows = False
        self._version = 0
        self._fitted = False
        self._node = code_of("")
        self._spread: tuple[int, cold.Spread | None] = (-1, None)
        self._log_times: tuple[int, dict[float, float]] = (-1, {})

    def decide(self, features: Features, preset: Amounts, policy: Policy, limits: Limits,
               on: Sequence[str]) -> Decision:  # fmt: skip
        """See ``Predictor.decide``."""
        self._learn()
        sizes, choices = self._window.task(features)
        return Decision(
            memory_mb=self._memory_for(sizes, choices, preset.memory_mb, policy, limits),
            walltime_s=self._walltime_for(sizes, choices, preset.walltime_s, policy, limits, on),
            cores=self._cores_for(preset.cores, policy, limits),
            disk_mb=self._disk_for(sizes, choices, preset.disk_mb, policy, limits),
        )

    def retry(self, features: Features, failed: Amounts, failure: FailureClass, preset: Amounts, policy: Policy,
              limits: Limits, on: Sequence[str]) -> Decision:  # fmt: skip
        """See ``Predictor.retry``."""
        again = self.decide(features, preset, policy, limits, on)
        if failure is FailureClass.OUT_OF_MEMORY and failed.memory_mb is not None:
            sizes, choices = self._window.task(features)
            more = self._memory.after(
                failed.memory_mb, sizes, choices, preset.memory_mb, policy.failure_cap, self._spreads_of_others
            )
            raised, exhausted = _raised(again.memory_mb, failed.memory_mb, more, limits.most.memory_mb)
            return replace(again, memory_mb=raised, exhausted="memory_mb" if exhausted else None)
        if failure is FailureClass.OUT_OF_TIME and failed.walltime_s is not None:
            longest, limit = again.walltime_s.request if again.walltime_s else 0.0, failed.walltime_s
            more = longest if longest > limit else 2 * limit
            raised, exhausted = _raised(again.walltime_s, limit, more, limits.most.walltime_s)
            return replace(again, walltime_s=raised, exhausted="walltime_s" if exhausted else None)
        return again

    def expect(self, features: Features, node_type: str, ran_s: float) -> Estimate | None:
        """See ``Predictor.expect``."""
        self._learn()
        if self._runtimes is None:
            return None
        speed = self._speed(code_of(node_type), self._node)
        sizes, choices = self._window.task(features)
        return self._explained(
            self._runtimes.expect(sizes, choices, Policy().walltime_failure_cap, ran_s / speed), speed
        )

    def _memory_for(self, sizes: Floats, choices: Floats, preset: float | None, policy: Policy,
                    limits: Limits) -> Estimate | None:  # fmt: skip
        least, most = limits.least.memory_mb, limits.most.memory_mb
        if self._follows:
            return self._as_granted(preset, least, most)
        sized = self._memory.size(sizes, choices, preset, policy.failure_cap, self._spreads_of_others)
        return explained(sized, self._memory.count, least, most) if sized else None

    def _disk_for(self, sizes: Floats, choices: Floats, preset: float | None, policy: Policy,
                  limits: Limits) -> Estimate | None:  # fmt: skip
        sized = self._disk.size(sizes, choices, preset, policy.failure_cap, list)
        return explained(sized, self._disk.count, limits.least.disk_mb, limits.most.disk_mb) if sized else None

    def _as_granted(self, preset: float | None, least: float | None, most: float | None) -> Estimate:
        """For an app that takes what it is given: what was asked for it, or the least with which it ran to its end."""
        rows = self._window.rows
        peak, granted = rows[:, MEMORY], rows[:, GRANTED_MEMORY]
        ended = np.isfinite(granted) & (rows[:, MEMORY_AT_LEAST] == 0)
        enough = float(granted[ended].min()) if ended.any() else float(np.nanmax(granted))
        request = bounded(preset if preset is not None else enough, least, most)
        low, median, high = (float(each) for each in np.nanquantile(peak, (0.05, 0.5, 0.95)))
        reason = "as asked: its peak memory goes with what it is granted, so it is not taken for need"
        return Estimate(request, median, low, high, 0.0, len(rows), reason, follows_grant=True)

    def _walltime_for(self, sizes: Floats, choices: Floats, preset: float | None, policy: Policy, limits: Limits,
                      on: Sequence[str]) -> Estimate | None:  # fmt: skip
        least, most = limits.least.walltime_s, limits.most.walltime_s
        if self._runtimes is None:
            if preset is None:
                return None
            request = bounded(preset, least, most)
            return Estimate(request, request, request, request, 0.0, 0, _UNKNOWN)
        runtime = self._runtimes.expect(sizes, choices, policy.walltime_failure_cap)
        speeds = [self._speed(code_of(each), self._node) for each in on] or [1.0]
        estimate = self._explained(runtime, speeds[0])
        return replace(estimate, request=bounded(runtime.limit * max(speeds), least, most))

    def _explained(self, runtime: Runtime, speed: float) -> Estimate:
        count = self._runtimes.count if self._runtimes else 0
        return Estimate(
            request=runtime.limit * speed,
            median=runtime.median * speed,
            low=runtime.low * speed,
            high=runtime.high * speed,
            failure_chance=runtime.failure_chance,
            history=count,
            reason=f"longer than any of {count} attempts; planned by {runtime.model}",
        )

    def _cores_for(self, asked: float | None, policy: Policy, limits: Limits) -> Estimate | None:
        if asked is None:
            return None
        rows = self._window.rows[-_BUSY_OBSERVED:]
        granted, busy = rows[:, GRANTED_CORES], rows[:, CPU] / rows[:, WALL]
        known = np.isfinite(granted) & np.isfinite(busy) & (rows[:, WALL] >= 1)
        request = bounded(asked, limits.least.cores, limits.most.cores)
        if known.sum() < LEAST_HISTORY or asked <= 1:
            return Estimate(request, asked, min(asked, 1.0), asked, 0.0, int(known.sum()), _UNKNOWN)
        pairs = list(zip(granted[known].tolist(), busy[known].tolist(), strict=True))
        wanted, middle, high = cores.worth(pairs, asked, policy.core_efficiency)
        request = bounded(wanted, limits.least.cores, limits.most.cores)
        reason = f"{middle:.1f} of {float(np.median(granted[known])):g} granted cores were busy"
        return Estimate(request, middle, float(busy[known].min()), high, 0.0, len(pairs), reason)

    def _learn(self) -> None:
        """Takes in what ended since the last time."""
        if self._fitted and self._version == self.history.version:
            return
        new, self._version, self._fitted = self.history.version - self._version, self.history.version, True
        few = len(self.history.rows) < FEW
        self._window = window = Window.of(self.history, self._other_versions() if few else ())
        rows = window.rows
        self._follows = behaviour.follows_grant(rows[:, MEMORY], rows[:, GRANTED_MEMORY], window.sizes)
        self._memory.learn(window, new)
        self._disk.learn(window, new)
        types, counts = np.unique(rows[:, NODE], return_counts=True)
        if len(types):
            self._node = float(types[np.argmax(counts)])
        speeds = {float(each): self._speed(float(each), self._node) for each in types}
        speed = np.array([speeds[each] for each in rows[:, NODE].tolist()])
        self._runtimes = Runtimes.of(window, speed)

    def _speed(self, node: float, base: float) -> float:
        """How long tasks run on one node type relative to another: by its own, or else by other kinds; 1 where none
        ran on both.
        """
        if node == base:
            return 1.0
        own = nodes.ratio([self.log_times()], node, base)
        return own or nodes.ratio([each.log_times() for each in self._others()], node, base) or 1.0

    def log_times(self) -> dict[float, float]:
        """The median of the logarithm of its runtime, by node type."""
        if self._log_times[0] != self.history.version:
            rows = Window.of(self.history, ()).rows
            self._log_times = self.history.version, nodes.log_times(rows[:, NODE], rows[:, WALL])
        return self._log_times[1]

    def _spreads_of_others(self) -> list[cold.Spread]:
        return [found for each in self._others() if (found := each.spread()) is not None]

    def spread(self) -> cold.Spread | None:
        """What other kinds take from this one; None where too few have ended."""
        if self._spread[0] != self.history.version:
            rows = Window.of(self.history, ()).rows
            known = np.isfinite(rows[:, MEMORY]) & (rows[:, MEMORY_AT_LEAST] == 0)
            enough = known.sum() >= LEAST_HISTORY
            found = cold.spread_of(rows[known, MEMORY], rows[known, PRESET]) if enough else None
            self._spread = self.history.version, found
        return self._spread[1]

    def state(self) -> dict[str, Any]:
        """What does not follow from the history."""
        return {"version": self._version, "memory": self._memory.state(), "disk": self._disk.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes what ``state()`` gave; what another version of Packhorse gave is passed over, and judged anew."""
        try:
            self._memory.restore(state["memory"])
            self._disk.restore(state["disk"])
            self._version = int(state["version"])
        except (KeyError, TypeError, ValueError):
            self._version = 0


def _raised(estimate: Estimate | None, failed: float, more: float, most: float | None) -> tuple[Estimate | None, bool]:
    """An estimate that asks for ``more`` within its limit, and whether the limit leaves no more than what
    ``failed``.
    """
    request = bounded(more, None, most)
    if estimate is None:
        estimate = Estimate(request, request, failed, request, 0.5, 0, "")
    reason = f"{failed:.0f} was too little" if request > failed else f"{failed:.0f} was too little, and is the limit"
    return replace(estimate, request=request, reason=reason), request <= failed
