"""Accepts a run of several steps with edges, or refuses it with all that is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from graphlib import TopologicalSorter
from itertools import repeat
from typing import Any

from packhorse.domain.app import ParameterType
from packhorse.domain.crossing import many_elsewhere, no_site
from packhorse.domain.errors import InvalidRequest, Problem, TooLarge
from packhorse.domain.parameters import check_row
from packhorse.domain.run import MAX_TASKS, RunOptions, RunStep, StepRun, check_steps
from packhorse.domain.text import kept_json
from packhorse.engine.requests.accept import (
    Accepted,
    AcceptedStep,
    Asked,
    Requester,
    SubmittedApp,
    app_spec,
    choose_site,
    option_problems,
    shortened,
)
from packhorse.engine.requests.accept_table import absolute, app_step, asked_by, read_table
from packhorse.engine.requests.spooled import SpooledTasks
from packhorse.engine.steps.app import AppStep
from packhorse.sites.site import Site
from packhorse.store.newtasks import NewTask
from packhorse.store.steps import StepEdge

_REFUSED = "The run was not accepted."


@dataclass
class _Planned:
    """A step on its way to be accepted; ``place`` is its number in the run, ``first`` the index of its first task.

    ``number`` of tasks None: its list is not known yet.
    """

    asked: RunStep
    app: SubmittedApp
    step: AppStep
    place: int
    site: str = ""
    number: int | None = None
    first: int = 0
    table: SpooledTasks = field(default_factory=SpooledTasks)
    edges: list[StepEdge] = field(default_factory=list)

    @property
    def where(self) -> str:
        return f"step '{self.asked.name}'"

    def tasks(self, site: Site) -> Iterable[NewTask]:
        """Its tasks, as they are inserted."""
        return self.table.tasks(self.step, site) if self.number is not None else ()


def accept_step_run(request: StepRun, apps: Mapping[str, SubmittedApp], by: Requester) -> Accepted:
    """``apps`` has those that the steps name."""
    _refuse([*check_steps(request.steps), *_options(request, by)])
    planned: dict[str, _Planned] = {}
    wanted: dict[str, Asked] = {}
    for place, asked in enumerate(request.steps):
        app = apps[asked.app]
        spec = replace(app_spec(request, app), resources={**request.resources, **asked.resources})
        one = _Planned(asked, app, app_step(spec, app, by, asked.name), place)
        planned[asked.name] = one
        wanted[one.where] = asked_by(one.step, [] if one.step.app.image is None else [one.step.app.image])
    unfit = _choose_sites(planned, wanted, by)
    images, twice = _images(planned)
    ordered = _ordered(planned)
    problems = _number(ordered, planned) + unfit + twice
    for one in ordered:
        problems += _plan(one, planned, by)
    _refuse(problems)
    steps = [
        AcceptedStep(
            one.asked.name, one.site, one.step.spec, one.number, partial(_Planned.tasks, one, by.site(one.site))
        )
        for one in planned.values()
    ]
    edges = [edge for one in planned.values() for edge in one.edges]
    tables = b"".join(one.table.digest for one in planned.values())
    name = request.steps[-1].name
    return Accepted(by.run_id, "", steps, edges, images=images, tables=tables, name=name, priority=request.priority)


def _choose_sites(planned: Mapping[str, _Planned], wanted: Mapping[str, Asked], by: Requester) -> list[Problem]:
    """Where steps go: all to one site, since they hand files to each other, unless they ask for different ones. Returns
    what no site can give.
    """
    own = {one.where: wanted[one.where].resources.site for one in planned.values()}
    different = sorted({site for site in own.values() if site is not None})
    if len(different) < 2:
        site, problems = choose_site(wanted, by.sites)
        for one in planned.values():
            one.site = site
        return problems
    problems = [Problem(where, *no_site(different)) for where, site in own.items() if site is None]
    for site in different:
        _, unfit = choose_site({where: wanted[where] for where in wanted if own[where] == site}, by.sites)
        problems += unfit
    for one in planned.values():
        one.site = own[one.where] or ""
    return problems


def _images(planned: Mapping[str, _Planned]) -> tuple[dict[str, list[str]], list[Problem]]:
    """The images of a run, by site; and those that it wants at several."""
    where: dict[str, set[str]] = {}
    for one in planned.values():
        if (image := one.step.app.image) is not None:
            where.setdefault(image, set()).add(one.site)
    hint = "Name it in two ways, by a tag and by its digest, or submit several runs."
    problems = [
        Problem("the run", f"wants the image '{image}' at several sites, and has each image at one.", hint)
        for image, sites in where.items()
        if len(sites) > 1
    ]
    by_site: dict[str, list[str]] = {}
    for image, sites in sorted(where.items()):
        for site in sites:
            by_site.setdefault(site, []).append(image)
    return by_site, problems


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise InvalidRequest(_REFUSED, problems=shortened(problems))


def _options(request: StepRun, by: Requester) -> list[Problem]:
    """What is wrong with what is laid over all steps, or over one."""
    problems = option_problems(request, by.files)
    for asked in request.steps:
        alone = option_problems(RunOptions(resources=asked.resources), by.files)
        problems += [replace(one, where=f"step '{asked.name}', {one.where}") for one in alone]
    return problems


def _ordered(planned: Mapping[str, _Planned]) -> list[_Planned]:
    """Each after those that it waits for."""
    graph = {name: one.asked.needs for name, one in planned.items()}
    return [planned[name] for name in TopologicalSorter(graph).static_order()]


def _number(ordered: list[_Planned], planned: Mapping[str, _Planned]) -> list[Problem]:
    """How many tasks each step has, as far as that is known, and where they lie. Raises TooLarge."""
    problems: list[Problem] = []
    for one in ordered:
        asked = one.asked
        if asked.each:
            one.number = planned[asked.each[0]].number
            problems += _uneven(one, planned)
        elif asked.items:
            source = planned[asked.items]
            if source.number != 1 or source.step.result_type != "json":
                hint = "A list is the result of a step with one task, whose app has an output of 'type: json'."
                problems.append(Problem(one.where, f"has a task for each item of '{asked.items}', no list.", hint))
            source.step = AppStep(source.step.row, replace(source.step.spec, leaves_list=True), source.step.program)
        else:
            one.number = 1 if asked.over is None else len(asked.over)
    total = 0
    for one in planned.values():
        one.first = total
        total += one.number or 0
    if total > MAX_TASKS:
        raise TooLarge(f"The run has {total:,} tasks; the limit is {MAX_TASKS:,}.", hint="Submit it as several runs.")
    return problems


def _uneven(one: _Planned, planned: Mapping[str, _Planned]) -> list[Problem]:
    """What is wrong with the numbers of what a step has a task for each of."""
    first, *others = one.asked.each
    told = {name: "of which the list is not known yet" if planned[name].number is None else
            f"which has {planned[name].number:,}" for name in one.asked.each}  # fmt: skip
    problems = []
    for name in others:
        if one.number is None or planned[name].number != one.number:
            what = f"has a task for each of '{first}', {told[first]}, and for each of '{name}', {told[name]}."
            problems.append(Problem(one.where, what, "Name steps that have as many tasks as each other."))
    if one.asked.over is not None and len(one.asked.over) != one.number:
        what = f"has {len(one.asked.over):,} rows, and a task for each of '{first}', {told[first]}."
        problems.append(Problem(one.where, what, "With 'each', 'over' has a row for each of these tasks."))
    return problems


def _plan(one: _Planned, planned: Mapping[str, _Planned], by: Requester) -> list[Problem]:
    """Fills in what the tasks of a step are given; returns what is wrong with it."""
    asked, parameters = one.asked, one.app.manifest.parameters
    values, problems = check_row(parameters, asked.params, f"{one.where}, params", by.files.problem, partial=True)
    params: dict[str, Any] = absolute(one.app.manifest, values)
    takes: dict[str, list[str]] = {}
    elsewhere: dict[str, str] = {}
    waits = dict.fromkeys(asked.gather, asked.accept_failures)
    for name in [*asked.inputs, *([asked.results] if asked.results else [])]:
        if name not in parameters or parameters[name].type is not ParameterType.FILE:
            problems.append(Problem(one.where, f"'{name[:60]}' is not a file parameter of '{one.app.manifest.name}'."))
    if asked.item and asked.item not in parameters:
        what = f"has 'item: {asked.item[:60]}', which is no parameter of '{one.app.manifest.name}'."
        problems.append(Problem(one.where, what, f"Its parameters: {', '.join(parameters) or 'none'}."))
    for name, said in asked.inputs.items():
        upstream, _, output = said.partition(".")
        source = planned[upstream]
        is_here = source.site == one.site
        if why := _output_problem(source, output):
            problems.append(Problem(f"{one.where}, input '{name[:60]}'", why))
        elif is_here and (upstream in asked.each or upstream == asked.items):
            takes[name] = [upstream, output]
        elif source.number == 1:
            if upstream != asked.items:  # which is waited for anyway
                waits[upstream] = False
            own = next(iter(source.table.params()), "{}")
            params[name] = source.step.output(output, source.first, own)
            if not is_here:
                elsewhere[name] = source.site
        elif not is_here:
            problems.append(Problem(f"{one.where}, input '{name[:60]}'", *many_elsewhere(upstream, source.site)))
        else:
            hint = f"Say 'each: {upstream}' for a task for each of them, or 'gather' and 'results' for one over all."
            problems.append(Problem(f"{one.where}, input '{name[:60]}'", f"'{upstream}' has many tasks.", hint))
    for upstream in asked.gather if asked.results else []:
        source = planned[upstream]
        if source.site != one.site and source.step.program.outputs:
            problems.append(Problem(one.where, *many_elsewhere(upstream, source.site)))
    one.edges = [StepEdge(planned[name].place, one.place, "gather", accept) for name, accept in waits.items()]
    if asked.items:
        one.edges.append(StepEdge(planned[asked.items].place, one.place, "items"))
    else:
        one.edges += [StepEdge(planned[name].place, one.place, "each") for name in dict.fromkeys(asked.each)]
    spec = replace(one.step.spec, params=params, takes=takes, item=asked.item)
    spec = replace(spec, results_to=asked.results, results_of=asked.gather if asked.results else [])
    spec = replace(spec, elsewhere=elsewhere)
    one.step = app_step(spec, one.app, by, asked.name, one.site)
    return problems + _fill(one, planned, by, problems)


def _fill(one: _Planned, planned: Mapping[str, _Planned], by: Requester, before: list[Problem]) -> list[Problem]:
    """The tasks of a step whose number is known."""
    asked, manifest = one.asked, one.app.manifest
    given = {**asked.params, **asked.inputs, **({asked.results: ""} if asked.results else {})}
    one.table = SpooledTasks(waiting_on=sum(edge.kind in ("gather", "each") for edge in one.edges))
    have_data = True  # of a list, which is not known yet
    left_out = set(one.step.program.files)
    there = by.site(one.step.row.site)
    problems: list[Problem] = []
    if not asked.items:
        rows = asked.over if asked.over is not None else [{}]
        checked = one.table if not asked.each else SpooledTasks()
        where = f"{one.where}, row" if asked.over is not None else one.where
        problems = read_table(checked, rows, manifest, given, by, one.step, before, where)
        left_out = checked.left_out
        if asked.each and one.number is not None and not before and not problems:
            _follow(one, planned, there, checked if asked.over is not None else None)
    if one.number is not None:
        have_data = one.table.have_data
    files = one.step.common_files(left_out, there) if not before and not problems else {}
    one.step = AppStep(one.step.row, replace(one.step.spec, has_data=have_data, files=files), one.step.program)
    return problems


def _follow(one: _Planned, planned: Mapping[str, _Planned], site: Site, rows: SpooledTasks | None) -> None:
    """The tasks of a step that has one for each of another: values of their own, and what those before them leave."""
    takes = one.step.spec.takes
    sources = {name: planned[name] for name in dict.fromkeys(name for name, _ in takes.values())}
    own_values = rows.params() if rows is not None else repeat("{}")
    tables = [source.table.params() for source in sources.values()]
    for index, own, *params in zip(range(one.number or 0), own_values, *tables, strict=False):
        of = dict(zip(sources, params, strict=True))
        values = json.loads(own)
        for parameter, (name, output) in takes.items():
            source = sources[name]
            values[parameter] = source.step.output(output, source.first + index, of[name])
        one.table.add(kept_json(values), one.step.needs(values, site))


def _output_problem(source: _Planned, output: str) -> str | None:
    """Why an output of a step cannot be an input of another; None when it can."""
    declared = source.step.program.outputs
    if output not in declared:
        known = ", ".join(f"'{name}'" for name in declared) or "none that is a file"
        return f"step '{source.asked.name}' has no output '{output[:60]}'; it has {known}."
    if declared[output].glob:
        return f"the output '{output}' of step '{source.asked.name}' is a pattern, which may match many files."
    return None
