"""A retry asked for by a user: a new run of what failed, was canceled, or waited for those.

The old run keeps its history, and what completed there is read from there.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.states import FAILED, TaskState
from packhorse.domain.text import kept_json
from packhorse.engine.requests.accept import Accepted, AcceptedStep, TaskEdge
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.cache import Steps
from packhorse.engine.steps.files import as_now
from packhorse.engine.steps.kbase import KBaseStep
from packhorse.sites.site import Site
from packhorse.store.images import references_of
from packhorse.store.newtasks import NewTask
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.steps import StepEdge, edges_into_step, steps_of_run
from packhorse.store.tasks import edges_into, ids_in_states, tasks_with_files

AGAIN = (*sorted(FAILED), TaskState.CANCELED)


@dataclass
class _Old:
    """A step of the old run: its row, the edges into it, and its tasks that are tried again."""

    row: Any
    step: Step
    edges: Sequence[Any]
    chosen: list[int] = field(default_factory=list)
    is_awaited: bool = False
    """Its list was never known, and is now to come."""

    @property
    def first(self) -> int:
        """The id of its first task."""
        return int(self.row.run_seq * TASKS_PER_RUN + self.row.first)

    @property
    def all(self) -> range:
        """The ids of its tasks."""
        return range(self.first, self.first + (self.row.tasks or 0))

    @property
    def is_new(self) -> bool:
        """Whether the new run has it."""
        return bool(self.chosen) or self.is_awaited


def accept_retry(connection: sa.Connection, steps: Steps, run: Any, run_id: str, sites: Mapping[str, Site]) -> Accepted:
    """The run that tries again what did not complete in ``run``, a row. Refused when everything completed."""
    old = {
        row.seq: _Old(row, steps.of(connection, row.seq), edges_into_step(connection, row.seq))
        for row in steps_of_run(connection, run.seq)
    }
    if any(isinstance(one.step, KBaseStep) for one in old.values()):
        told = f"Run {run.id} is of jobs of KBase, which are retried one by one."
        raise InvalidRequest(told, hint="Call retry_jobs at /services/ee2 (docs/kbase.md).")
    failed = ids_in_states(connection, run.seq, AGAIN)
    if not failed:
        raise InvalidRequest(f"Run {run.id} has no task that failed or was canceled, so there is nothing to retry.")
    _choose(old, failed)
    return _Retry(connection, run, run_id, old, sites).accepted()


def _choose(old: Mapping[int, _Old], failed: Sequence[int]) -> None:
    """Finds what is tried again: also what completed without the failed ones that it was to wait for."""
    remaining = sorted(failed, reverse=True)
    for one in sorted(old.values(), key=lambda one: one.first):
        while remaining and remaining[-1] in one.all:
            one.chosen.append(remaining.pop())
    for _ in old:  # a chain of steps is no longer than there are steps
        for one in old.values():
            for edge in one.edges:
                source = old.get(edge.upstream)
                if source is None or not source.is_new or source is one:
                    continue
                match edge.kind:
                    case "gather":
                        one.chosen = list(one.all)
                    case "each" if source.is_awaited:
                        one.is_awaited = True
                    case "each":
                        again = {task - source.first + one.first for task in source.chosen} & set(one.all)
                        one.chosen = sorted(again.union(one.chosen))
                    case "items":
                        one.is_awaited, one.chosen = True, []


class _Retry:
    """Makes the new run of the ``chosen`` tasks of the old one."""

    def __init__(
        self, connection: sa.Connection, run: Any, run_id: str, old: Mapping[int, _Old], sites: Mapping[str, Site]
    ) -> None:
        self._sites = sites
        self._connection = connection
        self._run = run
        self._run_id = run_id
        self._old = old
        self._new = [one for one in old.values() if one.is_new]
        self._place = {one.row.seq: number for number, one in enumerate(self._new)}
        chosen = [task for one in self._new for task in one.chosen]
        self._index = {task: index for index, task in enumerate(chosen)}
        self._waits: Counter[int] = Counter()  # of tasks, for single others
        self._step_edges: dict[StepEdge, None] = {}
        self._task_edges: list[TaskEdge] = []

    def accepted(self) -> Accepted:
        """The new run."""
        gathers: defaultdict[int, int] = defaultdict(int)
        for one in self._new:
            for edge in one.edges:
                gathers[one.row.seq] += self._add_edge(one, edge)
        steps = [self._step(one, gathers[one.row.seq]) for one in self._new]
        images = references_of(self._connection, self._run.seq)
        return Accepted(
            self._run_id, self._run.app, steps, list(self._step_edges), self._task_edges, images=images,
            priority=self._run.priority,
        )  # fmt: skip

    def _add_edge(self, one: _Old, edge: Any) -> bool:
        """An edge of the old run in the new one; whether all tasks of the step wait for it."""
        place, source = self._place[one.row.seq], self._old.get(edge.upstream)
        awaited = source is not None and source.is_new
        if edge.kind == "tasks":
            self._add_task_edges(one, place)
        elif edge.kind == "gather":
            if source is None or len(source.chosen) < len(source.all):  # read what completed there
                self._step_edges[StepEdge(-edge.upstream, place, "gather", edge.accept_failure)] = None
            if awaited:
                self._step_edges[StepEdge(self._place[edge.upstream], place, "gather", edge.accept_failure)] = None
                return True
        elif awaited and one.is_awaited:
            self._step_edges[StepEdge(self._place[edge.upstream], place, edge.kind, edge.accept_failure)] = None
        elif edge.kind == "each" and source is not None:
            for task in one.chosen:
                upstream = task - one.first + source.first
                if upstream in self._index:
                    self._link(upstream, task, edge.accept_failure)
                    self._step_edges[StepEdge(self._place[edge.upstream], place, "tasks")] = None
        return False

    def _add_task_edges(self, one: _Old, place: int) -> None:
        for upstream, downstream, accept_failure in edges_into(self._connection, one.chosen):
            if upstream in self._index:
                self._link(upstream, downstream, accept_failure)
                self._step_edges[StepEdge(place, place, "tasks")] = None

    def _link(self, upstream: int, downstream: int, accept_failure: bool) -> None:
        self._task_edges.append((self._index[upstream], self._index[downstream], accept_failure))
        self._waits[downstream] += 1

    def _step(self, one: _Old, gathers: int) -> AcceptedStep:
        step = one.step
        spec = replace(step.spec, params=self._moved(deepcopy(step.spec.params)), files=as_now(step.spec.files))
        if one.is_awaited:
            return AcceptedStep(one.row.name, one.row.site, spec, None, tuple)
        tasks = []
        for row in tasks_with_files(self._connection, one.chosen):
            params = kept_json(self._moved(json.loads(row.params))) if "[" in row.params else row.params
            needs = step.needs(json.loads(params), self._sites[step.row.site]) if spec.has_data else ()
            waiting_on = gathers + self._waits[row.id]
            tasks.append(NewTask(params, step.demand(params, None), row.name, waiting_on, needs))
        return AcceptedStep(one.row.name, one.row.site, spec, len(tasks), lambda: tasks)

    def _moved(self, params: dict[str, Any]) -> dict[str, Any]:
        """Parameters, or a TES task with its ``upstream``, that take the new outputs of what is tried again."""
        for value in params.values():
            if isinstance(value, dict) and isinstance(value.get("output"), list):
                value["output"] = self._there(value["output"])
        if "task" in params and isinstance(params.get("upstream"), dict):
            params["upstream"] = {path: self._there(output) for path, output in params["upstream"].items()}
        return params

    def _there(self, output: Sequence[Any]) -> list[Any]:
        run_id, index, path = output
        task = self._run.seq * TASKS_PER_RUN + index
        if run_id == self._run.id and task in self._index:
            return [self._run_id, self._index[task], path]
        return [run_id, index, path]
