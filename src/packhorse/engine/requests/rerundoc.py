"""A run as a document and tables that ask for the same again, put together from what the store keeps of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.domain.text import kept_json
from packhorse.engine.requests.rerun import app_folders, is_app_run, table_name
from packhorse.engine.steps.app import AppStep
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.document import DocumentStep
from packhorse.engine.steps.kbase import KBaseStep
from packhorse.store.reports import edges_of_run, iter_tasks_of_step, task_edges_of_run
from packhorse.store.schema import TASKS_PER_RUN

_NONE: dict[str, Any] = {}


class RunDocument:
    """The document of a run with its ``steps`` (all of them understood), and the tables that it names."""

    def __init__(self, connection: sa.Connection, run: Any, rows: Sequence[Any], steps: Sequence[Step]) -> None:
        self._connection = connection
        self._run = run
        self._steps = steps
        self._numbers = {row.seq: row.tasks or 0 for row in rows}
        self._folders = app_folders(steps)
        self._edges = edges_of_run(connection, run.seq)
        self._own = {
            step.row.seq: self._has_own_values(step)
            for step in steps
            if isinstance(step, AppStep) and not isinstance(step, KBaseStep)
        }

    def tables(self) -> Iterator[tuple[Step, Iterator[str]]]:
        """The steps whose tasks have values of their own, and these, each task's as JSON."""
        for step in self._steps:
            if self._own.get(step.row.seq):
                yield step, self._values(step)

    def document(self) -> dict[str, Any]:
        """What ``packhorse run --steps`` or ``--tasks`` read; of one app, what POST /runs takes, but for its table."""
        first = self._steps[0]
        options = self._options(first)
        if isinstance(first, DocumentStep):
            return {**options, "tasks": list(self._tasks(first))}
        if isinstance(first, KBaseStep):
            return {"run_job_batch": [job for step in self._steps for job in self._jobs(step)]}
        if is_app_run(self._steps):
            assert isinstance(first, AppStep)
            gathers = {"gather": False} if first.app.gather is not None and len(self._steps) == 1 else {}
            common = {**options, "resources": first.spec.resources, "params": first.spec.params, **gathers}
            told = {name: value for name, value in common.items() if value not in (None, "", {})}
            return {"app": self._folders[first.spec.app], "over": table_name(first), **told}
        return {**options, "steps": [self._step(step) for step in self._steps if isinstance(step, AppStep)]}

    def _options(self, first: Step) -> dict[str, Any]:
        spec = first.spec
        options = {
            "name": self._run.name,
            "tags": spec.tags,
            "outputs": spec.outputs,
            "retry": spec.retry,
            "session": spec.session,
            "image": spec.image,
            "priority": self._run.priority,
        }
        if isinstance(first, DocumentStep):
            options["resources"] = spec.resources
        return {name: value for name, value in options.items() if value not in (None, "", {}, 0)}

    # --- steps ------------------------------------------------------------

    def _step(self, step: AppStep) -> dict[str, Any]:
        spec = step.spec
        params, inputs = dict[str, Any](), {name: f"{of}.{output}" for name, (of, output) in spec.takes.items()}
        by_inputs = set()
        for name, value in spec.params.items():
            if isinstance(value, Mapping):
                source, output = self._output(value["output"])
                inputs[name] = f"{source.row.name}.{output}"
                by_inputs.add(source.row.seq)
            elif value is not None:
                params[name] = value
        into = [edge for edge in self._edges if edge.downstream == step.row.seq]
        names = {one.row.seq: one.row.name for one in self._steps}
        each = [names[edge.upstream] for edge in into if edge.kind == "each"]
        items = [names[edge.upstream] for edge in into if edge.kind == "items"]
        gather = [edge for edge in into if edge.kind == "gather" and edge.upstream not in by_inputs]
        told = {
            "each": each[0] if len(each) == 1 else each,
            "items": items[0] if items else "",
            "item": spec.item,
            "over": table_name(step) if self._own.get(step.row.seq) else "",
            "params": params,
            "inputs": inputs,
            "gather": [names[edge.upstream] for edge in gather],
            "results": spec.results_to,
            "accept_failures": any(edge.accept_failure for edge in gather),
            "resources": spec.resources,
        }
        given = {name: value for name, value in told.items() if value}
        return {"name": step.row.name, "app": self._folders[spec.app], **given}

    def _has_own_values(self, step: AppStep) -> bool:
        """Whether its tasks have a table: not where they are one without values, come from a list, or follow others."""
        if step.spec.kind == "gather" or any(
            edge.downstream == step.row.seq and edge.kind == "items" for edge in self._edges
        ):
            return False
        if is_app_run(self._steps) or self._numbers[step.row.seq] != 1:
            follows = any(edge.downstream == step.row.seq and edge.kind == "each" for edge in self._edges)
            return not follows or self._first_has_values(step)
        return self._first_has_values(step)

    def _first_has_values(self, step: AppStep) -> bool:
        [*rows] = iter_tasks_of_step(self._connection, self._first(step), 1) if self._numbers[step.row.seq] else []
        return any(set(json.loads(row.params)) - set(step.spec.takes) for row in rows)

    def _values(self, step: Step) -> Iterator[str]:
        for row in iter_tasks_of_step(self._connection, self._first(step), self._numbers[step.row.seq]):
            values = json.loads(row.params)
            yield kept_json({name: value for name, value in values.items() if name not in step.spec.takes})

    def _first(self, step: Step) -> int:
        return int(self._run.seq) * TASKS_PER_RUN + step.row.first

    def _output(self, value: Sequence[Any]) -> tuple[AppStep, str]:
        """The step, and the name of the output, that the value of a file parameter is."""
        _, index, path = value
        for step in self._steps:
            number = self._numbers[step.row.seq]
            if isinstance(step, AppStep) and step.row.first <= index < step.row.first + number:
                [task] = iter_tasks_of_step(self._connection, int(self._run.seq) * TASKS_PER_RUN + index, 1)
                for name, declared in step.program.outputs.items():
                    if not declared.glob and step.output(name, index, task.params)["output"][2] == path:
                        return step, name
        raise LookupError(f"no step of run {self._run.id} has the output {path}")

    def _jobs(self, step: Step) -> Iterator[dict[str, Any]]:
        """RunJobParams of the jobs of KBase in a step."""
        names = ("method", "params", "app_id", "source_ws_objects", "meta")
        for row in iter_tasks_of_step(self._connection, self._first(step), self._numbers[step.row.seq]):
            stored = json.loads(row.params)
            asked = {name: stored[name] for name in names if name in stored}
            yield {**asked, "service_ver": step.spec.params["service_ver"]}

    # --- documents ------------------------------------------------------------

    def _tasks(self, step: DocumentStep) -> Iterator[dict[str, Any]]:
        number = self._numbers[step.row.seq]
        names = {row.id: row.name for row in iter_tasks_of_step(self._connection, self._first(step), number)}
        after: dict[int, list[str]] = {}
        for edge in task_edges_of_run(self._connection, self._run.seq):
            if names.get(edge.upstream):
                after.setdefault(edge.downstream, []).append(names[edge.upstream])
        for row in iter_tasks_of_step(self._connection, self._first(step), number):
            edges = {"after": after[row.id]} if row.id in after else _NONE
            yield {"name": row.name or f"task{step.row.index(row.id)}", "task": json.loads(row.params)["task"], **edges}
