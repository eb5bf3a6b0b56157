"""Accepts a run of a pipeline over a table: checks both, compiles them to steps, and accepts these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from packhorse.domain.errors import InvalidRequest, Problem, TooLarge
from packhorse.domain.parameters import Unique, check_row
from packhorse.domain.pipeline import PipelineManifest
from packhorse.domain.pipelinerun import compile_steps, named, table_problems
from packhorse.domain.run import MAX_TASKS, AppRun, PipelineRun, RunOptions, RunStep, StepRun
from packhorse.engine.requests.accept import MAX_PROBLEMS, Accepted, AcceptedStep, Requester, SubmittedApp, shortened
from packhorse.engine.requests.accept_steps import accept_step_run
from packhorse.engine.requests.filerules import FileRules
from packhorse.engine.requests.history import FromHistory, HistoryOf

Values = dict[str, Any]
Rows = Iterable[Mapping[str, Any]]


def accept_pipeline_run(
    request: AppRun | PipelineRun,
    manifest: PipelineManifest,
    apps: Mapping[str, SubmittedApp],
    rows: Rows,
    by: Requester,
    history: HistoryOf,
) -> Accepted:
    """``apps`` are those of its steps, which have been checked with it. ``rows`` are read once."""
    refused = f"The run of '{manifest.name}' was not accepted."
    if isinstance(request, AppRun) and not request.gather:
        raise InvalidRequest(
            refused, hint="'gather' is for an app with a gathering task; a pipeline's steps are all run."
        )
    common, typed, problems = _read(manifest, request.params, rows, by.files)
    columns = dict.fromkeys(name for row in typed for name in row)
    problems += table_problems(manifest, list(columns), len(typed))
    if problems:
        raise InvalidRequest(refused, problems=shortened(problems))
    if not typed:
        raise InvalidRequest("The table has no rows, so there is nothing to run.")
    from_history = history(manifest, common, manifest.parameters.keys() - request.params.keys())
    common |= {name: one.value for name, one in from_history.items()}
    options = {name: getattr(request, name) for name in RunOptions.model_fields}
    steps = [
        RunStep.model_validate({**step, "resources": {**step["resources"], **request.resources}})
        for step in compile_steps(manifest, common, typed)
    ]
    accepted = accept_step_run(StepRun(steps=steps, **options), apps, by)
    told = [_told(step, manifest, from_history) for step in accepted.steps]
    return replace(accepted, app=manifest.label, name=manifest.name, steps=told)


def _told(step: AcceptedStep, manifest: PipelineManifest, values: Mapping[str, FromHistory]) -> AcceptedStep:
    """A step that knows which of its values come from earlier runs."""
    params = manifest.steps[step.name].params
    told = {name: values[source].why for name, said in params.items() if (source := named(said)) in values and source}
    return replace(step, spec=replace(step.spec, from_history=told)) if told else step


def _read(
    manifest: PipelineManifest, params: Mapping[str, Any], rows: Rows, files: FileRules
) -> tuple[Values, list[Values], list[Problem]]:
    """The typed values for the whole run, defaults included; those of each row; and what is wrong with them."""
    declared = manifest.parameters
    given, problems = check_row(declared, params, "common parameters", files.problem, partial=True)
    common = {**{name: one.default for name, one in declared.items() if one.default is not None}, **given}
    unique, told = Unique(declared, common), set[str]()
    typed: list[Values] = []
    for number, row in enumerate(rows, start=1):
        if number > MAX_TASKS:
            hint = "Submit it as several runs."
            raise TooLarge(f"The table has more than {MAX_TASKS:,} rows, which is the limit of one run.", hint=hint)
        if len(problems) >= MAX_PROBLEMS:
            continue
        values, wrong = check_row(declared, row, f"row {number}", files.problem, elsewhere=params, told=told)
        problems += [*wrong, *unique.problems(values, number, f"row {number}")]
        typed.append(dict(values))
    return common, typed, problems
