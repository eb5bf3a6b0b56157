"""A pipeline: an app whose manifest has ``steps``, which are apps, in place of a command (docs/pipelines.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from packhorse.domain.app import _NAME, Parameter, ParameterType, ParameterValue, _Manifest
from packhorse.domain.graph import MAX_STEPS, Names
from packhorse.domain.numbers import Truth
from packhorse.domain.problems import Location
from packhorse.domain.render import taken_apart
from packhorse.domain.text import value_problem

#: What a step that has a task for each row of the run's table is ``over``.
ROWS = "rows"
_STEP_NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"


class PipelineStep(_Manifest):
    """A step of a pipeline: an app, how its tasks come to be, and what they are given."""

    app: str = Field(min_length=1, max_length=1000, description="NAME@VERSION, or a folder: ./NAME")
    once: Truth = Field(default=False, description="one task: so it is also where nothing is said")
    over: str | None = Field(default=None, description="'rows', or STEP.OUTPUT for a list that a step leaves")
    item: str = Field(default="", description="with a list: the parameter that an item is")
    each: str | None = Field(default=None, description="a task for each task of this step")
    gather: Names = Field(default=[], description="one task, once all tasks of these steps have ended")
    results: str = Field(default="", description="with 'gather': the file parameter that is given their results")
    accept_failures: Truth = Field(default=False, description="with 'gather': it starts also when some have failed")
    params: dict[str, ParameterValue] = {}
    inputs: dict[str, str] = {}
    resources: dict[str, Any] = {}

    @property
    def over_list(self) -> tuple[str, str] | None:
        """(step, output) of the list that its tasks come from."""
        step, dot, output = (self.over or "").partition(".")
        return (step, output) if dot else None

    @property
    def has_one_task(self) -> bool:
        return self.over is None and self.each is None

    @property
    def sources(self) -> list[tuple[Location, str]]:
        """(field, step) for each step that it waits for, as it is named."""
        found: list[tuple[Location, str]] = []
        if self.each is not None:
            found.append((("each",), self.each))
        if self.over_list is not None:
            found.append((("over",), self.over_list[0]))
        several = len(self.gather) > 1
        found += [(("gather", number) if several else ("gather",), name) for number, name in enumerate(self.gather)]
        return found + [(("inputs", name), said.partition(".")[0]) for name, said in self.inputs.items()]

    @property
    def needs(self) -> list[str]:
        """Names of the steps that it waits for, each once."""
        return list(dict.fromkeys(name for _, name in self.sources))

    @property
    def uses(self) -> set[str]:
        """The parameters of the pipeline that its values name."""
        return {name for value in self.params.values() if isinstance(value, str) for name in taken_apart(value)[1]}


class History(_Manifest):
    """Where the value of a parameter comes from that nobody gives: what tasks of earlier runs said."""

    value: str = Field(
        pattern=r"^[^.]+\.[^.]+\.[^.]+$", description="STEP.OUTPUT.FIELD: a number in the result of a step's tasks"
    )
    same: list[str] = Field(default=[], description="parameters of that step's app that had the values of this run")

    @property
    def source(self) -> tuple[str, str, str]:
        """(step, output, field)."""
        step, output, field = self.value.split(".")
        return step, output, field


class PipelineParameter(Parameter):
    """A parameter of a pipeline."""

    history: History | None = Field(default=None, description="where its value comes from if nobody gives one")

    @model_validator(mode="after")
    def _history_is_of_a_number(self) -> PipelineParameter:
        if self.history is None:
            return self
        if self.type not in (ParameterType.INTEGER, ParameterType.NUMBER):
            raise ValueError("'history' goes with 'type: number' or 'type: integer'")
        if self.required:
            raise ValueError("'history' goes with a default, or 'optional: true': the first run has none")
        return self


class PipelineManifest(_Manifest):
    """A versioned method of several steps: a table and values in, what its last steps leave out."""

    packhorse: Literal[1] = Field(description="version of this format")
    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")
    title: str = ""
    description: str = ""
    parameters: dict[Annotated[str, Field(pattern=_NAME)], PipelineParameter] = {}
    steps: dict[Annotated[str, Field(pattern=_STEP_NAME)], PipelineStep] = Field(min_length=1, max_length=MAX_STEPS)

    @field_validator("steps")
    @classmethod
    def _rows_are_the_table(cls, steps: dict[str, PipelineStep]) -> dict[str, PipelineStep]:
        if ROWS in steps:
            raise ValueError(f"'{ROWS}' is what the run's table is called; call the step something else")
        return steps

    @model_validator(mode="after")
    def _can_be_held(self) -> PipelineManifest:
        if why := value_problem(self.as_json(), ""):
            place, _, what = why.partition(" ")
            raise ValueError(f"{place.removeprefix('.')}: {what}")
        return self

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"

    def root(self, name: str) -> str | None:
        """Where the tasks of a step come from, one by one: ROWS, the step over a list, or None where it has one task.

        Steps of one root have as many tasks as each other.
        """
        step = self.steps[name]
        for _ in self.steps:  # no longer, where they have a circle
            if step.each is None or step.each not in self.steps:
                break
            name, step = step.each, self.steps[step.each]
        return None if step.over is None else ROWS if step.over == ROWS else name

    def follows(self, name: str) -> list[str]:
        """The steps of which each task of a step has one of its own: the one it has a task for each of, and those with
        tasks for the same rows that it takes outputs of.
        """
        step, root = self.steps[name], self.root(name)
        own = [step.each] if step.each is not None else []
        beside = [said.partition(".")[0] for said in step.inputs.values()] if root == ROWS else []
        return list(dict.fromkeys([*own, *(other for other in beside if self.root(other) == root)]))

    @property
    def used_once(self) -> dict[str, str]:
        """The parameters that have one value in a run, each with a step that uses it and has no task for each row."""
        found: dict[str, str] = {}
        for name, step in self.steps.items():
            if self.root(name) != ROWS:
                found = {**dict.fromkeys(sorted(step.uses), name), **found}
        return found

    def as_json(self) -> dict[str, Any]:
        """The manifest as JSON that ``PipelineManifest.model_validate`` reads back."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"packhorse": 1}


def is_pipeline(document: Any) -> bool:
    """Whether a manifest is that of a pipeline."""
    return isinstance(document, Mapping) and "steps" in document


def how(step: PipelineStep) -> str:
    """How the tasks of a step come to be."""
    if step.each is not None:
        return f"one for each of {step.each}"
    if step.over is not None:
        return "one for each row" if step.over == ROWS else f"one for each item of {step.over}"
    return f"one over all of {', '.join(step.gather)}" if step.gather else "one"
