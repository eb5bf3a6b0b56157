"""Packhorse's predictor, as a peer."""

from __future__ import annotations

from time import process_time

from packhorse.domain.failures import FailureClass
from packhorse.estimate.decisions import Limits, Policy
from packhorse.estimate.predictor import Predictor
from packhorse.estimate.records import Amounts, Features, Kind, Record

MB = 1e6
_POLICY = Policy()


class Ours:
    """One predictor for all types of a trace; ``of`` is what sizes the tasks of one."""

    def __init__(self, trace: str, least_mb: float | None = None, most_mb: float | None = None) -> None:
        self.predictor = Predictor()
        self.trace = trace
        self.limits = Limits(Amounts(memory_mb=least_mb), Amounts(memory_mb=most_mb))
        self.seconds: list[float] = []
        """Processor time of each decision, with what was learnt for it."""

    def of(self, process: str) -> OurPeer:
        """The peer for one type."""
        return OurPeer(self, Kind(self.trace, "", process))


class OurPeer:
    """See ``peers.Peer``."""

    def __init__(self, ours: Ours, kind: Kind) -> None:
        self._ours, self._kind = ours, kind

    def first(self, size: float, preset: float) -> float:
        """Its decision."""
        begun = process_time()
        decision = self._ours.predictor.decide(
            self._kind, _features(size), Amounts(memory_mb=preset / MB), _POLICY, self._ours.limits
        )
        self._ours.seconds.append(process_time() - begun)
        assert decision.memory_mb is not None
        return decision.memory_mb.request * MB

    def again(self, size: float, preset: float, failed: float) -> float:
        """Its decision after a failure."""
        decision = self._ours.predictor.retry(
            self._kind,
            _features(size),
            Amounts(memory_mb=failed / MB),
            FailureClass.OUT_OF_MEMORY,
            Amounts(memory_mb=preset / MB),
            _POLICY,
            self._ours.limits,
        )
        assert decision.memory_mb is not None
        return decision.memory_mb.request * MB

    def learn(self, size: float, preset: float, need: float, runtime_s: float) -> None:
        """Observes it."""
        self._ours.predictor.observe(
            Record(
                kind=self._kind,
                features=_features(size),
                requested=Amounts(memory_mb=preset / MB),
                peak_memory_bytes=int(need),
                wall_s=runtime_s,
            )
        )


def _features(size: float) -> Features:
    return Features(inputs={"input": int(size)})
