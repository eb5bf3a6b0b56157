"""What the store remembers of a run besides its tasks, and how one of its tasks becomes a line of a block."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from packhorse.domain.app import STORED, AppManifest, ParameterType, Session
from packhorse.domain.dataurl import is_url
from packhorse.domain.failures import FailureClass
from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.outputpath import (
    below_prefix,
    fixed_folder,
    is_pattern,
    kept_as,
    matching,
    normal,
    output_entry,
    plain,
)
from packhorse.domain.outputurl import below, file_target
from packhorse.domain.render import (
    Renderer,
    Template,
    app_template,
    granted,
    limits,
    output_paths,
    template_key,
    threads,
)
from packhorse.domain.resources import Resources, resources_from_tes
from packhorse.domain.task import Executor, Task
from packhorse.domain.taskpaths import AbsolutePaths
from packhorse.domain.text import holdable_value, kept_json
from packhorse.engine.collecting.retry import RetryPolicy
from packhorse.engine.containers import Containers, input_binds
from packhorse.engine.rootpaths import ROOT, RootPaths, in_work
from packhorse.store.data import DataKey
from packhorse.store.schema import TASKS_PER_RUN

Line = dict[str, Any]

#: As the image of a run: none, the host's own programs.
NO_IMAGE = "none"


def _starts_itself(resources: Resources) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class Place:
    """What a task's command is rendered for: the site's folder of ``outputs``, the app's folder there, and how an input
    file gets there.

    ``results`` is the file that a gathering task reads; ``containers`` is for a run that names images; ``data`` is what
    came by URL; ``launch`` says the words before a command that start it on all ranks of a task.
    """

    outputs: str
    app_dir: str
    bring: Callable[[str], str]
    results: str = ""
    containers: Containers | None = None
    data: Mapping[DataKey, str] = field(default_factory=dict)
    launch: Callable[[Resources], list[str]] = _starts_itself
    copy: Callable[[str], str] | None = None
    """How an input file gets to where none of the site's own is, for containers."""


def with_data(place: Place, data: Mapping[DataKey, str]) -> Place:
    """A place where URLs are what came of them."""
    return replace(place, bring=lambda path: data.get(DataKey(path)) or place.bring(path), data=data)


