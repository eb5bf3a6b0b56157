"""What squeue and sacct say of a job, as a value, whatever the form they said it in."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from packhorse.sites.base import JobState
from packhorse.sites.schedulers.slurm_states import job_state


@dataclass(frozen=True, slots=True)
class Row:
    """One job at one time. Times are seconds since the epoch; what is not known is None."""

    job_id: str
    name: str
    states: tuple[str, ...]
    says: str
    """The state in Slurm's own words."""
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    nodes: str = ""
    started_at: float | None = None
    ended_at: float | None = None

    @property
    def state(self) -> JobState:
        """What its states come to."""
        return job_state(self.states)


def split_wait_status(status: int) -> tuple[int | None, int | None]:
    """(exit code, signal) of a status as wait(2) gives it; None for the one that does not apply."""
    if status < 0 or status > 0xFFFF:
        return None, None
    if signal := status & 0x7F:
        return None, as_signal(signal)
    return os.waitstatus_to_exitcode(status & 0xFF00), None


def as_signal(number: int) -> int | None:
    """A signal's number; None for 125, with which Slurm marks a job that ran out of memory, and others that are
    none.
    """
    return number if 0 < number <= 64 else None


def without_forecasts(row: Row) -> Row:
    """Only times that were:

    Slurm also foresees starts and ends, and has a start for jobs that were cancelled before they had nodes.
    """
    return replace(
        row,
        started_at=row.started_at if row.nodes and row.state is not JobState.PENDING else None,
        ended_at=row.ended_at if row.state is JobState.ENDED else None,
    )
