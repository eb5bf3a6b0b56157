"""What a run is expected to need, before it is submitted; and what is decided for one task."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa

from packhorse.domain.config import EstimatesConfig
from packhorse.domain.errors import PackhorseError
from packhorse.domain.expectations import Expected, RunExpectation, StepExpectation, TaskEstimate
from packhorse.domain.resources import Estimates
from packhorse.engine.requests.accept import Accepted, AcceptedStep
from packhorse.engine.sizing.estimator import Estimator, Sized
from packhorse.engine.sizing.rules import Rules
from packhorse.engine.sizing.sizer import rounded
from packhorse.engine.steps.base import Step, StepRow
from packhorse.engine.steps.cache import SENSELESS, Steps
from packhorse.engine.steps.features import TaskRow
from packhorse.estimate.decisions import Estimate
from packhorse.sites.base import Limits
from packhorse.sites.site import Site
from packhorse.store.allocations import queue_waits
from packhorse.store.database import Database
from packhorse.store.demands import demands_of
from packhorse.store.newtasks import NewTask
from packhorse.store.records import estimates_of_task, secret

MOST_LOOKED_AT = 100  # tasks of a step
_WAITS = 50  # allocations


class Estimating:
    """For all who ask, one after the other."""

    def __init__(self, steps: Steps, sites: Mapping[str, Site], config: EstimatesConfig) -> None:
        self._steps = steps
        self._sites = sites
        self._config = config
        self._is_prepared = False
        self._turn = threading.Lock()
        self._estimators: dict[str, Estimator] = {}

    def _prepare(self, database: Database) -> None:
        """Before the first time: makes the secret that texts are digested with, where there is none yet."""
        if not self._is_prepared:
            with database.write() as connection:
                secret(connection, "history")
            self._is_prepared = True

    def of_run(self, database: Database, user: str, accepted: Accepted) -> RunExpectation:
        """What a run would need that could be submitted. May ask its sites."""
        self._prepare(database)
        limits = {site: _limits_of(self._sites[site]) for site in sorted({one.site for one in accepted.steps})}
        with self._turn, database.read() as connection:
            waits = sorted(wait for site in limits for wait in queue_waits(connection, site, _WAITS))
            steps = [self._of_step(connection, user, accepted, one, limits[one.site]) for one in accepted.steps]
        known = [one.core_hours for one in steps if one.core_hours is not None]
        high = [one.core_hours_high for one in steps if one.core_hours_high is not None]
        return RunExpectation(
            steps=steps,
            core_hours=sum(known) if known else None,
            core_hours_high=sum(high) if high else None,
            queue_wait_s=_quantile(waits, 0.5),
            queue_wait_high_s=_quantile(waits, 0.95),
            allocations=len(waits),
        )

    def of_task(self, database: Database, step: Step, task: Any) -> list[TaskEstimate]:
        """What was decided for a task's row; where nothing was, what would be now. May ask its site."""
        self._prepare(database)
        with database.read() as connection:
            stored = [_told(row.attempt, row.decision) for row in estimates_of_task(connection, task.id)]
        if stored:
            return stored
        site = self._sites.get(step.row.site)
        asked = step.resources(task.params, None)
        if site is None or Rules(self._config, site.estimates).mode(step.kind(task.params).app, asked) is Estimates.OFF:
            return []
        limits = _limits_of(site)
        with self._turn, database.read() as connection:
            sized = list(self._sized(connection, site, step, [TaskRow(task.id, task.params)], limits))
        return [_told(0, one.row(task.id, 0)["decision"]) for one in sized if one.history]

    def undecided(self, connection: sa.Connection, demands: Collection[int]) -> set[int]:
        """Those of demands, by ``seq``, whose ready tasks wait for the decision of what they are granted."""
        found = set()
        for seq, row in demands_of(connection, demands).items():
            site = self._sites.get(row.site)
            if site is not None and Rules(self._config, site.estimates).is_open(row, self._steps.asked_of(row)):
                found.add(seq)
        return found

    def _of_step(
        self,
        connection: sa.Connection,
        user: str,
        accepted: Accepted,
        accepted_step: AcceptedStep,
        limits: Sequence[Limits],
    ) -> StepExpectation:
        site = self._sites[accepted_step.site]
        place = StepRow(0, 0, accepted.run_id, user, 0, site.name, accepted_step.name, 0)
        step = self._steps.made(connection, place, accepted_step.spec)
        number = accepted_step.number
        tasks = list(_spread(accepted_step.tasks(), number or 0))
        sized = list(self._sized(connection, site, step, [TaskRow(0, one.params) for one in tasks], limits))
        app = step.app.name if step.app is not None else ""
        asked = sized[0].asked if sized else None
        rules = Rules(self._config, site.estimates)
        hours = [_core_hours(one) for one in sized]
        known = all(one is not None for one in hours) and bool(hours)
        each = (number or 0) / max(1, len(sized))
        return StepExpectation(
            step=step.row.name,
            app=app,
            site=site.name,
            mode=rules.mode(app, asked) if asked is not None else self._config.mode,
            tasks=number,
            looked_at=len(sized),
            history=max((one.history for one in sized), default=0),
            others=any(one.others for one in sized),
            memory_mb=_expected(
                [(one.asked.memory_mb, one.granted.memory_mb, one.decision.memory_mb) for one in sized]
            ),
            walltime_s=_expected(
                [(one.asked.walltime_s, one.granted.walltime_s, one.decision.walltime_s) for one in sized]
            ),
            cores=_expected([(one.asked.cpu_cores, _worth(one), one.decision.cores) for one in sized]),
            core_hours=each * sum(one[0] for one in hours if one is not None) if known else None,
            core_hours_high=each * sum(one[1] for one in hours if one is not None) if known else None,
        )

    def _sized(
        self, connection: sa.Connection, site: Site, step: Step, rows: Sequence[TaskRow], limits: Sequence[Limits]
    ) -> Iterator[Sized]:
        estimator = self._estimators.get(site.name)
        if estimator is None:
            estimator = self._estimators[site.name] = Estimator(Rules(self._config, site.estimates))
        estimator.refresh(connection)
        decided: dict[str, Sized] = {}
        for row, found in zip(rows, estimator.features.of(connection, step, rows), strict=True):
            try:
                asked, features = step.resources(row.params, None), rounded(found)
                key = f"{step.kind(row.params)} {asked.model_dump_json()} {features.model_dump_json()}"
                if key not in decided:
                    decided[key] = estimator.decide(connection, step, row.params, asked, features, limits)
                yield decided[key]
            except SENSELESS:
                continue


