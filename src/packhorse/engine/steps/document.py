"""A step whose tasks are TES documents, each with commands of its own, and edges of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from packhorse.domain.app import Session
from packhorse.domain.dataurl import is_data
from packhorse.domain.outputpath import kept_as, normal, output_entry
from packhorse.domain.outputurl import file_target
from packhorse.domain.render import limits, template_key, threads
from packhorse.domain.resources import Resources, resources_from_tes
from packhorse.domain.secretuse import as_told, secrets_of
from packhorse.domain.task import Executor, FileType, Task
from packhorse.domain.taskpaths import AbsolutePaths
from packhorse.engine.containers import Given
from packhorse.engine.rootpaths import ROOT, RootPaths, in_work
from packhorse.engine.steps.base import (
    Identity,
    Input,
    Line,
    LocalFile,
    Locations,
    StepBase,
    UpstreamFile,
    demand_key,
    overridden,
)
from packhorse.engine.steps.files import file_key, folder_key, is_brought
from packhorse.engine.steps.outputs import delivered_below, is_of, own_binds, own_url
from packhorse.estimate.records import Kind
from packhorse.sites.site import Site
from packhorse.store.data import DataKey
from packhorse.store.demands import DemandKey


class DocumentStep(StepBase):
    """Tasks that bring their own commands."""

    is_resumable = False
    session = Session.NONE
    may_deliver = True
    result_type = "none"

    def resources(self, params: str, overrides: str | None) -> Resources:
        return overridden(task_resources(_task(params)).override(self.spec.resources), overrides)

    def demand(self, params: str, overrides: str | None) -> DemandKey:
        return document_demand(_task(params), self.resources(params, overrides))

    def kind(self, params: str) -> Kind:
        return Kind(document_label(_task(params)))

    def needs(self, params: Mapping[str, Any], site: Site) -> tuple[DataKey, ...]:
        inputs = params["task"].get("inputs") or ()
        urls = tuple(self._data_key(item) for item in inputs if is_data(item.get("url"), item.get("content")))
        return (*urls, *_files(params, site)) if len(urls) < len(inputs) else urls

    def _data_key(self, item: Mapping[str, Any]) -> DataKey:
        """The data of an input by URL."""
        is_folder = item.get("type") == FileType.DIRECTORY
        return folder_key(item["url"], self.row.run_id) if is_folder else DataKey(item["url"])

    def images(self, params: str) -> list[str]:
        named = (executor.get("image") for executor in json.loads(params)["task"]["executors"])
        return [image for image in named if image is not None]

    def render(
        self, task: int, params: str, attempt: int, overrides: str | None, where: Locations, *, resume: bool = False
    ) -> tuple[str, Line, Line]:
        document, own = render_document(json.loads(params), where, self.resources(params, overrides))
        if self.spec.reuse and document["outputs"]:
            document["sums"] = True
        key = template_key(document)
        line: Line = {"id": task, "n": attempt, **own, "t": key}
        if self.user_secrets and (secrets := given_secrets(json.loads(params)["task"])):
            line["secrets"] = {"file": f"{where.secrets}/{self.row.run_id}.json", **secrets}
        if document["outputs"]:
            line["out"] = f"{where.outputs}/{self.row.run_id}/{self.row.index(task)}"
        return key, document, line

    def common_parts(self, images: Mapping[str, str], folder: Callable[[], str]) -> dict[str, Any]:
        return {}

    def identity(self, task: int, params: str, images: Mapping[str, str]) -> Identity:
        stored = json.loads(params)
        document = stored["task"]
        executors = [{**one, "image": images.get(one.get("image"))} for one in document["executors"]]
        outputs = [_counting(one, ("path", "path_prefix", "type")) for one in document.get("outputs") or ()]
        parts: dict[str, Any] = {"commands": executors, "outputs": outputs, "volumes": document.get("volumes")}
        inputs: dict[str, Input] = {}
        for item in document.get("inputs") or ():
            path = item["path"]
            if item.get("content") is not None:
                parts[f"text of the input '{path}'"] = item["content"]
            elif path in stored["upstream"]:
                inputs[path] = UpstreamFile(*stored["upstream"][path])
            else:
                url = item.get("url") or ""
                inputs[path] = self._data_key(item) if is_data(url) else LocalFile(file_target(url))
        return Identity(parts, inputs)

    def delivers(self, params: str) -> bool:
        outputs = json.loads(params)["task"].get("outputs") or ()
        return self.spec.outputs is not None or any(one.get("url") for one in outputs)

    @property
    def user_secrets(self) -> Collection[str]:
        return list(self.spec.params.get("secrets", ()))

    def output_urls(self, params: str, index: int, files: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
        own = [item for item in json.loads(params)["task"].get("outputs") or () if item.get("url")]
        found: dict[tuple[str, str], None] = {}
        for file in files:
            path, declared = str(file["path"]), file.get("glob")
            if ".." in path.split("/"):
                continue  # no agent of ours says that
            urls = [own_url(item, path) for item in own if is_of(item["path"], path, declared)]
            if urls:
                found.update(dict.fromkeys((path, url) for url in urls))
            else:
                below = delivered_below(self.spec.outputs, self.row.run_id, index, [file])
                found.update(dict.fromkeys(below))
        return list(found)

    def shown_params(self, params: str) -> dict[str, Any] | None:
        return None

    def document(self, task: Any) -> dict[str, Any]:
        return dict(json.loads(task.params)["task"])


def _counting(item: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: item[name] for name in names if item.get(name) is not None}


def document_demand(task: Task, asked: Resources) -> DemandKey:
    """What a TES document is counted with: those that begin with the same program are likely to take as long."""
    return demand_key(document_label(task), task.executors[0].image, asked)


def document_label(task: Task) -> str:
    """Image and program of a TES document, the first of several."""
    first = task.executors[0]
    program = PurePath(first.command[0]).name if first.command else ""
    return f"{first.image or 'host'} {program}"[:300]


def _files(params: Mapping[str, Any], site: Site) -> Iterator[DataKey]:
    """The files that a site is brought for a task: also those that a folder which the task writes to would hide."""
    task = Task.model_validate(params["task"])
    paths = AbsolutePaths.of(task)
    in_image = any(executor.image is not None for executor in task.executors)
    for item in task.inputs or []:
        if item.content is not None or item.path in params["upstream"] or is_data(item.url):
            continue
        path = file_target(item.url or "")
        hidden = in_image and paths is not None and paths.is_shared(item.path) and paths.is_shared(path)
        if hidden or is_brought(site, Session.NONE, path, in_image=in_image):
            yield file_key(path)


def _task(params: str) -> Task:
    return Task.model_validate(json.loads(params)["task"])


def task_resources(task: Task) -> Resources:
    """The resources of a TES document."""
    asked = task.resources
    if asked is None:
        return Resources()
    return resources_from_tes(
        asked.cpu_cores, asked.ram_gb, asked.disk_gb, asked.preemptible, asked.backend_parameters, "resources"
    )


def render_document(stored: dict[str, Any], where: Locations, resources: Resources) -> tuple[Line, Line]:
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
            sources[item.path] = f"{where.outputs}/{run_id}/{index}/{kept_as(path)}"
        elif item.content is None:
            url = item.url or ""
            sources[item.path] = where.bring(url.rstrip("/") if is_data(url) else file_target(url))
    root = RootPaths(paths, {normal(path): source for path, source in sources.items()}) if paths is not None else None
    folders = [volume for volume in task.volumes or [] if not volume.startswith("/")]
    if root is not None and where.containers is not None:
        document["root"] = ROOT
        folders += root.folders(where.containers.site)
    if folders:
        document["folders"] = folders
    secrets = tuple(given_secrets(stored["task"]).get("variables", ()))
    steps = [_step(executor, where, env, resources, root, secrets) for executor in task.executors]
    only = steps[0]
    line: Line = {"argv": only["argv"]} if len(steps) == 1 and set(only) == {"argv"} else {"steps": steps}
    if task.inputs:
        line["inputs"] = [
            {"path": item.path, "source": sources[item.path]}
            if item.path in sources
            else {"path": item.path, "content": item.content}
            for item in task.inputs
        ]
    if where.containers is not None:
        seen = [source for path, source in sources.items() if not path.startswith("/")] + (
            root.linked() if root is not None else []
        )
        line |= own_binds(where.containers, Session.NONE, seen)
    return document, line


def given_secrets(document: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What the agent is told of the secrets that a task is given; empty where it is given none."""
    uses = secrets_of((document.get("resources") or {}).get("backend_parameters"))
    if not uses:
        return {}
    told = as_told(uses)
    return {**told, "files": {in_work(path) or path: name for path, name in told["files"].items()}}


def _step(
    executor: Executor,
    where: Locations,
    env: dict[str, str],
    resources: Resources,
    root: RootPaths | None,
    secrets: tuple[str, ...],
) -> Line:
    """A TES executor as a step of a line; in a container, its environment and an absolute folder are the
    container's.
    """
    cwd = None if root is not None and (executor.workdir or "").startswith("/") else executor.workdir
    step: Line = {
        "argv": executor.command, "env": executor.env, "cwd": cwd, "stdin": in_work(executor.stdin),
        "stdout": in_work(executor.stdout), "stderr": in_work(executor.stderr), "ignore_error": executor.ignore_error,
    }  # fmt: skip
    if executor.image is None:
        step["argv"] = [*where.launch(resources), *executor.command]
    elif where.containers is not None:
        given = {**env, **(executor.env or {})}
        how: dict[str, Any] = {"has_stdin": executor.stdin is not None, "workdir": executor.workdir or "", "root": root}
        if secrets:
            how["given"] = Given(secrets=secrets)
        step["container"] = where.containers.of(executor.image, given, resources, [], **how)
        step["env"] = None
    return {key: value for key, value in step.items() if value is not None}
