"""What is wrong with a pipeline, seen together with the apps that its steps run: all of it at once, by field. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from packhorse.domain.app import AppManifest, Parameter, ParameterType
from packhorse.domain.crossing import leaves_files, many_elsewhere, no_site
from packhorse.domain.dataurl import is_url
from packhorse.domain.errors import Problem
from packhorse.domain.graph import find_cycle
from packhorse.domain.numbers import shown
from packhorse.domain.outputpath import is_pattern
from packhorse.domain.pipeline import ROWS, PipelineManifest, PipelineStep
from packhorse.domain.placeholders import check_placeholders
from packhorse.domain.problems import Location, dotted, located
from packhorse.domain.render import taken_apart
from packhorse.domain.resources import Resources

Apps = Mapping[str, AppManifest | str]
"""By how steps name them; text says why there is no such app."""

#: Which types of a pipeline's parameter can be given to an app's parameter of a type.
_FITS = {
    ParameterType.STRING: set(ParameterType) - {ParameterType.FILE, ParameterType.BOOLEAN},
    ParameterType.NUMBER: {ParameterType.NUMBER, ParameterType.INTEGER},
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a field of a manifest."""

    field: Location
    what: str
    hint: str = ""


def problem_of(finding: Finding) -> Problem:
    """The same of a pipeline that is in no file."""
    return Problem(f"field '{dotted(finding.field)}'", finding.what, finding.hint)


def check_pipeline(manifest: PipelineManifest, apps: Apps) -> list[Finding]:
    """Everything that is wrong, whatever table the pipeline is run over, and wherever."""
    found, has_order = check_edges(manifest)
    if not has_order:
        return found
    for name, step in manifest.steps.items():
        app = apps[step.app]
        if isinstance(app, str):
            found.append(Finding(("steps", name, "app"), app))
        found += _resources(name, step)
        found += _Given(manifest, apps, name, step).problems()
    return [*found, *_histories(manifest, apps), *_sites(manifest, apps)]


def check_edges(manifest: PipelineManifest) -> tuple[list[Finding], bool]:
    """What is wrong with how steps wait for each other; and whether they have an order at all."""
    found: list[Finding] = []
    for name, step in manifest.steps.items():
        found += _ways(name, step)
        found += _sources(manifest, name, step)
    known = {name: [need for need in step.needs if need in manifest.steps and need != name]
             for name, step in manifest.steps.items()}  # fmt: skip
    if cycle := find_cycle(known):
        told = f"the steps wait for each other in a circle: {' → '.join(cycle)}."
        found.append(Finding(("steps",), told, "Remove one of these edges."))
    return found, not cycle


def _ways(name: str, step: PipelineStep) -> Iterator[Finding]:
    """How the tasks of a step come to be."""
    here = ("steps", name)
    if step.once + (step.over is not None) + (step.each is not None) + bool(step.gather) > 1:
        hint = "Give one of them. What its inputs come from is waited for as well."
        yield Finding(here, "has more than one of 'once', 'over', 'each' and 'gather'.", hint)
    if step.over is not None and step.over != ROWS and not all(step.over_list or ("",)):
        told = f"expected '{ROWS}', or STEP.OUTPUT for a list that a step leaves (found: {shown(step.over)})."
        yield Finding((*here, "over"), told)
    if step.item and step.over_list is None:
        yield Finding((*here, "item"), "goes with 'over: STEP.OUTPUT': it says which parameter an item of the list is.")
    for field in ("results", "accept_failures"):
        if getattr(step, field) and not step.gather:
            yield Finding((*here, field), "goes with 'gather'.")


def _sources(manifest: PipelineManifest, name: str, step: PipelineStep) -> Iterator[Finding]:
    """Whether the steps are there that it waits for."""
    for field, source in step.sources:
        here = ("steps", name, *field)
        said = step.inputs[str(field[1])] if field[0] == "inputs" else None
        if said is not None and not all(said.partition(".")):
            yield Finding(here, f"expected STEP.OUTPUT (found: {shown(said)}).")
        elif source == name:
            yield Finding(here, "the step waits for itself.")
        elif source not in manifest.steps:
            yield Finding(here, f"there is no step '{source[:60]}'.", _meant(source, manifest.steps, "steps"))