def _limits_of(site: Site) -> Sequence[Limits]:
    """None where it does not answer now."""
    try:
        return site.limits()
    except (PackhorseError, OSError):
        return ()


def _spread(tasks: Any, number: int) -> Iterator[NewTask]:
    """At most ``MOST_LOOKED_AT`` of them, equally far from each other."""
    return islice(tasks, 0, None, max(1, -(-number // MOST_LOOKED_AT)))


def _expected(found: Sequence[tuple[float | None, float | None, Estimate | None]]) -> Expected:
    """Of all tasks together."""
    asked = [one for one, _, _ in found if one is not None]
    granted = [one for _, one, _ in found if one is not None]
    known = [one for _, _, one in found if one is not None and one.history]
    medians = sorted(one.median for one in known)
    return Expected(
        asked=max(asked, default=None),
        request=max(granted, default=None),
        median=_quantile(medians, 0.5),
        low=min((one.low for one in known), default=None),
        high=max((one.high for one in known), default=None),
        reason=max(known, key=lambda one: one.request).reason if known else "",
    )


def _worth(one: Sized) -> float:
    """How many of its cores are worth it."""
    known = one.decision.cores
    return known.request if known is not None and known.history else one.asked.cpu_cores


def _core_hours(one: Sized) -> tuple[float, float] | None:
    if one.median_s is None or one.high_s is None:
        return None
    cores = one.asked.nodes * one.asked.cpu_cores / 3600
    return cores * one.median_s, cores * one.high_s


def _quantile(ordered: Sequence[float], part: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None


def _told(attempt: int, decision: str) -> TaskEstimate:
    return TaskEstimate.model_validate({**json.loads(decision), "attempt": attempt})
