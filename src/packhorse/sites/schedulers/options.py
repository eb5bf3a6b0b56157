"""What a site's configuration tells its batch scheduler."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchedulerOptions:
    """What is added to every job, where the scheduler has a word for it; None is its own default.

    ``extra`` are further arguments of the submit command, such as ``--licenses=scratch``.
    """

    queue: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    extra: tuple[str, ...] = ()
    cores: int | None = None
    """Where the scheduler is this machine: what of it jobs may use. None is what this process may."""
    memory_mb: int | None = None
    """In MB of 1e6 bytes; None is nine tenths of the memory."""