def _resources(name: str, step: PipelineStep) -> Iterator[Finding]:
    try:
        Resources().override(step.resources)
    except ValidationError as error:
        for field, what in located(error.errors(include_url=False), "resource", step.resources):
            yield Finding(("steps", name, "resources", *field), what)


def _histories(manifest: PipelineManifest, apps: Apps) -> Iterator[Finding]:
    """Whether the steps are there that say values in earlier runs, and what these say."""
    for parameter, declared in manifest.parameters.items():
        if declared.history is None:
            continue
        here = ("parameters", parameter, "history")
        upstream, output, _ = declared.history.source
        step = manifest.steps.get(upstream)
        if step is None:
            told = f"there is no step '{upstream[:60]}'."
            yield Finding((*here, "value"), told, _meant(upstream, manifest.steps, "steps"))
            continue
        if not isinstance(app := apps[step.app], str):
            said = app.outputs.get(output)
            if said is None:
                yield Finding((*here, "value"), *_no_output(upstream, output, app))
            elif said.type != "json":
                hint = "A result with fields is an output with 'from: stdout, type: json'."
                yield Finding((*here, "value"), f"'{output}' of step '{upstream}' has no fields.", hint)
        for number, name in enumerate(declared.history.same):
            if name not in step.params:
                told = f"step '{upstream}' is given no value for '{name[:60]}'."
                yield Finding((*here, "same", number), told, _meant(name, step.params, "values"))


def _sites(manifest: PipelineManifest, apps: Apps) -> Iterator[Finding]:
    """Steps that ask for different sites: whether what they take can get there."""
    known = {name: app for name, step in manifest.steps.items() if not isinstance(app := apps[step.app], str)}
    sites = {name: manifest.steps[name].resources.get("site", app.resources.site) for name, app in known.items()}
    different = sorted({str(site) for site in sites.values() if site is not None})
    if len(different) < 2:
        return
    for name, site in sites.items():
        step = manifest.steps[name]
        if site is None:
            yield Finding(("steps", name), *no_site(different))
            continue
        taken: list[tuple[Location, str]] = [(("results",), one) for one in step.gather if leaves_files(known.get(one))]
        inputs = {parameter: said.partition(".")[0] for parameter, said in step.inputs.items()}
        many = [one for one in inputs.items() if one[1] in sites and manifest.root(one[1]) is not None]
        for field, other in [*(taken if step.results else []), *((("inputs", one), other) for one, other in many)]:
            if (there := sites[other]) not in (None, site):
                yield Finding(("steps", name, *field), *many_elsewhere(other, str(there)))


