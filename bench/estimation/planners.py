"""Who says how long a job of a log will run: its user, EASY++, somebody who knows, and Packhorse's predictor."""

from __future__ import annotations

from bench.estimation.swf import Job
from packhorse.estimate.predictor import Predictor
from packhorse.estimate.records import Amounts, Features, Kind, Record


class Requests:
    """What users ask for."""

    def predict(self, job: Job) -> float:
        """The request."""
        return job.request

    def ended(self, job: Job) -> None:
        """Nothing."""


class Clairvoyant(Requests):
    """What will be."""

    def predict(self, job: Job) -> float:
        """The runtime."""
        return job.runtime


class LastTwo(Requests):
    """EASY++: the mean of the last two of the same user, at most the request (Tsafrir, Etsion and Feitelson, TPDS
    2007).
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, float]] = {}
        self._one: dict[int, float] = {}

    def predict(self, job: Job) -> float:
        """The mean, once there are two."""
        last = self._last.get(job.user)
        return min(job.request, max(1.0, (last[0] + last[1]) // 2)) if last else job.request

    def ended(self, job: Job) -> None:
        """Keeps its runtime."""
        if job.user in self._one:
            self._last[job.user] = self._one[job.user], job.runtime
        self._one[job.user] = job.runtime


class Ours:
    """The median that the predictor plans by; its limit, an upper quantile, is kept beside, and never above the
    request.

    A user's jobs are one kind: the log names no apps. What tells them apart is what they ask for.
    """

    def __init__(self) -> None:
        self._predictor = Predictor()
        self.limits: dict[int, float] = {}
        """The limit of each job, by its number, as it was when it was last predicted."""

    def predict(self, job: Job) -> float:
        """The median, at most the request."""
        decision = self._predictor.decide(_kind(job), _features(job), Amounts(walltime_s=job.request))
        assert decision.walltime_s is not None
        self.limits[job.number] = min(job.request, decision.walltime_s.request)
        return max(1.0, min(job.request, decision.walltime_s.median))

    def ended(self, job: Job) -> None:
        """Observes it."""
        asked = Amounts(walltime_s=job.request)
        self._predictor.observe(Record(_kind(job), _features(job), asked, asked, wall_s=job.runtime))


def _kind(job: Job) -> Kind:
    return Kind(f"user {job.user}")


def _features(job: Job) -> Features:
    return Features(
        numeric={"request": job.request, "processors": job.processors},
        categorical={"request": f"{job.request:.0f}", "processors": str(job.processors)},
    )
