"""What is asked for a task, within which bounds, and why."""

from __future__ import annotations

from dataclasses import dataclass, field

from packhorse.estimate.records import Amounts


@dataclass(frozen=True, slots=True)
class Policy:
    """What an app's or a site's owner wants of the estimates."""

    failure_cap: float = 0.1
    """Largest chance that an attempt is ended at its memory or disk limit, by the predicted distribution."""
    walltime_failure_cap: float = 0.005
    """The same for its time limit, which wastes little where it is high."""
    core_efficiency: float = 0.5
    """Least share of its cores that a task has to keep busy for them to be worth it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The least and the most that may be asked for: the site's limits, and what a user said that is hard."""

    least: Amounts = field(default_factory=lambda: Amounts(memory_mb=64, walltime_s=60, cores=1, disk_mb=0))
    most: Amounts = field(default_factory=Amounts)


@dataclass(frozen=True, slots=True)
class Estimate:
    """One quantity: what to ask for, what to expect, and what stands behind it. In the unit of its name in
    ``Decision``.
    """

    request: float
    median: float
    """For planning."""
    low: float
    """One in twenty needs less."""
    high: float
    """One in twenty needs more."""
    failure_chance: float
    """That the request is too low, by the predicted distribution."""
    history: int
    """Attempts of this kind that were used."""
    reason: str
    """One sentence."""
    follows_grant: bool = False
    """The app takes what it is given: what it used before says nothing of its need."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to ask for. None: nothing is known and nothing was asked for, so ask for nothing."""

    memory_mb: Estimate | None = None
    walltime_s: Estimate | None = None
    cores: Estimate | None = None
    disk_mb: Estimate | None = None
    exhausted: str | None = None
    """Only of a retry: the quantity that failed and cannot be raised, since it is at its limit already."""

    @property
    def request(self) -> Amounts:
        """What is asked for, as amounts."""
        return Amounts(
            memory_mb=self.memory_mb.request if self.memory_mb else None,
            walltime_s=self.walltime_s.request if self.walltime_s else None,
            cores=self.cores.request if self.cores else None,
            disk_mb=self.disk_mb.request if self.disk_mb else None,
        )