class _Given:
    """What a step gives to its app, against what the app takes."""

    def __init__(self, manifest: PipelineManifest, apps: Apps, name: str, step: PipelineStep) -> None:
        self._manifest = manifest
        self._apps = apps
        self._name = name
        self._step = step
        self._here: Location = ("steps", name)
        app = apps[step.app]
        self._app = None if isinstance(app, str) else app

    def problems(self) -> Iterator[Finding]:
        """All of them; of an app that is not there, those that do not depend on it."""
        yield from self._doubles()
        for parameter, value in self._step.params.items():
            yield from self._value((*self._here, "params", parameter), parameter, value)
        for parameter, said in self._step.inputs.items():
            yield from self._input((*self._here, "inputs", parameter), parameter, said)
        if self._step.results:
            yield from self._file((*self._here, "results"), self._step.results)
        if self._step.over_list is not None:
            yield from self._list(*self._step.over_list)
        yield from self._missing()

    def _doubles(self) -> Iterator[Finding]:
        """Parameters that are given in two ways."""
        ways = {"params": set(self._step.params), "inputs": set(self._step.inputs),
                "item": {self._step.item} - {""}, "results": {self._step.results} - {""}}  # fmt: skip
        told: dict[str, str] = {}
        for way, names in ways.items():
            for parameter in sorted(names):
                if parameter in told:
                    field = (*self._here, way, parameter) if way == "inputs" else (*self._here, way)
                    yield Finding(field, f"'{parameter}' is given in '{told[parameter]}' already.", "Keep one of them.")
                told.setdefault(parameter, way)

    def _parameter(self, field: Location, name: str) -> tuple[Parameter | None, list[Finding]]:
        """The app's parameter; None where there is none, or the app is not there."""
        if self._app is None or name in self._app.parameters:
            return None if self._app is None else self._app.parameters[name], []
        told = f"the app '{self._app.name}' has no parameter '{name[:60]}'."
        return None, [Finding(field, told, _meant(name, self._app.parameters, "parameters"))]

    def _value(self, field: Location, name: str, value: Any) -> Iterator[Finding]:
        parameter, problems = self._parameter(field, name)
        yield from problems
        if isinstance(value, str):
            try:
                check_placeholders("value", [value], set(self._manifest.parameters))
            except ValueError as error:
                what = str(error).removeprefix("value: ").partition(" is neither")
                names = taken_apart(value)[1]
                unknown = next((one for one in names if one not in self._manifest.parameters), None)
                if unknown is None:
                    yield Finding(field, f"{what[0]}.")
                else:
                    hint = _meant(unknown, self._manifest.parameters, "parameters")
                    yield Finding(field, f"'{{{unknown}}}' is no parameter of the pipeline.", hint)
                return
        if parameter is not None:
            yield from self._fits(field, name, parameter, value)

    def _fits(self, field: Location, name: str, parameter: Parameter, value: Any) -> Iterator[Finding]:
        """Whether the app's parameter can take a value, or what will be put in place of names in braces."""
        literals, names = taken_apart(value) if isinstance(value, str) else ([""], [])
        if not names:
            yield from self._literal(field, parameter, "".join(literals) if isinstance(value, str) else value)
        elif len(names) > 1 or any(literals):
            if parameter.type is not ParameterType.STRING:
                yield Finding(field, f"is text, and '{name}' of the app is of type {parameter.type}.")
            for inner in names:
                if self._manifest.parameters[inner].type is ParameterType.FILE:
                    told = f"'{{{inner}}}' is a file, whose path can be no part of a text."
                    yield Finding(field, told, "Give it to a parameter of 'type: file' by itself.")
                if self._manifest.parameters[inner].history is not None:
                    told = f"'{{{inner}}}' comes from earlier runs, and can be no part of a text."
                    yield Finding(field, told, "Give it to a parameter by itself.")
        else:
            given = self._manifest.parameters[names[0]]
            if given.type not in _FITS.get(parameter.type, {parameter.type}):
                told = f"'{{{names[0]}}}' is of type {given.type}, and '{name}' of the app of type {parameter.type}."
                yield Finding(field, told, "Declare both alike.")
            elif more := [one for one in given.choices or [] if parameter.choices and one not in parameter.choices]:
                told = f"'{{{names[0]}}}' may be '{more[0]}', and '{name}' of the app only "
                yield Finding(field, f"{told}{', '.join(parameter.choices or [])}.")
            elif parameter.required and not given.required and given.default is None:
                told = f"'{{{names[0]}}}' may be absent, and '{name}' of the app is required."
                yield Finding(field, told, "Give one of them a default, or make neither optional.")

    def _literal(self, field: Location, parameter: Parameter, value: Any) -> Iterator[Finding]:
        if parameter.is_absent(value):
            yield Finding(field, "is empty.", "Leave it out, or give it a value.")
            return
        try:
            given = parameter.value_of(value)
        except ValueError as error:
            yield Finding(field, f"{error}.")
            return
        if parameter.type is ParameterType.FILE and not is_url(str(given)):
            told = f"the file '{str(given)[:200]}' would be looked for wherever the pipeline is run."
            yield Finding(field, told, "Make it a parameter of the pipeline, of 'type: file', or give a URL.")

    def _file(self, field: Location, name: str) -> Iterator[Finding]:
        """Whether the app takes a file by that name."""
        parameter, problems = self._parameter(field, name)
        yield from problems
        if parameter is not None and parameter.type is not ParameterType.FILE:
            yield Finding(field, f"'{name}' of the app is of type {parameter.type}, and is given a file.")

    def _input(self, field: Location, name: str, said: str) -> Iterator[Finding]:
        yield from self._file(field, name)
        upstream, _, output = said.partition(".")
        source = self._manifest.steps.get(upstream)
        if source is None or not output or upstream == self._name:
            return
        app = self._apps[source.app]
        if not isinstance(app, str):
            declared = app.outputs.get(output)
            if declared is None:
                yield Finding(field, *_no_output(upstream, output, app))
            elif declared.path is None:
                told = f"'{output}' of step '{upstream}' is a result, and no file."
                yield Finding(field, told, "Let its app leave a file, or use it as a list: 'over: STEP.OUTPUT'.")
            elif is_pattern(declared.path):
                told = f"'{output}' of step '{upstream}' is a pattern, which may match many files."
                yield Finding(field, told, "Let its app declare the folder that they are in.")
        if not self._may_take(upstream):
            hint = f"Say 'each: {upstream}' for a task for each of them, or 'gather: {upstream}' with 'results'."
            yield Finding(field, f"step '{upstream}' has many tasks.", hint)

    def _may_take(self, upstream: str) -> bool:
        """Whether there is one task of another step for each of this one."""
        root = self._manifest.root(upstream)
        if root is None or upstream == self._step.each:
            return True
        return root == ROWS and self._manifest.root(self._name) == ROWS

    def _list(self, upstream: str, output: str) -> Iterator[Finding]:
        field = (*self._here, "over")
        if self._step.item:
            parameter, problems = self._parameter((*self._here, "item"), self._step.item)
            yield from problems
            if parameter is not None and parameter.type is ParameterType.FILE:
                told = f"'{self._step.item}' of the app is a file, and an item of a list is a value."
                hint = f"Let step '{upstream}' leave the files in a folder, and its list name them."
                yield Finding((*self._here, "item"), told, hint)
        source = self._manifest.steps.get(upstream)
        if source is None or not output or upstream == self._name:
            return
        if self._manifest.root(upstream) is not None:
            yield Finding(field, f"step '{upstream}' has many tasks, and a list is what one task leaves.")
        app = self._apps[source.app]
        if isinstance(app, str):
            return
        declared = app.outputs.get(output)
        if declared is None:
            yield Finding(field, *_no_output(upstream, output, app))
        elif declared.source is None or declared.type != "json":
            hint = "A list is an output with 'from: stdout, type: json'."
            yield Finding(field, f"'{output}' of step '{upstream}' is no list.", hint)

    def _missing(self) -> Iterator[Finding]:
        if self._app is None or (self._step.over_list is not None and not self._step.item):
            return  # items are objects that name parameters
        step = self._step
        given = {*step.params, *step.inputs, step.item, step.results}
        for name, parameter in self._app.parameters.items():
            if parameter.required and name not in given:
                told = f"parameter '{name}' of the app '{self._app.name}' is not given; it is required, and of type "
                yield Finding(self._here, f"{told}{parameter.type}.", parameter.help)


def _no_output(step: str, output: str, app: AppManifest) -> tuple[str, str]:
    return f"step '{step}' has no output '{output[:60]}'.", _meant(output, app.outputs, "outputs")


def _meant(name: str, known: Iterable[str], what: str) -> str:
    """Which one was probably meant, or what there is."""
    names = list(known)
    close = difflib.get_close_matches(name[:200], names, n=1)
    return f"Did you mean '{close[0]}'?" if close else f"The {what}: {', '.join(names) or 'none'}."
