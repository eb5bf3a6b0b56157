"""Which tasks of which runs could start at a site now, grouped by the resources that they want."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
import structlog

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.resources import Resources
from packhorse.domain.states import TaskState
from packhorse.engine.clock import Clock
from packhorse.engine.collecting.retry import MAX_BACKOFF_S
from packhorse.engine.placing import pack
from packhorse.engine.specs import Specs, duration_key
from packhorse.estimate.durations import Durations
from packhorse.sites.site import Site
from packhorse.store.images import runs_that_wait
from packhorse.store.runs import counts_of, open_runs
from packhorse.store.tasks import ready_tasks

_log = structlog.get_logger("packhorse.dispatch")
_SENSELESS = (
    InvalidRequest,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
)  # what a stored run raises that we do not understand
_HEAD = 64  # ready tasks of a run that are looked at for what they want; those behind wait until these are placed


class Wants:
    """Asks the store what could be placed at one site."""

    def __init__(self, site: Site, specs: Specs, durations: Durations, clock: Clock) -> None:
        self._site = site
        self._specs = specs
        self._durations = durations
        self._clock = clock
        self._odd: set[int] = set()  # runs that were complained about

    def demands(self, connection: sa.Connection) -> list[pack.Demand]:
        """Runs that have a task to place now, by resources; those whose images are not ready have none.

        Where the first tasks all want the same, so do the others, it is assumed.
        """
        runs = {row.seq: row for row in open_runs(connection)}
        counts = counts_of(connection, runs)
        demands: list[pack.Demand] = []
        without_image = runs_that_wait(connection, self._site.name)
        for seq, row in runs.items():
            queued = counts[seq].get(TaskState.QUEUED, 0)
            if not queued or seq in without_image:
                continue
            try:
                demands += self._of_run(connection, row, queued)
            except _SENSELESS:  # it must not hold up the others
                if seq not in self._odd:
                    _log.exception("run_not_understood", site=self._site.name, run=row.id)
                self._odd.add(seq)
        return demands

    def _of_run(self, connection: sa.Connection, run: Any, queued: int) -> list[pack.Demand]:
        spec = self._specs.of_run(connection, run.seq)
        if spec.site and spec.site != self._site.name:
            return []
        head = self._ready(connection, run.seq, _HEAD, lock=False)
        known = self._durations.predict(duration_key(spec, "row"))
        classes = Counter(self._asked(connection, run.seq, task) for task in head)
        demands = []
        for resources, number in classes.items():
            tasks = queued if len(classes) == 1 and len(head) == _HEAD else number
            core_s = known or pack.UNKNOWN_S * resources.cpu_cores
            demands.append(pack.Demand(run.user, run.seq, tasks, core_s, resources, known is not None, spec.priority))
        return demands

    def rows(self, connection: sa.Connection, demand: pack.Demand, limit: int) -> Sequence[Any]:
        """At most ``limit`` tasks of a demand, oldest first."""
        rows = self._ready(connection, demand.run_seq, max(limit, _HEAD))
        return [row for row in rows if self._asked(connection, demand.run_seq, row) == demand.resources][:limit]

    def _ready(self, connection: sa.Connection, run_seq: int, limit: int, *, lock: bool = True) -> Sequence[Any]:
        now = self._clock.now()
        return ready_tasks(connection, run_seq, now, now + 2 * MAX_BACKOFF_S, limit, lock=lock)

    def _asked(self, connection: sa.Connection, run_seq: int, task: Any) -> Resources:
        spec = self._specs.of_run(connection, run_seq)
        if task.role == "task":
            return spec.resources_of(task.role, task.params, task.overrides)
        return spec.granted(task.role, task.overrides)
