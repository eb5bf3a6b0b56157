"""The values of a pipeline's parameters that come from what tasks of the same user's earlier runs said."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from packhorse.domain.app import ParameterType
from packhorse.domain.pipeline import History, PipelineManifest, PipelineParameter
from packhorse.domain.pipelinerun import fill
from packhorse.engine.steps.base import StepSpec
from packhorse.estimate.values import expected
from packhorse.store.database import Database
from packhorse.store.history import earlier_steps, results_of

_TASKS = 200  # of one run, or of several
_DIGITS = 3

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FromHistory:
    """A value, and how it came to be, as part of a sentence."""

    value: int | float | None
    why: str


#: Values by parameter, given those of the run and the names of the parameters that nobody gave.
HistoryOf = Callable[[PipelineManifest, Values, Collection[str]], Mapping[str, FromHistory]]


def history_of(database: Database, user: str) -> HistoryOf:
    """The history of a user's runs. The store is asked for pipelines with such parameters only."""

    def values(manifest: PipelineManifest, common: Values, missing: Collection[str]) -> Mapping[str, FromHistory]:
        some = [name for name in missing if manifest.parameters[name].history is not None]
        if not some:
            return {}
        with database.read() as connection:
            return _values(connection, user, manifest, common, some)

    return values


def _values(
    connection: sa.Connection, user: str, manifest: PipelineManifest, common: Values, missing: Collection[str]
) -> dict[str, FromHistory]:
    """Of each of the ``missing`` parameters that has a history: what is expected after what the last tasks said in runs
    with the same values. ``common`` are the values of this run.
    """
    found: dict[str, FromHistory] = {}
    for name in missing:
        parameter = manifest.parameters[name]
        if parameter.history is not None:
            step, _, field = parameter.history.source
            numbers, runs = _said(connection, user, manifest, parameter.history, common)
            if (value := _expected(parameter, numbers)) is None:
                found[name] = FromHistory(common.get(name), "no earlier run has said one")
                continue
            tasks = f"{len(numbers)} tasks" if len(numbers) > 1 else "a task"
            of = f"run {runs[0]}" if len(runs) == 1 else f"{len(runs)} runs, the last of them {runs[0]}"
            found[name] = FromHistory(value, f"estimated from '{field}' of {tasks} of step '{step}' in {of}")
    return found


def _said(
    connection: sa.Connection, user: str, manifest: PipelineManifest, history: History, common: Values
) -> tuple[list[float], list[str]]:
    """What tasks of earlier runs said, the oldest first, and which runs these are, the newest first."""
    step, _, field = history.source
    wanted = {name: fill(manifest.steps[step].params[name], common) for name in history.same}
    numbers: list[float] = []
    runs: list[str] = []
    for row in earlier_steps(connection, user, manifest.label, step):
        given = StepSpec.from_json(row.spec).params
        if len(numbers) < _TASKS and all(given.get(name) == value for name, value in wanted.items()):
            said = list(_numbers(results_of(connection, row, _TASKS - len(numbers)), field))
            numbers = said + numbers
            runs += [row.run_id] if said else []
    return numbers, runs


def _numbers(results: Collection[str], field: str) -> Iterator[float]:
    """What results (JSON) have in a field, where that is a number."""
    for result in results:
        with suppress(ValueError):
            said = json.loads(result)
            number = said.get(field) if isinstance(said, dict) else None
            if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
                yield float(number)


def _expected(parameter: PipelineParameter, numbers: Sequence[float]) -> int | float | None:
    """A value of a parameter, to a few digits; None where there is none, or it may not have that value."""
    found = expected(numbers)
    if found is None:
        return None
    short = float(f"{found:.{_DIGITS}g}")
    with suppress(ValueError):
        value = parameter.value_of(round(short) if parameter.type is ParameterType.INTEGER else short)
        return value if isinstance(value, int | float) else None
    return None
