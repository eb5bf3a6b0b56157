"""An App: the manifest that its developer writes (docs/apps/manifest.md), as typed values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from packhorse.domain.dataurl import is_url, url_problem
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.failures import FailureClass
from packhorse.domain.images import parse_reference
from packhorse.domain.kbaseapp import KBaseMethod
from packhorse.domain.numbers import Number, Truth, Whole, number, plain_number, shown, truth, whole_number
from packhorse.domain.outputpath import has_loose_backslash
from packhorse.domain.paths import folder_problem
from packhorse.domain.placeholders import PLACEHOLDER, Part, check_placeholders, placeholders
from packhorse.domain.resources import Launch, Resources
from packhorse.domain.secretuse import NAME as NAME_OF_SECRET
from packhorse.domain.secretuse import SecretUse
from packhorse.domain.text import argument_problem, value_problem

ParameterValue = str | int | float | bool | None

#: Placeholders that Packhorse fills in any command; ``results`` only in a gathering one.
BUILT_IN = frozenset({"app", "cores", "memory_gb", "nodes", "ranks", "run", "task"})
#: Those that name no path, and so may stand in the path of an output.
IN_PATHS = BUILT_IN - {"app"}

_NAME = r"^[A-Za-z][A-Za-z0-9_]*$"

MAX_VALUE_BYTES = 64 * 1024

STORED = {"stored": True}
"""Context for reading a manifest that was accepted before: what newer rules say of its parameters ends no run that is
under way.
"""


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


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
    optional: Truth = False
    choices: list[str] | None = None
    minimum: Number | None = None
    maximum: Number | None = None
    unique: Truth = Field(default=False, description="no two rows of a table have the same value")

    @property
    def required(self) -> bool:
        return self.default is None and not self.optional

    @model_validator(mode="after")
    def _choices_go_with_choice(self, info: ValidationInfo) -> Parameter:
        if info.context == STORED:
            return self
        if (self.type is ParameterType.CHOICE) != bool(self.choices):
            raise ValueError("'choices' go with 'type: choice', and a choice needs them")
        if any(not choice.strip() for choice in self.choices or []):
            raise ValueError("one of the choices is empty")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("'minimum' is more than 'maximum'")
        return self

    @model_validator(mode="after")
    def _default_is_a_value(self, info: ValidationInfo) -> Parameter:
        if self.default is None or info.context == STORED:
            return self
        if self.is_absent(self.default):
            raise ValueError("the default is empty, which is no value of its type; leave it out")
        try:
            object.__setattr__(self, "default", self.value_of(self.default))  # frozen for everybody else
        except ValueError as error:
            raise ValueError(f"the default: {error}") from None
        if self.type is ParameterType.FILE and is_url(str(self.default)) and (why := url_problem(str(self.default))):
            raise ValueError(f"the default: {why.removesuffix('.')}")
        return self

    def is_absent(self, given: Any) -> bool:
        """Whether ``given`` is no value: None, or, unless it is a ``string``, text of nothing but blanks."""
        return given is None or (isinstance(given, str) and not given.strip() and self.type is not ParameterType.STRING)

    def value_of(self, given: Any) -> ParameterValue:
        """A value of this parameter's type. Raises ValueError that says what was expected."""
        if (
            isinstance(given, str)
            and len(given) > MAX_VALUE_BYTES // 4
            and len(given.encode("utf-8", "replace")) > MAX_VALUE_BYTES
        ):
            limit = f"the limit is {MAX_VALUE_BYTES:,} bytes"
            raise ValueError(f"is {len(given):,} characters long; {limit}. Put it into a file and pass that")
        if isinstance(given, str) and (why := argument_problem(given, names_a_file=self.type is ParameterType.FILE)):
            raise ValueError(why.removesuffix("."))
        match self.type:
            case ParameterType.INTEGER:
                return self._within(whole_number(given))
            case ParameterType.NUMBER:
                return self._within(number(given))
            case ParameterType.BOOLEAN:
                return truth(given)
            case _:
                value = _text(given)
        if self.choices and value not in self.choices:
            raise ValueError(f"expected one of {', '.join(self.choices)}, found {shown(given)}")
        return value

    def _within(self, value: int | float) -> int | float:
        if self.minimum is not None and value < self.minimum:
            raise ValueError(f"must be at least {plain_number(self.minimum)}, found {plain_number(value)}")
        if self.maximum is not None and value > self.maximum:
            raise ValueError(f"must be at most {plain_number(self.maximum)}, found {plain_number(value)}")
        return value


