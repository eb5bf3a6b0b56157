"""Accepts a run of one app over a table, or refuses it with all that is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from packhorse.domain.app import AppManifest, ParameterType
from packhorse.domain.dataurl import is_url
from packhorse.domain.errors import InvalidRequest, Problem, TooLarge
from packhorse.domain.filledpaths import FilledPaths
from packhorse.domain.outputurl import file_target
from packhorse.domain.parameters import Unique, check_row
from packhorse.domain.run import MAX_TASKS, AppRun
from packhorse.domain.text import kept_json
from packhorse.engine.requests.accept import (
    MAX_PROBLEMS,
    Accepted,
    AcceptedStep,
    Asked,
    Requester,
    SubmittedApp,
    app_spec,
    choose_site,
    option_problems,
    shortened,
    spec_of,
)
from packhorse.engine.requests.spooled import SpooledTasks
from packhorse.engine.steps.app import AppStep
from packhorse.engine.steps.base import StepSpec
from packhorse.engine.steps.program import Program
from packhorse.store.steps import StepEdge

Rows = Iterable[Mapping[str, Any]]


def accept_app_run(request: AppRun, app: SubmittedApp, rows: Rows, by: Requester) -> Accepted:
    """One task for each row, and the gathering one. ``rows`` are read once."""
    manifest = app.manifest
    problems = option_problems(request, by.files)
    gather = manifest.gather if request.gather else None
    site = ""
    images: list[str] = []
    common: dict[str, Any] = {}
    step = gatherer = None
    if not problems:
        step = app_step(app_spec(request, app), app, by)
        gatherer = app_step(spec_of(request, "gather", app.digest), app, by, "gather") if gather is not None else None
        images = [] if step.app.image is None else [step.app.image]
        asked = {"the app": asked_by(step, images)}
        if gatherer is not None:
            asked["the gathering task"] = asked_by(gatherer, images)
        site, problems = choose_site(asked, by.sites)
    values, wrong = check_row(manifest.parameters, request.params, "common parameters", by.files.problem, partial=True)
    problems += wrong
    common = absolute(manifest, values)
    if gather is not None:
        problems += FilledPaths(gather.outputs, gather.resources).problems("", {})
    if step is not None:
        step = _with(step, by, site, params=common)
    table = SpooledTasks()
    problems += read_table(table, rows, manifest, request.params, by, step, problems)
    if problems or step is None:
        raise InvalidRequest(f"The run of '{manifest.name}' was not accepted.", problems=shortened(problems))
    if not table.number:
        raise InvalidRequest("The table has no rows, so there is nothing to run.")
    there = by.site(site)
    files = step.common_files(table.left_out, there)
    step = _with(step, by, site, has_data=table.have_data, files=files)
    steps = [AcceptedStep(step.row.name, site, step.spec, table.number, partial(table.tasks, step, there))]
    step_edges = []
    if gather is not None and gatherer is not None:
        steps.append(_gathering(gatherer, by, site))
        step_edges = [StepEdge(0, 1, "gather", gather.accept_failures)]
    label = f"{manifest.name}@{manifest.version}"
    return Accepted(
        by.run_id, label, steps, step_edges, images={site: images}, tables=table.digest, name=manifest.name,
        priority=request.priority,
    )  # fmt: skip


def _gathering(gatherer: AppStep, by: Requester, site: str) -> AcceptedStep:
    """The step of the one task that waits for all others."""
    only = SpooledTasks("gather", waiting_on=1)
    there = by.site(site)
    only.add("{}", gatherer.needs({}, there))
    step = _with(gatherer, by, site, has_data=only.have_data)
    return AcceptedStep("gather", site, step.spec, 1, partial(only.tasks, step, there))


def _with(step: AppStep, by: Requester, site: str, **known: Any) -> AppStep:
    """The same step at its site, with what is known now and changes no task's program."""
    return AppStep(by.row(step.row.name, site), replace(step.spec, **known), step.program)


def app_step(spec: StepSpec, app: SubmittedApp, by: Requester, name: str = "", site: str = "") -> AppStep:
    """A step of an app as it will be; ``name`` is by default the app's."""
    return AppStep(by.row(name or app.manifest.name, site), spec, Program(app.manifest, spec))


def asked_by(step: AppStep, images: list[str]) -> Asked:
    """What the tasks of a step want of a site."""
    return Asked(step.program.resources(None), images, step.session, step.app.network, step.app.env)


def read_table(
    table: SpooledTasks,
    rows: Rows,
    manifest: AppManifest,
    elsewhere: Mapping[str, Any],
    by: Requester,
    step: AppStep | None,
    before: list[Problem],
    where: str = "row",
) -> list[Problem]:
    """Puts what rows say into ``table``, and returns what is wrong with them.

    ``elsewhere`` is given for all rows; ``step`` is None where the run is refused anyway, and so are rows while there
    are problems from ``before``: they are only looked at.
    """
    problems: list[Problem] = []
    told: set[str] = set()
    unique = Unique(manifest.parameters)
    filled = FilledPaths(manifest.outputs, step.app.resources) if step is not None and not before else None
    there = by.site(step.row.site) if step is not None else None
    has_files = any(one.type is ParameterType.FILE for one in manifest.parameters.values())
    for number, row in enumerate(rows, start=1):
        if number > MAX_TASKS:
            raise TooLarge(
                f"The table has more than {MAX_TASKS:,} rows, which is the limit of one run.",
                hint="Submit it as several runs.",
            )
        if len(before) + len(problems) >= MAX_PROBLEMS:
            continue
        place = f"{where} {number}" if where.endswith("row") else where
        values, wrong = check_row(manifest.parameters, row, place, by.files.problem, elsewhere=elsewhere, told=told)
        problems += [*wrong, *unique.problems(values, number, place)]
        if filled is not None and step is not None and not wrong:
            problems += filled.problems(place, {**step.defaults, **values})
        if step is not None and there is not None and not before and not problems:
            params = absolute(manifest, values) if has_files else values
            table.add(kept_json(params), step.needs(params, there))
            if has_files:
                table.left_out.update(name for name in step.program.files if name not in params)
    return problems


def absolute(manifest: AppManifest, values: Mapping[str, Any]) -> dict[str, Any]:
    """File parameters as absolute paths: a task runs in a folder of its own."""
    return {
        name: str(Path(file_target(str(value))).absolute())
        if manifest.parameters[name].type is ParameterType.FILE and value is not None and not is_url(str(value))
        else value
        for name, value in values.items()
    }
