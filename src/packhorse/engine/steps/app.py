"""A step whose tasks run an app, each with values of its own; and the app's gathering task."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

from packhorse.domain.app import AppManifest, Session
from packhorse.domain.cachekey import VALUE
from packhorse.domain.dataurl import is_data
from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.outputpath import escaped, kept_as, matching
from packhorse.domain.outputurl import file_target
from packhorse.domain.render import app_template, granted, template_key
from packhorse.domain.resources import BACKEND_FIELDS, TES_FIELDS, Resources
from packhorse.domain.secretuse import as_told
from packhorse.domain.text import holdable_value, shown_json
from packhorse.engine.steps.base import (
    BroughtFile,
    Identity,
    Input,
    InputNotBrought,
    Line,
    LocalFile,
    Locations,
    Results,
    StepBase,
    StepRow,
    StepSpec,
    UpstreamFile,
    output_key,
)
from packhorse.engine.steps.files import file_key, is_brought
from packhorse.engine.steps.outputs import delivered_below, own_binds
from packhorse.engine.steps.program import Program
from packhorse.estimate.records import Kind
from packhorse.sites.site import Site
from packhorse.store.data import DataKey
from packhorse.store.demands import DemandKey

#: Of a list that tasks come from; other results are for values, and shorter. A line of a journal holds it.
MAX_LIST_BYTES = 1_000_000


def upstream_file(run_id: str, index: int, path: str) -> dict[str, Any]:
    """As the value of a file parameter: an output of the task with this index of a run."""
    return {"output": [run_id, index, path]}


class AppStep(StepBase):
    """Tasks of one app."""

    def __init__(self, row: StepRow, spec: StepSpec, program: Program) -> None:
        super().__init__(row, spec)
        self.program = program

    @property
    def app(self) -> AppManifest:
        return self.program.manifest

    def kind(self, params: str) -> Kind:
        return self._kind

    @cached_property
    def _kind(self) -> Kind:
        part = "gather" if self.program.gathers else ""
        return Kind(self.app.name, f"{self.app.version}+{self.spec.app[:12]}", part)

    @property
    def sizes_itself(self) -> bool:
        return "memory_gb" in self.program.key_parts.names

    @property
    def is_resumable(self) -> bool:
        return self.app.resumable and not self.program.gathers

    @property
    def is_gathering(self) -> bool:
        return self.program.gathers or bool(self.spec.results_to)

    @property
    def session(self) -> Session:
        return self.program.session

    @property
    def user_secrets(self) -> Collection[str]:
        return self.program.secrets.keys()

    @property
    def may_deliver(self) -> bool:
        return self.spec.outputs is not None

    @property
    def result_type(self) -> str:
        return "text" if self.program.gathers else self.app.result_type

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The values that a row of the table need not give: the app's defaults, then the run's common ones."""
        return {**self.program.defaults, **self.spec.params}

    @cached_property
    def _shown_defaults(self) -> dict[str, Any]:
        """``defaults`` for others, who cannot be given a file's name that is not UTF-8."""
        return dict(holdable_value(self.defaults))

    def resources(self, params: str, overrides: str | None) -> Resources:
        return self.program.resources(overrides)

    def demand(self, params: str, overrides: str | None) -> DemandKey:
        return self.program.demand(overrides)

    def needs(self, params: Mapping[str, Any], site: Site) -> tuple[DataKey, ...]:
        values = {} if self.program.gathers else {**self.defaults, **params}
        own = [DataKey(str(values[name])) for name in self.program.files if is_data(values.get(name))]
        given = values if self.spec.reference else params
        files = [file_key(path) for name in self.program.files if (path := self._brought(given.get(name), site))]
        return (*own, *files, *self.program.refdata)

    @cached_property
    def _elsewhere(self) -> dict[str, DataKey]:
        """What is brought from another site, by parameter."""
        return {name: output_key(site, *self.spec.params[name]["output"]) for name, site in self.spec.elsewhere.items()}

    def common_needs(self) -> tuple[DataKey, ...]:
        return (*super().common_needs(), *self._elsewhere.values())

    def common_files(self, names: Collection[str], site: Site) -> dict[str, str]:
        """``StepSpec.files``: of those parameters that some task leaves to what is common to all."""
        if self.spec.reference:  # each task is looked up with what it was brought
            return {}
        given = {*self.spec.takes, self.spec.results_to}
        values = [self.defaults.get(name) for name in self.program.files if name in names and name not in given]
        return dict(file_key(path) for value in values if (path := self._brought(value, site)))

    def _brought(self, value: Any, site: Site) -> str | None:
        """The path of a file that the site is brought."""
        if not isinstance(value, str) or is_data(value):
            return None
        path, in_image = file_target(value), self.app.image is not None
        must = self.spec.reference or is_brought(site, self.session, path, in_image=in_image)
        return path if must else None

    def render(
        self, task: int, params: str, attempt: int, overrides: str | None, where: Locations, *, resume: bool = False
    ) -> tuple[str, Line, Line]:
        template = self.program.template(overrides, where, resume=resume)
        key, document, index = template.key, template.document, self.row.index(task)
        if self.spec.leaves_list:
            document = {**document, "max_result_bytes": MAX_LIST_BYTES}
            key = template_key(document)
        values = {**self.defaults, **json.loads(params)}
        files = {name: _file(values[name], where) for name in self.program.files if values.get(name) is not None}
        files |= {name: _brought(where, key) for name, key in self._elsewhere.items()}
        if self.spec.results_to:
            files[self.spec.results_to] = where.results
        values |= files
        values["run"], values["task"] = self.row.run_id, self.row.public_id(task)
        values["results"] = where.results
        line: Line = {"id": task, "n": attempt, "argv": template.arguments(values)}
        if template.outputs is not None:
            line["outputs"] = template.outputs(values)
        if "container" in document and where.containers is not None:
            paths = [*files.values(), *([where.results] if self.program.gathers else []), *where.reads]
            line |= own_binds(where.containers, self.session, paths)
        if self.program.secrets:
            line["secrets"] = {"file": f"{where.secrets}/{self.row.run_id}.json", **as_told(self.program.secrets)}
        line["t"] = key
        folder = f"{where.outputs}/{self.row.run_id}/{index}"
        if self.is_resumable:
            line["work"] = f"{folder}.work"
        if document["outputs"] or "outputs" in line:
            line["out"] = folder
        return key, document, line

    def output(self, name: str, index: int, params: str) -> dict[str, Any]:
        """As the value of a file parameter: the output of this name of the task with this index."""
        path = self.program.outputs[name].render(self._in_paths(index, params))["path"]
        return upstream_file(self.row.run_id, index, path)

    def kept(self, index: int, params: str, paths: Sequence[str]) -> dict[str, str | list[str]]:
        """The outputs of the task with this index, by name; ``paths`` are those of its files. Of a pattern, a list."""
        if not paths:
            return {}
        values, found = self._in_paths(index, params), dict[str, str | list[str]]()
        for name, output in self.program.outputs.items():
            path = output.render(values)["path"]
            if output.glob:
                found[name] = matching(path, paths)
            elif matching(escaped(kept_as(path)), paths):
                found[name] = kept_as(path)
        return found

    def gathered(self, index: int, params: str, paths: Sequence[str]) -> dict[str, str]:
        """Where the outputs of the task with this index are below its folder, by name; of a pattern, by NAME/FILE."""
        return self.program.gathered(self._in_paths(index, params), paths)

    def _in_paths(self, index: int, params: str) -> dict[str, Any]:
        """What paths of outputs are rendered with."""
        given = {"run": self.row.run_id, "task": public_task_id(self.row.run_id, index)}
        return {**granted(self.program.resources(None)), **self.defaults, **json.loads(params), **given}

    def common_parts(self, images: Mapping[str, str], folder: Callable[[], str]) -> dict[str, Any]:
        image = self.app.image
        parts = self.program.key_parts.common
        return {**parts, "image": image and images[image], "folder of the app": folder()}

    def identity(self, task: int, params: str, images: Mapping[str, str]) -> Identity:
        names = self.program.key_parts.names
        values = {**self.defaults, **json.loads(params)}
        values |= {name: self.program.defaults.get(name) for name in self.spec.from_history}
        own = {"run": self.row.run_id, "task": self.row.public_id(task)}
        parts: dict[str, Any] = {f"name of its {name}": own[name] for name in names & own.keys()}
        inputs: dict[str, Input] = {name: DataKey(one.url, one.version) for name, one in self.app.refdata.items()}
        files = {*self.program.files, self.spec.results_to} - {""}
        for name in () if self.program.gathers else names - own.keys():
            if name in files:
                continue
            if name in self.app.parameters:
                parts[VALUE + name] = values.get(name)
        for name in files & names:
            if name == self.spec.results_to:
                inputs[name] = Results()
            elif values.get(name) is None:
                parts[VALUE + name] = None
            else:
                one = _input(values[name])
                if self.spec.reference and isinstance(one, LocalFile):
                    one = BroughtFile(one.path)
                inputs[name] = one
        if self.program.gathers and "results" in names:
            inputs["results"] = Results()
        return Identity(parts, inputs)

    def delivers(self, params: str) -> bool:
        return self.spec.outputs is not None

    def output_urls(self, params: str, index: int, files: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
        return delivered_below(self.spec.outputs, self.row.run_id, index, files)

    def shown_params(self, params: str) -> dict[str, Any] | None:
        if self.program.gathers:
            return None
        values = {**self._shown_defaults, **shown_json(params)}
        return values | {name: _shown(values[name]) for name in self.program.files if name in values}

    def document(self, task: Any) -> dict[str, Any]:
        asked, app = self.resources(task.params, task.overrides), self.app
        plain = app.model_copy(update={"session": Session.NONE})
        refdata = {name: wanted.url for name, wanted in app.refdata.items()}
        folder = f"apps/{app.name}-{self.spec.app[:16]}"
        template = app_template(plain, folder, asked, gather=self.program.gathers, refdata=refdata)
        given = {"run": self.row.run_id, "task": self.row.public_id(task.id)}
        values = {**self.defaults, **json.loads(task.params), **given}
        values |= {name: _shown(values[name]) for name in self.program.files if name in values}
        said = asked.model_dump(exclude_none=True)
        command = {"command": template.arguments(values), "env": template.document["env"]}
        return {
            "name": f"{app.name} {task.name or self.row.index(task.id)}",
            "executors": [{"image": app.image, **command}],
            "outputs": [{"path": output["path"]} for output in template.outputs_of(values)],
            "resources": {
                **{name: said[name] for name in TES_FIELDS if name in said},
                "backend_parameters": {name: str(said[name]) for name in BACKEND_FIELDS if name in said},
            },
        }


def _shown(value: Any) -> Any:
    """The value of a file parameter, as it is shown."""
    if not isinstance(value, dict):
        return value
    run_id, index, path = value["output"]
    return f"task://{public_task_id(run_id, index)}/{path}"


def _input(value: Any) -> Input:
    """The value of a file parameter, as a part of a key."""
    if isinstance(value, dict):
        return UpstreamFile(*value["output"])
    return DataKey(str(value)) if is_data(value) else LocalFile(file_target(str(value)))


def _brought(where: Locations, key: DataKey) -> str:
    """Where an output of a task at another site is."""
    if key not in where.data:
        raise InputNotBrought("What it takes from another site is not here, and should have been brought before.")
    return where.data[key]


def _file(value: Any, where: Locations) -> str:
    """Where a file is at the site: an output of another task, or what was brought there."""
    if isinstance(value, dict):
        run_id, index, path = value["output"]
        return f"{where.outputs}/{run_id}/{index}/{kept_as(path)}"
    return where.bring(file_target(str(value)))