def _text(given: Any) -> str:
    if isinstance(given, str):
        return given
    if isinstance(given, int) and not isinstance(given, bool):
        return str(whole_number(given))
    if isinstance(given, float) and math.isfinite(given):
        return str(given)
    raise ValueError(f"expected text, found {shown(given)}")


class OutputDeclaration(_Manifest):
    """One output: a file or folder (``path``), or the task's standard output (``from: stdout``) as its result."""

    path: str | None = None
    source: Literal["stdout"] | None = Field(default=None, alias="from")
    type: Literal["file", "text", "json"] = "file"
    optional: Truth = False

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str | None) -> str | None:
        if path is None:
            return None
        if why := folder_problem(PLACEHOLDER.sub(lambda match: "x" if match[1] else match[0][0], path)):
            raise ValueError(f"the path '{path}' {why}")
        literals = PLACEHOLDER.sub(lambda match: "\n" if match[1] else match[0], path).split("\n")
        if any(map(has_loose_backslash, literals)):
            raise ValueError(f"the path '{path}' has a backslash with nothing to escape; write two for one")
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
    resources: Resources = Resources.model_construct()
    accept_failures: Truth = False


class ReferenceData(_Manifest):
    """Data that all tasks of an app read, brought to each site once for each version.

    An archive (.tar, .tar.gz, …) becomes a folder.
    """

    url: str
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")

    @field_validator("url")
    @classmethod
    def _can_be_fetched(cls, url: str) -> str:
        if why := url_problem(url):
            raise ValueError(why.removesuffix("."))
        return url


