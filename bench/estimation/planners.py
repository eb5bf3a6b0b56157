"""Who says how long a job of a log will run: its user, EASY++, somebody who knows, and Packhorse's predictor."""

from __future__ import annotations

from bench.estimation.swf import Job
from packhorse.estimate.predictor import Predictor
from packhorse.estimate.records import Amounts, Features, Kind, Record

_LONGER = 1.1


class Requests:
    """What users ask for."""

    def predict(self, job: Job) -> float:
        """The request."""
        return job.request

    def exceeded(self, job: Job, ran_s: float) -> float:
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
    """The median that the predictor plans by, and, for a job that took longer, the median of what takes longer.

    Its limit, an upper quantile, is kept beside, and is never above the request. A user's jobs are one kind, as the log
    names no apps; what tells them apart is what they ask for.
    """

    def __init__(self) -> None:
        self._predictor = Predictor()
        self._known: dict[int, dict[tuple[float, int], tuple[float, float]]] = {}
        self.limits: dict[int, float] = {}
        """The limit of each job, by its number, as it was when it was last predicted."""

    def predict(self, job: Job) -> float:
        """The median, at most the request. Jobs alike are predicted alike until another of their user ends."""
        known = self._known.setdefault(job.user, {})
        asked = job.request, job.processors
        if asked not in known:
            estimate = self._predictor.expect(_kind(job), _features(job))
            known[asked] = (estimate.median, estimate.request) if estimate else (job.request, job.request)
        median, limit = known[asked]
        self.limits[job.number] = min(job.request, limit)
        return max(1.0, min(job.request, median))

    def exceeded(self, job: Job, ran_s: float) -> float:
        """The median, given that it ran for so long."""
        estimate = self._predictor.expect(_kind(job), _features(job), ran_s=ran_s)
        return min(job.request, max(estimate.median, ran_s * _LONGER + 1)) if estimate else job.request

    def ended(self, job: Job) -> None:
        """Observes it."""
        self._known.pop(job.user, None)
        asked = Amounts(walltime_s=job.request)
        self._predictor.observe(Record(_kind(job), _features(job), asked, asked, wall_s=job.runtime))


def _kind(job: Job) -> Kind:
    return Kind(f"user {job.user}")


def _features(job: Job) -> Features:
    return Features(
        numeric={"request": job.request, "processors": job.processors},
        categorical={"request": f"{job.request:.0f}", "processors": str(job.processors)},
    )
