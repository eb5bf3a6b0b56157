"""Whether what a task asks for is decided from what tasks like it used, and within which bounds. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from packhorse.domain.config import EstimatesConfig
from packhorse.domain.resources import Estimates, Resources
from packhorse.engine.steps.cache import Asked
from packhorse.estimate.decisions import Limits, Policy
from packhorse.estimate.records import Amounts, Kind
from packhorse.sites.base import Limits as SiteLimits
from packhorse.sites.site import fitting

LEAST_MB = 64
LEAST_S = 60
_OTHERS_MORE = 2.0  # what others used raises a first request to no more than this, times what was asked for


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says; ``site`` is the word of one site."""

    config: EstimatesConfig
    site: Estimates | None = None

    def mode(self, app: str, asked: Resources) -> Estimates:
        """For tasks of an app: the run's own word, else that for the app, for the site, for all."""
        return asked.estimates or self.config.apps.get(app) or self.site or self.config.mode

    def is_open(self, demand: Any, asked: Asked) -> bool:
        """Whether the tasks of a demand, by its row, are to be sized before they are placed."""
        if demand.sized or not any(decides(asked.resources, sizes_itself=False)):
            return False
        return self.mode(asked.label.partition("@")[0], asked.resources) is Estimates.ON

    @property
    def policy(self) -> Policy:
        """What failures may cost."""
        return Policy(failure_cap=self.config.failure_cap, walltime_failure_cap=self.config.walltime_failure_cap)


def decides(asked: Resources, *, sizes_itself: bool) -> tuple[bool, bool]:
    """Whether the memory, and the walltime, of tasks that ask for this can be decided.

    What has no limit gets none; ranks on several nodes share what nobody has measured; and an app whose command is told
    its memory takes what it is given.
    """
    if asked.nodes > 1:
        return False, False
    return asked.ram_gb is not None and not sizes_itself, asked.walltime_s is not None


def preset(asked: Resources) -> Amounts:
    """What was asked for, as amounts."""
    disk_mb = None if asked.disk_gb is None else asked.disk_gb * 1000
    return Amounts(asked.memory_mb, asked.walltime_s, asked.cpu_cores, disk_mb)


def bounds(asked: Resources, site: Sequence[SiteLimits], *, others: bool) -> Limits:
    """The least and the most that tasks are given: the site's limits, and what was asked for where that is hard.

    ``others``: the history is that of other users, who must not be able to make one ask for the whole site.
    """
    fit = fitting(site, asked)
    memory_mb: float = max((one.memory_mb for one in fit), default=math.inf)
    wall_s = max((math.inf if one.walltime_s is None else one.walltime_s for one in fit), default=math.inf)
    if asked.hard or others:
        more = 1.0 if asked.hard else _OTHERS_MORE
        memory_mb = min(memory_mb, math.inf if asked.memory_mb is None else more * asked.memory_mb)
        wall_s = min(wall_s, math.inf if asked.walltime_s is None else more * asked.walltime_s)
    least = Amounts(min(LEAST_MB, memory_mb), min(LEAST_S, wall_s), 1, 0)
    return Limits(least, Amounts(_finite(memory_mb), _finite(wall_s), asked.cpu_cores, None))


def _finite(amount: float) -> float | None:
    return None if math.isinf(amount) else amount


def of_owner(kind: Kind, owner: str) -> Kind:
    """The tasks of one user alone."""
    return Kind(f"{kind.app} of {owner}", kind.version, kind.step)
