"""Compiles a pipeline over a table to a run of steps. Pure: what an app takes is checked when the run is accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from packhorse.domain.errors import Problem
from packhorse.domain.pipeline import ROWS, PipelineManifest, PipelineStep
from packhorse.domain.render import as_text, taken_apart

Values = Mapping[str, Any]


def named(value: Any) -> str | None:
    """The parameter of the pipeline that a value as a step's manifest has it is by itself: ``{name}``."""
    literals, names = taken_apart(value) if isinstance(value, str) else ([], [])
    return names[0] if len(names) == 1 and not any(literals) else None


def fill(value: Any, values: Values) -> Any:
    """A value as a step's manifest has it, with the pipeline's own ``values`` in place of names in braces.

    ``{name}`` alone is that value itself, with its type; None where there is none.
    """
    if not isinstance(value, str):
        return value
    if (name := named(value)) is not None:
        return values.get(name)
    literals, names = taken_apart(value)
    text = literals[0]
    for name, literal in zip(names, literals[1:], strict=True):
        text += as_text(values.get(name)) + literal
    return text


def table_problems(manifest: PipelineManifest, columns: Sequence[str], rows: int) -> list[Problem]:
    """What is wrong with a table of these ``columns`` for this pipeline, whatever stands in it."""
    once = manifest.used_once
    problems = [
        Problem(
            f"the table, column '{column}'",
            f"step '{once[column]}' uses it, which has no task of its own for each row.",
            f"Give one value for the whole run: --set {column}=….",
        )
        for column in columns
        if column in once
    ]
    problems += [
        Problem(
            f"the table, column '{column}'",
            "it comes from earlier runs, and has one value in a run.",
            f"Give one value for the whole run: --set {column}=….",
        )
        for column in columns
        if column not in once and column in manifest.parameters and manifest.parameters[column].history is not None
    ]
    if rows != 1 and not any(step.over == ROWS for step in manifest.steps.values()):
        hint = "Run it without one; values are given with --set."
        problems.append(Problem("the table", f"no step of '{manifest.name}' has a task for each row of it.", hint))
    return problems


def compile_steps(manifest: PipelineManifest, common: Values, rows: Sequence[Values]) -> list[dict[str, Any]]:
    """The ``steps`` of a run's document (``domain.run.StepRun``).

    ``common`` are typed values for the whole run, defaults included, ``rows`` those of each row. What
    ``table_problems`` finds is not there.
    """
    columns = {name for row in rows for name in row}
    return [_step(manifest, name, step, common, rows, columns) for name, step in manifest.steps.items()]


def _step(
    manifest: PipelineManifest, name: str, step: PipelineStep, common: Values, rows: Sequence[Values], columns: set[str]
) -> dict[str, Any]:
    by_row = {
        parameter: value
        for parameter, value in step.params.items()
        if isinstance(value, str) and columns.intersection(taken_apart(value)[1])
    }
    fixed = {parameter: value for parameter, value in step.params.items() if parameter not in by_row}
    document: dict[str, Any] = {
        "name": name,
        "app": step.app,
        "params": _filled(fixed, common),
        "inputs": dict(step.inputs),
        "resources": dict(step.resources),
        "gather": list(step.gather),
        "results": step.results,
        "accept_failures": step.accept_failures,
    }
    if alike := manifest.follows(name):
        document["each"] = alike
    if step.over_list is not None:
        document |= {"items": step.over_list[0], "item": step.item}
    if (step.over == ROWS and not alike) or by_row:
        document["over"] = [_filled(by_row, {**common, **row}) if by_row else {} for row in rows]
    return document


def _filled(params: Values, values: Values) -> dict[str, Any]:
    found = {parameter: fill(value, values) for parameter, value in params.items()}
    return {parameter: value for parameter, value in found.items() if value is not None}
