"""An App: the manifest that its developer writes (docs/apps.md), as typed values."""

from __future__ import annotations

import re
from collections.abc import Set
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from packhorse.domain.failures import FailureClass
from packhorse.domain.paths import folder_problem
from packhorse.domain.resources import Resources

ParameterValue = str | int | float | bool | None

#: Placeholders that Packhorse fills in any command; ``results`` only in a gathering one.
BUILT_IN = frozenset({"app", "cores", "memory_gb", "run", "task"})

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]")
_NAME = r"^[A-Za-z][A-Za-z0-9_]*$"

Argument = Annotated[str | int | float, Field(union_mode="left_to_right")]
Part = Argument | list[Argument]


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ParameterType(StrEnum):
    """What a parameter's value may be."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    FILE = "file"


class Parameter(_Manifest):
    """One parameter of an app. Without a default it is required; ``optional: true`` lets it be absent (None)."""

    type: ParameterType = ParameterType.STRING
    help: str = ""
    default: ParameterValue = None
    optional: bool = False
    choices: list[str] | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def required(self) -> bool:
        return self.default is None and not self.optional

    @model_validator(mode="after")
    def _choices_go_with_choice(self) -> Parameter:
        if (self.type is ParameterType.CHOICE) != bool(self.choices):
            raise ValueError("'choices' go with 'type: choice', and a choice needs them")
        if self.choices and self.default is not None and self.default not in self.choices:
            raise ValueError(f"the default {self.default!r} is not one of the choices")
        return self


class OutputDeclaration(_Manifest):
    """One output: a file or folder (``path``), or the task's standard output (``from: stdout``) as its result."""

    path: str | None = None
    source: Literal["stdout"] | None = Field(default=None, alias="from")
    type: Literal["file", "text", "json"] = "file"
    optional: bool = False

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str | None) -> str | None:
        if path is not None and (why := folder_problem(path)):
            raise ValueError(f"the path '{path}' {why}")
        return path

    @model_validator(mode="after")
    def _one_source(self) -> OutputDeclaration:
        if (self.path is None) == (self.source is None):
            raise ValueError("an output has either 'path' or 'from: stdout'")
        if (self.source == "stdout") != (self.type in ("text", "json")):
            raise ValueError("'from: stdout' goes with 'type: text' or 'type: json', and a path with neither")
        return self


class Session(StrEnum):
    """How processes serve tasks."""

    NONE = "none"
    """One process per task."""
    WORKER = "worker"
    """One process serves many tasks (Bazel's JSON persistent worker protocol)."""
    SHELL = "shell"
    """One shell, or one container start, runs many commands."""


class Gather(_Manifest):
    """A task that runs once, after all others of its run, over their results."""

    command: list[Part] | None = None
    arguments: list[Part] = []
    outputs: dict[Annotated[str, Field(pattern=_NAME)], OutputDeclaration] = {}
    resources: Resources = Resources()
    accept_failures: bool = False


class AppManifest(_Manifest):
    """A versioned tool: parameters in, a rendered command out."""

    packhorse: Literal[1] = Field(description="version of this format")
    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")
    title: str = ""
    description: str = ""
    image: str | None = None
    command: list[Part] = Field(min_length=1)
    arguments: list[Part] = []
    session: Session = Session.NONE
    env: dict[str, str] = {}
    parameters: dict[Annotated[str, Field(pattern=_NAME)], Parameter] = {}
    resources: Resources = Resources()
    outputs: dict[Annotated[str, Field(pattern=_NAME)], OutputDeclaration] = {}
    gather: Gather | None = None
    retry: dict[FailureClass, Annotated[int, Field(ge=0, le=100)]] = {}

    @model_validator(mode="after")
    def _placeholders_exist(self) -> AppManifest:
        clash = set(self.parameters) & (BUILT_IN | {"results"})
        if clash:
            raise ValueError(f"parameters: '{min(clash)}' is a name that Packhorse fills in itself; call it something else")
        known = set(self.parameters) | BUILT_IN
        _check_placeholders("command", self.command, known)
        _check_placeholders("arguments", self.arguments, known)
        if self.session is Session.WORKER and placeholders(self.command) - {"app", "cores", "memory_gb"}:
            raise ValueError("command: with 'session: worker' the command starts the worker, so parameters go into 'arguments'")
        if self.gather is not None:
            gathered = BUILT_IN | {"results"}
            _check_placeholders("gather.command", self.gather.command or [], gathered)
            _check_placeholders("gather.arguments", self.gather.arguments, gathered)
        if sum(output.source is not None for output in self.outputs.values()) > 1:
            raise ValueError("outputs: only one output can come from stdout")
        return self

    @property
    def result_type(self) -> str:
        """``none``, ``text`` or ``json``: what a task's stdout is."""
        return next((output.type for output in self.outputs.values() if output.source), "none")

    def as_json(self) -> dict[str, Any]:
        """The manifest as JSON that ``AppManifest.model_validate`` reads back."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"packhorse": 1}


def placeholders(parts: list[Part]) -> set[str]:
    """The names in braces in a command."""
    flat = [item for part in parts for item in (part if isinstance(part, list) else [part])]
    return {match[1] for item in flat if isinstance(item, str) for match in _PLACEHOLDER.finditer(item) if match[1]}


def _check_placeholders(field: str, parts: list[Part], known: Set[str]) -> None:
    unknown = placeholders(parts) - known
    if unknown:
        raise ValueError(f"{field}: '{{{min(unknown)}}}' is neither a parameter nor one of {', '.join(sorted(known))}")
    for part in parts:
        for item in part if isinstance(part, list) else [part]:
            if isinstance(item, str) and any(match[0] in "{}" for match in _PLACEHOLDER.finditer(item)):
                raise ValueError(f"{field}: '{item}' has a brace that belongs to no placeholder; write '{{{{' or '}}}}' for a brace itself")
