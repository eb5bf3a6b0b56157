"""Tasks that come to be when a list is known: one for each item that a task left, and one for each of those.

They come in parts (``store.growths``): the first in the transaction that completes the task, the others when an engine
goes on with them (``engine.growing``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from packhorse.domain.filledpaths import FilledPaths
from packhorse.domain.parameters import check_row
from packhorse.domain.run import MAX_TASKS
from packhorse.domain.text import kept_json
from packhorse.engine.steps.app import AppStep
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.cache import Steps
from packhorse.sites.site import Site
from packhorse.store.growths import PART, Grown, Part, add_first_part, begin_growth
from packhorse.store.newtasks import NewTask
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.steps import edges_out_of, load_steps, steps_of_run
from packhorse.store.tasks import get_task

Values = dict[str, Any]


class Growth:
    """Grows the steps of runs."""

    def __init__(self, steps: Steps, site: Site) -> None:
        self._steps = steps
        self._site = site

    def problem(self, connection: sa.Connection, step: Step, result: Any) -> str | None:
        """Why the result of a task is not the list that others come from; None when it is one."""
        if not isinstance(result, list):
            return f"its result is to be a list, from which tasks come, and it is {_kind(result)}"
        more = 0
        for edge in edges_out_of(connection, [step.row.seq]):
            if edge.kind != "items":
                continue
            downstream = self._app_step(connection, edge.downstream)
            filled, defaults = FilledPaths(downstream.app.outputs, downstream.app.resources), downstream.defaults
            more += len(result) * len(list(_growing(connection, edge.downstream)))
            for number, item in enumerate(result if more <= MAX_TASKS else [], start=1):
                values, why = _values(downstream, item)
                if why is None and (wrong := filled.problems("", {**defaults, **values})):
                    why = wrong[0].what.rstrip(".")
                if why is not None:
                    return f"item {number} of the list that it left is none for step '{downstream.row.name}': {why}"
        there = _end(connection, step.row.run_seq)
        if there + more > MAX_TASKS:
            return (
                f"the list that it left has {len(result):,} items; with them its run would have {there + more:,} tasks,"
                f" and {MAX_TASKS:,} is the limit"
            )
        return None

    def grow(self, connection: sa.Connection, downstream: Any, upstream: int) -> Mapping[int, int]:
        """See ``store.settling.Grow``. The list was looked at by ``problem`` before its task was complete."""
        items = json.loads(_left(connection, upstream).result or "[]")
        seqs = [seq for seq, _ in _growing(connection, downstream.seq)]
        first = _end(connection, downstream.run_seq)
        growth = begin_growth(connection, downstream, seqs, upstream, first, len(items))
        add_first_part(connection, self.next_part(connection, growth), time.time())
        return dict.fromkeys(seqs, len(items))

    def next_part(self, connection: sa.Connection, growth: Any) -> Part:
        """The next tasks of a growth, a row of the store: with the task for an item come those that follow it."""
        left = _left(connection, growth.upstream)
        items, begin = json.loads(left.result or "[]"), growth.grown
        growing = list(_growing(connection, growth.step_seq))
        end = min(len(items), begin + max(1, PART // len(growing)))
        rows = load_steps(connection, [seq for seq, _ in growing])
        params: dict[int, list[str]] = {}
        grown: list[Grown] = []
        for seq, of in growing:
            step, row = self._app_step(connection, seq), rows[seq]
            if of is None:
                listing = self._app_step(connection, left.step_seq)
                taken = _taken(step, listing, growth.upstream % TASKS_PER_RUN, left.params)
                values = [_values(step, item)[0] | taken for item in items[begin:end]]
            else:
                source, first = self._app_step(connection, of), rows[of].first + begin
                values = [_taken(step, source, first + place, own) for place, own in enumerate(params[of])]
            params[seq] = [kept_json(own) for own in values]
            tasks = [
                NewTask(text, step.demand(text, None), data=step.needs(own, self._site))
                for text, own in zip(params[seq], values, strict=True)
            ]
            grown.append(Grown(row, row.first + begin, tasks, of is not None, step.spec.reuse))
        return Part(growth.step_seq, begin, end, len(items), grown)

    def _app_step(self, connection: sa.Connection, seq: int) -> AppStep:
        step = self._steps.of(connection, seq)
        if not isinstance(step, AppStep):
            raise TypeError(f"step {seq} runs no app")
        return step


def _left(connection: sa.Connection, task: int) -> Any:
    """The row of a task that left a list."""
    row = get_task(connection, task)
    if row is None:
        raise ValueError(f"the task {task} that left a list is not there")
    return row


def _growing(connection: sa.Connection, seq: int) -> Iterator[tuple[int, int | None]]:
    """(step, the one that it has a task for each task of) for all that grow when a list is known."""
    pending: list[tuple[int, int | None]] = [(seq, None)]
    while pending:
        step, of = pending.pop(0)
        yield step, of
        pending += [(edge.downstream, step) for edge in edges_out_of(connection, [step]) if edge.kind == "each"]


def _end(connection: sa.Connection, run_seq: int) -> int:
    """The first index of a run that no task has."""
    return max(int(row.first + (row.tasks or 0)) for row in steps_of_run(connection, run_seq))


def _values(step: AppStep, item: Any) -> tuple[Values, str | None]:
    """What a task for ``item`` of a list is given, and what is wrong with that."""
    row = {step.spec.item: item} if step.spec.item else item
    if not isinstance(row, dict):
        return {}, f"it is {_kind(row)}, where values of parameters were expected"
    given = {*step.spec.params, *step.spec.takes, step.spec.results_to}
    values, problems = check_row(step.app.parameters, row, "", _no_file, elsewhere=given)
    if problems:
        found = problems[0]
        return {}, f"{found.where.lstrip(', ')} {found.what}".strip().rstrip(".")
    return values, None


def _no_file(path: str) -> str | None:
    return "an item of a list cannot name a file: let the task that leaves the list keep it as an output"


def _taken(step: AppStep, source: AppStep, index: int, params: str) -> Values:
    """The parameters of a task that are outputs of the task with this index, of which these are the parameters."""
    return {name: source.output(output, index, params) for name, (_, output) in step.spec.takes.items()}


def _kind(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"
