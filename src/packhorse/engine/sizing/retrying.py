"""What a task asks for after it failed for want of memory or time: where estimates are on, the same estimator decides
again. A failure with less than was asked for uses up no retry, and after two of them what was asked for is granted: no
task fails for good because of an estimate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from packhorse.domain.failures import FailureClass
from packhorse.domain.resources import MB, Estimates, Resources
from packhorse.engine.retry import Raised, raise_plainly
from packhorse.engine.sizing.rules import decides
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.features import TaskRow
from packhorse.sites.site import Site
from packhorse.store.records import keep_estimates
from packhorse.store.tasks import params_of

if TYPE_CHECKING:
    from packhorse.engine.sizing.estimator import Estimator

_WANTS = {FailureClass.OUT_OF_MEMORY: "ram_gb", FailureClass.OUT_OF_TIME: "walltime_s"}
_FREE = 2  # failures with less than was asked for


class Retrying:
    """Of one site."""

    def __init__(self, site: Site, estimator: Callable[[], Estimator]) -> None:
        self._site = site
        self._estimator = estimator

    def raised(
        self,
        connection: sa.Connection,
        step: Step,
        task: int,
        attempt: int,
        failure: FailureClass,
        granted: Resources,
        earlier: Sequence[Any],
    ) -> tuple[Raised, list[str]]:
        """What the next attempt at a task asks for, whose ``attempt`` had this ``granted`` and failed; and the classes
        of those ``earlier`` failures (rows of ``store.tasks.failures_of``) that count.
        """
        wanted = _WANTS.get(failure)
        if wanted is None or granted.nodes > 1:
            return raise_plainly(failure, granted, self._fits), [one.failure for one in earlier]
        params = params_of(connection, [task]).get(task, "{}")
        asked = step.resources(params, None)
        free = [one for one in earlier if _had_less(one.failure, one.evidence, asked)]
        counted = [one.failure for one in earlier if one not in free]
        least, has_less = getattr(asked, wanted), _is_less(getattr(granted, wanted), getattr(asked, wanted))
        if has_less and len(free) + 1 >= _FREE:
            return Raised({wanted: least}, counts=False), counted
        raised = self._estimated(connection, step, task, params, attempt, failure, granted, asked)
        if raised is None:
            plainly = raise_plainly(failure, granted, self._fits)
            raised = Raised({wanted: least}) if has_less else plainly
        return replace(raised, counts=not has_less), counted

    def _estimated(
        self,
        connection: sa.Connection,
        step: Step,
        task: int,
        params: str,
        attempt: int,
        failure: FailureClass,
        granted: Resources,
        asked: Resources,
    ) -> Raised | None:
        """By the estimator; None where that does not decide."""
        is_on = self._estimator().rules.mode(step.kind(params).app, asked) is Estimates.ON
        memory, wall = decides(asked, sizes_itself=step.sizes_itself)
        if not is_on or not (memory if failure is FailureClass.OUT_OF_MEMORY else wall):
            return None
        estimator = self._estimator()
        estimator.refresh(connection)
        [features] = estimator.features.of(connection, step, [TaskRow(task, params)])
        sized = estimator.raised(connection, step, params, features, failure, granted, asked, self._site.limits())
        if isinstance(sized, str):
            return Raised(problem=sized)
        wanted = _WANTS[failure]
        more = getattr(sized.granted, wanted)
        if not _is_less(getattr(granted, wanted), more):
            return None
        if not self._fits(granted.override({wanted: more})):
            return Raised(problem="no site can give it more")
        keep_estimates(connection, [sized.row(task, attempt + 1)])
        return Raised({wanted: more})

    def _fits(self, resources: Resources) -> bool:
        return self._site.why_not(resources) is None


def _had_less(failure: str, evidence: str | None, asked: Resources) -> bool:
    """Whether an attempt failed for want of what it had less of than was asked for."""
    known: dict[str, Any] = json.loads(evidence or "{}")
    limit = known.get("memory_limit_bytes")
    if failure == FailureClass.OUT_OF_MEMORY and limit is not None and asked.memory_mb is not None:
        return bool(limit < (asked.memory_mb - 1) * MB)
    limit = known.get("walltime_limit_s")
    if failure == FailureClass.OUT_OF_TIME and limit is not None and asked.walltime_s is not None:
        return bool(limit < asked.walltime_s)
    return False


def _is_less(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and one < other