class AppManifest(_Manifest):
    """A versioned tool: parameters in, a rendered command out."""

    packhorse: Literal[1] = Field(description="version of this format")
    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")
    title: str = ""
    description: str = ""
    image: Annotated[str, Field(max_length=512)] | None = None
    network: Truth = Field(default=True, description="false: in a container, the network is taken away")
    command: list[Part] = Field(min_length=1)
    arguments: list[Part] = []
    session: Session = Session.NONE
    env: dict[str, str] = {}
    parameters: dict[Annotated[str, Field(pattern=_NAME)], Parameter] = {}
    resources: Resources = Resources.model_construct()
    outputs: dict[Annotated[str, Field(pattern=_NAME)], OutputDeclaration] = {}
    gather: Gather | None = None
    refdata: dict[Annotated[str, Field(pattern=_NAME)], ReferenceData] = {}
    reference: Truth = Field(default=False, description="what it leaves is made once for each site, for all users")
    resumable: Truth = Field(default=False, description="a restart finds the work folder of the attempt before it")
    resume: list[Part] = Field(
        default=[], description="arguments after all others, on a restart that has something to resume"
    )
    progress: str | None = Field(
        default=None, description="regular expression; a line of the log that it is found in is progress"
    )
    retry: dict[FailureClass, Annotated[Whole, Field(ge=0, le=100)]] = {}
    secrets: dict[Annotated[str, Field(pattern=NAME_OF_SECRET)], SecretUse] = Field(
        default={}, description="its user's secrets that each task is given, as a variable or a file"
    )
    kbase: KBaseMethod | None = Field(default=None, description="the KBase method that it runs (docs/kbase.md)")

    @model_validator(mode="after")
    def _placeholders_exist(self) -> AppManifest:
        filled_in = BUILT_IN | {"results"}
        for field, names in (("parameters", set(self.parameters)), ("refdata", set(self.refdata))):
            if clash := names & filled_in:
                raise ValueError(
                    f"{field}: '{min(clash)}' is a name that Packhorse fills in itself; call it something else"
                )
        if both := set(self.parameters) & set(self.refdata):
            raise ValueError(f"refdata: '{min(both)}' is a parameter as well; call it something else")
        given = BUILT_IN | set(self.refdata)
        known = set(self.parameters) | given
        check_placeholders("command", self.command, known)
        check_placeholders("arguments", self.arguments, known)
        if self.session is not Session.NONE and self.resources.launch is Launch.RANKS:
            raise ValueError("resources: 'launch: ranks' goes with 'session: none' only; a session is one process")
        if why := self.resources.ranks_problem:
            raise ValueError(f"resources: {why}")
        if self.session is Session.WORKER and placeholders(self.command) - {"app", "cores", "memory_gb"} - set(
            self.refdata
        ):
            raise ValueError(
                "command: with 'session: worker' the command starts the worker, so parameters go into 'arguments'"
            )
        if self.secrets and (self.session is not Session.NONE or self.reference):
            raise ValueError("secrets: go with 'session: none', and not with 'reference': they are one user's own")
        if self.gather is not None:
            gathered = given | {"results"}
            check_placeholders("gather.command", self.gather.command or [], gathered)
            check_placeholders("gather.arguments", self.gather.arguments, gathered)
            _check_output_paths("gather.outputs", self.gather.outputs, {})
        check_placeholders("resume", self.resume, known)
        _check_output_paths("outputs", self.outputs, self.parameters)
        if sum(output.source is not None for output in self.outputs.values()) > 1:
            raise ValueError("outputs: only one output can come from stdout")
        return self

    @model_validator(mode="after")
    def _can_be_for_all(self) -> AppManifest:
        if not self.reference:
            return self
        if self.gather is not None or self.session is not Session.NONE:
            raise ValueError(
                "reference: goes with 'session: none', and without 'gather': its tasks stand by themselves"
            )
        if not self.outputs:
            raise ValueError("reference: nothing is made: declare what it leaves as 'outputs'")
        paths: list[Part] = [output.path for output in self.outputs.values() if output.path is not None]
        if own := placeholders([*self.command, *self.arguments, *paths]) & {"run", "task"}:
            raise ValueError(f"reference: '{{{min(own)}}}' differs from run to run, and what is made once does not")
        return self

    @model_validator(mode="after")
    def _can_be_held(self) -> AppManifest:
        if why := value_problem(self.as_json(), ""):
            place, _, what = why.partition(" ")
            raise ValueError(f"{place.removeprefix('.')}: {what}")
        return self

    @field_validator("progress")
    @classmethod
    def _progress_can_be_found(cls, progress: str | None) -> str | None:
        try:
            found_anywhere = progress is not None and re.search(progress, "") is not None
        except re.error as error:
            raise ValueError(f"'{progress}' is not a regular expression: {error}") from None
        if found_anywhere:
            raise ValueError(f"'{progress}' is found in every line, even an empty one; name what only progress writes")
        return progress

    @field_validator("image")
    @classmethod
    def _image_has_a_name(cls, image: str | None) -> str | None:
        if image is not None:
            try:
                parse_reference(image)
            except InvalidRequest as error:
                raise ValueError(f"{error.message} {error.hint}".removesuffix(".")) from None
        return image

    @model_validator(mode="after")
    def _kbase_methods_have_one_result(self) -> AppManifest:
        if self.kbase is not None and (
            self.session is not Session.NONE or self.gather or self.outputs or self.resumable
        ):
            raise ValueError(
                "kbase: what a method leaves is its output.json; no 'session', 'gather', 'outputs', 'resumable'"
            )
        return self

    @model_validator(mode="after")
    def _restarts_are_whole(self) -> AppManifest:
        if not self.resumable and self.resume:
            raise ValueError("resume: goes with 'resumable: true'; without it every attempt starts from nothing")
        if not self.resumable and self.progress is not None:
            raise ValueError("progress: goes with 'resumable: true'; without it nothing is done about progress")
        if self.resumable and self.progress is None:
            raise ValueError(
                "resumable: needs 'progress', a pattern of the log: without progress a task would be restarted for ever"
            )
        if self.resumable and self.session is not Session.NONE:
            raise ValueError(
                "resumable: goes with 'session: none' only; tasks of a session have no process of their own to restart"
            )
        return self

    @property
    def result_type(self) -> str:
        """``none``, ``text`` or ``json``: what a task's stdout is."""
        return next((output.type for output in self.outputs.values() if output.source), "none")

    def as_json(self) -> dict[str, Any]:
        """The manifest as JSON that ``AppManifest.model_validate`` reads back."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"packhorse": 1}


def _check_output_paths(
    field: str, outputs: Mapping[str, OutputDeclaration], parameters: Mapping[str, Parameter]
) -> None:
    """Raises ValueError for a placeholder that cannot be part of a path in the work folder: paths of files are
    absolute.
    """
    known = {name for name, parameter in parameters.items() if parameter.type is not ParameterType.FILE} | IN_PATHS
    for name, output in outputs.items():
        if output.path is None:
            continue
        where = f"{field}.{name}.path"
        for used in sorted(placeholders([output.path])):
            if used in parameters and used not in known:
                raise ValueError(
                    f"{where}: '{{{used}}}' is a file, and its path is no name for an output; use another parameter"
                )
        check_placeholders(where, [output.path], known)
