"""A pipeline, made in Python: the same document as a manifest with ``steps`` (docs/pipelines.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packhorse.domain.errors import InvalidManifest, InvalidRequest
from packhorse.domain.pipeline import ROWS, PipelineManifest
from packhorse.domain.problems import validated

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Value:
    """The value that a run gives to a parameter of the pipeline: by itself, or within a text (an f-string)."""

    name: str

    def __str__(self) -> str:
        return f"{{{self.name}}}"


@dataclass(frozen=True, slots=True)
class Output:
    """What a step leaves, by its name in the manifest of its app."""

    step: str
    name: str

    def __str__(self) -> str:
        return f"{self.step}.{self.name}"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a pipeline."""

    name: str

    def output(self, name: str) -> Output:
        """What it leaves under this name: for ``inputs`` of other steps, or as the list that one is ``over``."""
        return Output(self.name, name)


@dataclass(frozen=True, slots=True)
class Rows:
    """The table that a pipeline is run over."""


class Pipeline:
    """Parameters and steps, to be given to ``Client.run``. Paths of apps begin at ``folder``."""

    rows = Rows()
    """For ``over``: a task for each row of the run's table."""

    def __init__(
        self, name: str, version: str = "1", *, title: str = "", description: str = "", folder: str | Path = "."
    ) -> None:
        self._about = {"name": name, "version": version, "title": title, "description": description}
        self._folder = Path(folder).absolute()
        self._parameters: dict[str, dict[str, Any]] = {}
        self._steps: dict[str, dict[str, Any]] = {}

    def parameter(
        self,
        name: str,
        type: Literal["string", "integer", "number", "boolean", "choice", "file"] = "string",  # noqa: A002  as in YAML
        *,
        default: Scalar | None = None,
        optional: bool = False,
        choices: Sequence[str] | None = None,
        minimum: float | None = None,
        maximum: float | None = None,
        unique: bool = False,
        help: str = "",  # noqa: A002  as in YAML
    ) -> Value:
        """Declares a parameter: a column of the table, or, where a step with one task uses it, a value for the whole
        run. Of one that is ``unique`` no two rows have the same value.
        """
        if name in self._parameters:
            raise InvalidRequest(f"The pipeline has a parameter '{name[:60]}' already.")
        self._parameters[name] = {
            "type": type,
            "default": default,
            "optional": optional,
            "choices": None if choices is None else list(choices),
            "minimum": minimum,
            "maximum": maximum,
            "unique": unique,
            "help": help,
        }
        return Value(name)

    def step(
        self,
        name: str,
        app: str | Path,
        *,
        over: Rows | Output | None = None,
        item: str = "",
        each: Step | None = None,
        gather: Step | Sequence[Step] = (),
        results: str = "",
        accept_failures: bool = False,
        params: Mapping[str, Value | Scalar] | None = None,
        inputs: Mapping[str, Output] | None = None,
        resources: Mapping[str, Any] | None = None,
    ) -> Step:
        """Adds a step of ``app``, which is NAME@VERSION or the path of a folder.

        It is one task; or one for each row (``over=pipeline.rows``), for each item of a list that a step leaves
        (``over=split.output("names")``, each given to the parameter ``item``), or for ``each`` task of another step.
        With ``gather``, it is one task over all of those of other steps, and ``results`` names the file parameter that
        is given theirs; with ``accept_failures`` also when some have failed. ``inputs`` are file parameters that other
        steps leave. What is wrong is told when the pipeline is run, or by ``manifest``.
        """
        if name in self._steps:
            raise InvalidRequest(f"The pipeline has a step '{name[:60]}' already.")
        gathered = [gather] if isinstance(gather, Step) else list(gather)
        self._steps[name] = {
            "app": self._app(app),
            "over": None if over is None else ROWS if isinstance(over, Rows) else str(over),
            "item": item,
            "each": None if each is None else each.name,
            "gather": [step.name for step in gathered],
            "results": results,
            "accept_failures": accept_failures,
            "params": {key: str(value) if isinstance(value, Value) else value for key, value in (params or {}).items()},
            "inputs": {key: str(value) for key, value in (inputs or {}).items()},
            "resources": dict(resources or {}),
        }
        return Step(name)

    def manifest(self) -> PipelineManifest:
        """The manifest that it comes to. Raises InvalidManifest with all that is wrong by itself, by field."""
        document = {"packhorse": 1, **self._about, "parameters": self._parameters, "steps": self._steps}
        return validated(PipelineManifest, document, "The pipeline is not valid.", refusal=InvalidManifest)

    def to_yaml(self) -> str:
        """The same as text: an app.yaml for whoever wants to run it by name."""
        import yaml

        return str(yaml.safe_dump(self.manifest().as_json(), sort_keys=False, allow_unicode=True))

    def _app(self, app: str | Path) -> str:
        is_path = isinstance(app, Path) or app.startswith(("./", "../", "/"))
        return str(self._folder / app) if is_path else str(app)
