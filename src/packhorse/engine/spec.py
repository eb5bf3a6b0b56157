"""What the store remembers of a run besides its tasks, and how one of its tasks becomes a line of a block."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from packhorse.domain.app import AppManifest, Session
from packhorse.domain.failures import FailureClass
from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.render import Template, app_template, limits, template_key
from packhorse.domain.resources import Resources, resources_from_tes
from packhorse.domain.task import Task
from packhorse.engine.retry import RetryPolicy
from packhorse.store.schema import TASKS_PER_RUN

Line = dict[str, Any]


@dataclass(frozen=True)
class RunSpec:
    """A run's template, stored once. ``app_dir`` is the kept copy of the app's folder; ``params`` are common to all rows."""

    kind: Literal["app", "tasks"]
    run_id: str
    manifest: dict[str, Any] | None = None
    app_dir: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    retry: dict[str, int] = field(default_factory=dict)
    session: str | None = None
    tags: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> RunSpec:
        return cls(**json.loads(text))

    @cached_property
    def app(self) -> AppManifest | None:
        """The manifest with what the run lays over it."""
        if self.manifest is None:
            return None
        manifest = AppManifest.model_validate(self.manifest)
        changes: dict[str, Any] = {"resources": manifest.resources.override(self.resources)}
        if self.session is not None:
            changes["session"] = Session(self.session)
        return manifest.model_copy(update=changes)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The values that a row of the table need not give: the app's defaults, then the run's common ones."""
        own = {name: parameter.default for name, parameter in self.app.parameters.items()} if self.app else {}
        return {**own, **self.params}

    @cached_property
    def retry_policy(self) -> RetryPolicy:
        own = self.app.retry if self.app else {}
        return RetryPolicy.default().override({**own, **{FailureClass(name): number for name, number in self.retry.items()}})

    def resources_of(self, role: str, params: str, overrides: str | None) -> Resources:
        """What one attempt at a task asks for: its own or its app's resources, raised where an earlier attempt failed for want of them."""
        if role == "task":
            asked = task_resources(Task.model_validate(json.loads(params)["task"])).override(self.resources)
        elif self.app is None:
            asked = Resources()
        elif role == "gather" and self.app.gather is not None:
            asked = self.app.gather.resources
        else:
            asked = self.app.resources
        return asked.override(json.loads(overrides)) if overrides else asked

    def granted(self, role: str, overrides: str | None) -> Resources:
        """``resources_of`` a task whose resources are its app's; remembered, since the collector asks for every task."""
        key = (role, overrides)
        if key not in self._granted:
            self._granted[key] = self.resources_of(role, "", overrides)
        return self._granted[key]

    @cached_property
    def _granted(self) -> dict[tuple[str, str | None], Resources]:
        return {}

    @cached_property
    def _templates(self) -> dict[tuple[str, str | None], Template]:
        return {}

    def _app_template(self, role: str, overrides: str | None) -> Template:
        """Compiled once for each role and each set of raised resources."""
        if self.app is None:
            raise ValueError("a run of tasks has no app")
        key = (role, overrides)
        if key not in self._templates:
            resources = self.resources_of(role, "", overrides)
            self._templates[key] = app_template(self.app, self.app_dir, resources, gather=role == "gather")
        return self._templates[key]

    def render(
        self, task: int, role: str, params: str, attempt: int, overrides: str | None, outputs: str, results_path: str = ""
    ) -> tuple[str, Line, Line]:
        """(template key, template, line) of docs/spool.md for one attempt.

        ``outputs`` is the folder where the site keeps the outputs of runs, ``results_path`` the file that a gathering task reads.
        """
        index = task % TASKS_PER_RUN
        line: Line = {"id": task, "n": attempt}
        if role == "task":
            document, own = _render_task(json.loads(params), outputs, self.resources_of(role, params, overrides))
            line |= own
            key = template_key(document)
        else:
            template = self._app_template(role, overrides)
            key, document = template.key, template.document
            values = {**self.defaults, **json.loads(params)}
            values["run"], values["task"] = self.run_id, public_task_id(self.run_id, index)
            if role == "gather":
                values["results"] = results_path
            line["argv"] = template.arguments(values)
        line["t"] = key
        if document["outputs"]:
            line["out"] = f"{outputs}/{self.run_id}/{index}"
        return key, document, line


def task_resources(task: Task) -> Resources:
    """The resources of a TES document."""
    asked = task.resources
    if asked is None:
        return Resources()
    return resources_from_tes(asked.cpu_cores, asked.ram_gb, asked.disk_gb, asked.preemptible, asked.backend_parameters, "resources")


def _render_task(stored: dict[str, Any], outputs: str, resources: Resources) -> tuple[Line, Line]:
    """(template, line fields) of a TES task.

    ``stored['upstream']`` maps an input's path to (run id, index, path) of the output that it takes.
    """
    task = Task.model_validate(stored["task"])
    document: Line = {
        "session": "none",
        "start": None,
        "env": {},
        **limits(resources),
        "outputs": [{"path": output.path, "optional": False} for output in task.outputs or []],
        "result": "none",
    }
    inputs: list[Line] = []
    for item in task.inputs or []:
        if item.content is not None:
            inputs.append({"path": item.path, "content": item.content})
        elif item.path in stored["upstream"]:
            run_id, index, path = stored["upstream"][item.path]
            inputs.append({"path": item.path, "source": f"{outputs}/{run_id}/{index}/{path}"})
        else:
            inputs.append({"path": item.path, "source": file_path(item.url or "")})
    steps = [
        {key: value for key, value in step.items() if value is not None}
        for step in (
            {
                "argv": executor.command, "env": executor.env, "cwd": executor.workdir, "stdin": executor.stdin,
                "stdout": executor.stdout, "stderr": executor.stderr, "ignore_error": executor.ignore_error,
            }
            for executor in task.executors
        )
    ]  # fmt: skip
    only = steps[0]
    line: Line = {"argv": only["argv"]} if len(steps) == 1 and set(only) == {"argv"} else {"steps": steps}
    if inputs:
        line["inputs"] = inputs
    return document, line


def file_path(url: str) -> str:
    """The path in a ``file://`` URL or a plain path."""
    return url.removeprefix("file://")