@dataclass(frozen=True)
class RunSpec:
    """A run's template, stored once.

    ``app_dir`` is the kept copy of the app's folder; ``params`` are common to all rows.
    """

    kind: Literal["app", "tasks"]
    run_id: str
    manifest: dict[str, Any] | None = None
    app_dir: str = ""
    site: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    retry: dict[str, int] = field(default_factory=dict)
    session: str | None = None
    image: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    priority: int = 0
    outputs: str | None = None
    """The URL that outputs are delivered below."""
    has_data: bool = False
    """Whether any of its tasks needs data by URL."""

    def to_json(self) -> str:
        return kept_json(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RunSpec:
        return cls(**json.loads(text))

    @cached_property
    def app(self) -> AppManifest | None:
        """The manifest with what the run lays over it."""
        if self.manifest is None:
            return None
        manifest = AppManifest.model_validate(self.manifest, context=STORED)
        changes: dict[str, Any] = {"resources": manifest.resources.override(self.resources)}
        if self.session is not None:
            changes["session"] = Session(self.session)
        if self.image is not None:
            changes["image"] = None if self.image == NO_IMAGE else self.image
        return manifest.model_copy(update=changes)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The values that a row of the table need not give: the app's defaults, then the run's common ones."""
        own = {name: parameter.default for name, parameter in self.app.parameters.items()} if self.app else {}
        return {**own, **self.params}

    @cached_property
    def shown_defaults(self) -> dict[str, Any]:
        """``defaults`` for others, who cannot be given a file's name that is not UTF-8."""
        return dict(holdable_value(self.defaults))

    @cached_property
    def retry_policy(self) -> RetryPolicy:
        own = self.app.retry if self.app else {}
        return RetryPolicy.default().override(
            {**own, **{FailureClass(name): number for name, number in self.retry.items()}}
        )

    def is_resumable(self, role: str) -> bool:
        """Whether a task keeps its work folder, and goes on there after a failure."""
        return role == "row" and self.app is not None and self.app.resumable

    def resources_of(self, role: str, params: str, overrides: str | None) -> Resources:
        """What one attempt at a task asks for: its own or its app's resources, raised where an earlier attempt failed
        for want of them.
        """
        if role == "task":
            asked = task_resources(Task.model_validate(json.loads(params)["task"])).override(self.resources)
        elif self.app is None:
            asked = Resources()
        elif role == "gather" and self.app.gather is not None:
            asked = self.app.gather.resources.override(
                {name: self.resources[name] for name in ("site", "queue") if name in self.resources}
            )
        else:
            asked = self.app.resources
        return asked.override(json.loads(overrides)) if overrides else asked

    def granted(self, role: str, overrides: str | None) -> Resources:
        """``resources_of`` a task whose resources are its app's; remembered, since the collector asks for every
        task.
        """
        key = (role, overrides)
        if key not in self._granted:
            self._granted[key] = self.resources_of(role, "", overrides)
        return self._granted[key]

    @cached_property
    def _files(self) -> list[str]:
        """Names of the parameters that are files."""
        return (
            [name for name, parameter in self.app.parameters.items() if parameter.type is ParameterType.FILE]
            if self.app
            else []
        )

    @cached_property
    def _granted(self) -> dict[tuple[str, str | None], Resources]:
        return {}

    @cached_property
    def _templates(self) -> dict[tuple[str, str | None, str, bool, tuple[str, ...], str | None], Template]:
        return {}

    def _app_template(self, role: str, overrides: str | None, place: Place, resume: bool) -> Template:
        """Compiled once for each role, each set of raised resources, each place of the app's folder, and for
        restarts.
        """
        if self.app is None:
            raise ValueError("a run of tasks has no app")
        refdata = {name: place.data[DataKey(wanted.url, wanted.version)] for name, wanted in self.app.refdata.items()}
        ready = (
            None if self.app.image is None or place.containers is None else place.containers.images.get(self.app.image)
        )
        key = (role, overrides, place.app_dir, resume, tuple(refdata.values()), ready.gateway_id if ready else None)
        if key not in self._templates:
            resources = self.resources_of(role, "", overrides)
            template = app_template(
                self.app, place.app_dir, resources, gather=role == "gather", resume=resume, refdata=refdata
            )
            if self.app.image is not None and place.containers is not None:
                how = {"session": self.session_of(role), "network": self.app.network}
                boxed = place.containers.of(
                    self.app.image, template.document["env"], resources, [place.app_dir, *refdata.values()], **how
                )
                document = {**template.document, "env": {}, "container": boxed}
                template = replace(template, key=template_key(document), document=document)
            elif launcher := place.launch(resources):
                template = replace(template, arguments=_after(launcher, template.arguments))
            self._templates[key] = template
        return self._templates[key]

    def data_of(self, role: str, params: Mapping[str, Any]) -> tuple[DataKey, ...]:
        """What a task needs by URL; ``params`` as they are stored."""
        if role == "task":
            return tuple(
                DataKey(item["url"])
                for item in params["task"].get("inputs") or ()
                if is_data(item.get("url"), item.get("content"))
            )
        values = {**self.defaults, **params} if role == "row" else {}
        own = [DataKey(str(values[name])) for name in self._files if is_data(values.get(name))]
        return (
            *own,
            *(DataKey(wanted.url, wanted.version) for wanted in (self.app.refdata.values() if self.app else ())),
        )

    @cached_property
    def may_deliver(self) -> bool:
        """Whether outputs of its tasks may have URLs."""
        return self.outputs is not None or self.kind == "tasks"

    def output_urls(
        self, role: str, params: Mapping[str, Any], index: int, files: Sequence[Mapping[str, Any]]
    ) -> list[tuple[str, str]]:
        """(path, URL) of those ``files`` of a task, as its journal names them, that are delivered; ``params`` as they
        are stored.
        """
        own = [item for item in params["task"].get("outputs") or () if item.get("url")] if role == "task" else []
        found: dict[tuple[str, str], None] = {}
        for file in files:
            path, declared = str(file["path"]), file.get("glob")
            if ".." in path.split("/"):
                continue  # no agent of ours says that
            urls = [_own_url(item, path) for item in own if _is_of(item["path"], path, declared)]
            if not urls and self.outputs is not None:
                urls = [below(self.outputs, self.run_id, str(index), kept_as(path))]
            found.update(dict.fromkeys((path, url) for url in urls))
        return list(found)

    def gathered(self, index: int, kept: Sequence[str]) -> dict[str, str]:
        """Where the outputs of the gathering task are below its folder, by name; ``kept`` is what it left, by path."""
        if self.app is None or self.app.gather is None:
            return {}
        values = {
            **granted(self.granted("gather", None)),
            "run": self.run_id,
            "task": public_task_id(self.run_id, index),
        }
        found: dict[str, str] = {}
        for name, output in output_paths(self.app.gather.outputs).items():
            path = output.render(values)["path"]
            if output.glob:
                folder = fixed_folder(path)
                found.update({f"{name}/{below_prefix(match, folder)}": match for match in matching(path, kept)})
            else:
                found[name] = path
        return found

    def session_of(self, role: str) -> Session:
        """How processes serve tasks of this role."""
        return self.app.session if self.app is not None and role == "row" else Session.NONE

    def render(
        self,
        task: int,
        role: str,
        params: str,
        attempt: int,
        overrides: str | None,
        place: Place,
        *,
        resume: bool = False,
    ) -> tuple[str, Line, Line]:
        """(template key, template, line) of docs/spool.md for one attempt at ``place``; ``resume``: an earlier attempt
        got on.
        """
        outputs = place.outputs
        index = task % TASKS_PER_RUN
        line: Line = {"id": task, "n": attempt}
        if role == "task":
            document, own = _render_task(json.loads(params), place, self.resources_of(role, params, overrides))
            line |= own
            key = template_key(document)
        else:
            template = self._app_template(role, overrides, place, resume)
            key, document = template.key, template.document
            values = {**self.defaults, **json.loads(params)}
            files = {name: place.bring(file_path(values[name])) for name in self._files if values.get(name) is not None}
            values |= files
            values["run"], values["task"] = self.run_id, public_task_id(self.run_id, index)
            if role == "gather":
                values["results"] = place.results
            line["argv"] = template.arguments(values)
            if template.outputs is not None:
                line["outputs"] = template.outputs(values)
            if "container" in document and place.containers is not None:
                paths = [*files.values(), *([place.results] if role == "gather" else [])]
                line |= _own_binds(place.containers, self.session_of(role), paths)
        line["t"] = key
        if self.is_resumable(role):
            line["work"] = f"{outputs}/{self.run_id}/{index}.work"
        if document["outputs"] or "outputs" in line:
            line["out"] = f"{outputs}/{self.run_id}/{index}"
        return key, document, line


def task_resources(task: Task) -> Resources:
    """The resources of a TES document."""
    asked = task.resources
    if asked is None:
        return Resources()
    return resources_from_tes(
        asked.cpu_cores, asked.ram_gb, asked.disk_gb, asked.preemptible, asked.backend_parameters, "resources"
    )


def _render_task(stored: dict[str, Any], place: Place, resources: Resources) -> tuple[Line, Line]:
    """(template, line fields) of a TES task.

    ``stored['upstream']`` maps an input's path to (run id, index, path) of the output that it takes.
    """
    task = Task.model_validate(stored["task"])
    env = threads(resources)
    document: Line = {
        "session": "none",
        "start": None,
        "env": env,
        **limits(resources),
        "outputs": [output_entry(output.path) for output in task.outputs or []],
        "result": "none",
    }
    sources: dict[str, str] = {}
    paths = AbsolutePaths.of(task)
    for item in task.inputs or []:
        if item.content is None and item.path in stored["upstream"]:
            run_id, index, path = stored["upstream"][item.path]
            sources[item.path] = f"{place.outputs}/{run_id}/{index}/{kept_as(path)}"
        elif item.content is None:
            sources[item.path] = _source(place, file_path(item.url or ""), item.path, paths)
    root = RootPaths(paths, {normal(path): source for path, source in sources.items()}) if paths is not None else None
    folders = [volume for volume in task.volumes or [] if not volume.startswith("/")]
    if root is not None and place.containers is not None:
        document["root"] = ROOT
        folders += root.folders(place.containers.site)
    if folders:
        document["folders"] = folders
    steps = [_step(executor, place, env, resources, root) for executor in task.executors]
    only = steps[0]
    line: Line = {"argv": only["argv"]} if len(steps) == 1 and set(only) == {"argv"} else {"steps": steps}
    if task.inputs:
        line["inputs"] = [
            {"path": item.path, "source": sources[item.path]}
            if item.path in sources
            else {"path": item.path, "content": item.content}
            for item in task.inputs
        ]
    if place.containers is not None:
        seen = [source for path, source in sources.items() if not path.startswith("/")] + (
            root.linked() if root is not None else []
        )
        line |= _own_binds(place.containers, Session.NONE, seen)
    return document, line


def _source(place: Place, path: str, wanted: str, paths: AbsolutePaths | None) -> str:
    """Where an input is at the site.

    One that would lie below a folder that is bound over its own is copied elsewhere.
    """
    source = place.bring(path)
    hidden = paths is not None and paths.is_shared(wanted) and paths.is_shared(source)
    return place.copy(path) if hidden and place.copy is not None and not is_data(path) else source


def _is_of(output: str, path: str, pattern: str | None) -> bool:
    """Whether the output that is declared as ``output`` is what a journal calls ``path``, matched by ``pattern`` if by
    one.
    """
    return output == pattern if is_pattern(output) else pattern is None and normal(plain(output)) == normal(path)


def _own_url(output: Mapping[str, Any], path: str) -> str:
    """Where ``path``, which is that output or which its pattern matched, goes: as TES says of ``path_prefix``."""
    if not is_pattern(output["path"]):
        return str(output["url"])
    return below(output["url"], below_prefix(path, plain(output.get("path_prefix") or "")))


def _after(words: Sequence[str], render: Renderer) -> Renderer:
    return lambda values: [*words, *render(values)]


def _step(executor: Executor, place: Place, env: dict[str, str], resources: Resources, root: RootPaths | None) -> Line:
    """A TES executor as a step of a line; in a container, its environment and an absolute folder are the
    container's.
    """
    cwd = None if root is not None and (executor.workdir or "").startswith("/") else executor.workdir
    step: Line = {
        "argv": executor.command, "env": executor.env, "cwd": cwd, "stdin": in_work(executor.stdin),
        "stdout": in_work(executor.stdout), "stderr": in_work(executor.stderr), "ignore_error": executor.ignore_error,
    }  # fmt: skip
    if executor.image is None:
        step["argv"] = [*place.launch(resources), *executor.command]
    elif place.containers is not None:
        given = {**env, **(executor.env or {})}
        how: dict[str, Any] = {"has_stdin": executor.stdin is not None, "workdir": executor.workdir or "", "root": root}
        step["container"] = place.containers.of(executor.image, given, resources, [], **how)
        step["env"] = None
    return {key: value for key, value in step.items() if value is not None}


def _own_binds(containers: Containers, session: Session, paths: list[str]) -> Line:
    binds = input_binds(containers.site, session, paths)
    return {"binds": binds} if binds else {}


def is_data(url: Any, content: str | None = None) -> bool:
    """Whether an input is fetched by URL."""
    return content is None and url is not None and is_url(str(url))


def file_path(url: str) -> str:
    """The path in a ``file://`` URL or a plain path."""
    return file_target(url)
