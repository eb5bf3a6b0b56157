"""The batch schedulers by name."""

from __future__ import annotations

from collections.abc import Callable

from packhorse.domain.errors import InvalidRequest
from packhorse.sites.base import Scheduler
from packhorse.sites.schedulers.local import LocalScheduler
from packhorse.sites.schedulers.options import SchedulerOptions


def _slurm(options: SchedulerOptions) -> Scheduler:
    from packhorse.sites.schedulers.slurm import SlurmScheduler  # a machine alone does without

    return SlurmScheduler(options)


SCHEDULERS: dict[str, Callable[[SchedulerOptions], Scheduler]] = {
    "local": LocalScheduler,
    "slurm": _slurm,
}


def scheduler(name: str, options: SchedulerOptions | None = None) -> Scheduler:
    """The scheduler that a site's configuration names. Raises InvalidRequest with the names there are."""
    if name not in SCHEDULERS:
        raise InvalidRequest(f"There is no batch scheduler '{name}'.", hint=f"There are: {', '.join(SCHEDULERS)}.")
    return SCHEDULERS[name](options or SchedulerOptions())
