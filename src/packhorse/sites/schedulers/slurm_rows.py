"""What squeue and sacct say of a job, as a value, whatever the form they said it in."""

from __future__ import annotations

import os
from dataclasses import dataclass

from packhorse.sites.base import JobState
from packhorse.sites.schedulers.slurm_states import place


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
    def place(self) -> JobState:
        """Where it is."""
        return place(self.states)


def split_wait_status(status: int) -> tuple[int | None, int | None]:
    """(exit code, signal) of a status as wait(2) gives it; None for the one that does not apply."""
    if status < 0 or status > 0xFFFF:
        return None, None
    if signal := status & 0x7F:
        return None, signal
    return os.waitstatus_to_exitcode(status & 0xFF00), None
