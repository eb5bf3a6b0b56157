"""What the predictor sees of an attempt: no user, no text that a user wrote. Memory and disk in MB of 1e6 bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from packhorse.domain.failures import FailureClass


@dataclass(frozen=True, slots=True)
class Kind:
    """Tasks that are expected to behave alike: those of one step of one version of an app."""

    app: str
    version: str = ""
    step: str = ""

    @property
    def lineage(self) -> tuple[str, str]:
        """What all versions have in common."""
        return self.app, self.step


@dataclass(frozen=True, slots=True)
class Features:
    """What is known of a task before it starts.

    ``numeric`` are its numbers by name, ``categorical`` its choices by name (hashed by whoever keeps them: only
    equality counts), ``inputs`` the bytes of its inputs by name.
    """

    numeric: Mapping[str, float] = field(default_factory=dict)
    categorical: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a task asks for, or was granted. None: nothing was said, or there is no limit."""

    memory_mb: float | None = None
    walltime_s: float | None = None
    cores: float | None = None
    disk_mb: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One attempt as it ended. What was not measured is None.

    A value that is censored is 'at least this': the attempt was ended at a limit, and would have used more.
    Attempts that ended for reasons of their node or their site (lost, preempted, canceled) may be given as well;
    they say 'at least' of everything.
    """

    kind: Kind
    features: Features = field(default_factory=Features)
    requested: Amounts = field(default_factory=Amounts)
    granted: Amounts = field(default_factory=Amounts)
    peak_memory_bytes: int | None = None
    cpu_s: float | None = None
    wall_s: float | None = None
    disk_bytes: int | None = None
    node_type: str = ""
    failure: FailureClass | None = None
    memory_censored: bool = False
    walltime_censored: bool = False
    disk_censored: bool = False
