"""A Run: what a user submits. One app or pipeline over a table of inputs, or steps or tasks with edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from packhorse.domain.app import Session
from packhorse.domain.errors import InvalidRequest, Problem, TooLarge
from packhorse.domain.graph import MAX_STEPS, Names, find_cycle
from packhorse.domain.numbers import Truth, Whole
from packhorse.domain.outputpath import is_pattern, same_output
from packhorse.domain.pipeline import PipelineManifest
from packhorse.domain.task import Task
from packhorse.domain.taskpaths import path_problems
from packhorse.domain.text import value_problem

MAX_TASKS = 1_000_000
MAX_TASK_BYTES = 4 * 1024 * 1024
TASK_URL = "task://"
TASK_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
MAX_NAME = 200
_OTHERS = frozenset({"params", "over", "tasks", "steps", "pipeline"})


class RunOptions(BaseModel):
    """What may be said of any run, whatever it runs."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    name: Annotated[str, Field(max_length=MAX_NAME)] = ""
    tags: dict[str, str] = {}
    client_key: Annotated[str, Field(max_length=200)] | None = None
    """Makes submission idempotent: the same key of the same user returns the same run."""
    outputs: Annotated[str, Field(max_length=1000)] | None = None
    """A URL that the output files of its tasks are delivered below: s3://bucket/prefix, file:///folder, shock://host.
    """
    resources: dict[str, Any] = {}
    """Laid over the app's own resources."""
    retry: dict[str, Whole] = {}
    """Laid over the app's own retry policy: failure class → number of retries."""
    session: Session | None = None
    """Instead of the app's own."""
    image: Annotated[str, Field(max_length=512)] | None = None
    """Instead of the app's own; ``none`` is the host's own programs."""
    priority: Whole = Field(default=0, ge=-100, le=100)
    """Among one's own runs: tasks of a higher one are placed first. Other users are not concerned."""
    reuse: Truth | None = None
    """Whether results of earlier tasks of the same user are taken where nothing has changed (docs/reuse.md); None: as
    the site's configuration says.
    """

    @model_validator(mode="before")
    @classmethod
    def _can_be_held(cls, data: Any) -> Any:
        """Values of parameters are looked at later, with their rows, and tasks one by one."""
        options = {name: value for name, value in data.items() if name not in _OTHERS} if isinstance(data, dict) else {}
        whys = [
            why
            for name, value in options.items()
            if isinstance(value, str | dict) and (why := value_problem(value, str(name)))
        ]
        if whys:
            raise InvalidRequest("The run was not accepted.", problems=[Problem("", f"{why}.") for why in whys])
        return data


class AppRun(RunOptions):
    """One app over a table: a task per row, then the gathering task that the app may have."""

    app: str
    params: dict[str, Any] = {}
    """The same for every row; a row's own value wins."""
    over: list[dict[str, Any]] | None = None
    """One task per row; None is one row without values."""
    gather: Truth = True


class NamedTask(BaseModel):
    """A task of a pipeline.

    It starts when those it names in ``after``, and in inputs by ``task://NAME/OUTPUT``, are complete.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    name: Annotated[str, Field(pattern=TASK_NAME)]
    task: Task
    after: list[str] = []

    @property
    def needs(self) -> list[str]:
        """Names of the tasks that it waits for, each once."""
        names = [
            *self.after,
            *(parse_task_url(item.url)[0] for item in self.task.inputs or [] if is_task_url(item.url)),
        ]
        return list(dict.fromkeys(names))


class TaskRun(RunOptions):
    """Tasks with edges."""

    tasks: list[NamedTask] = Field(min_length=1)


class TesRun(TaskRun):
    """One task that came over TES, which lists it."""

    warnings: list[str] = []
    """What its user is told, in its system logs."""


class RunStep(BaseModel):
    """A step of a run: one app, and how its tasks come to be.

    One task, unless ``over`` is a table, ``each`` another step, or several (a task for each task of theirs), or
    ``items`` one (a task for each item of the list that its only task leaves as its result). With ``each``, ``over``
    has a row for each of these tasks.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    name: Annotated[str, Field(pattern=TASK_NAME)]
    app: str
    params: dict[str, Any] = {}
    """The same for every task."""
    over: list[dict[str, Any]] | None = None
    each: Names = []
    """Steps that have as many tasks as each other."""
    items: str | None = None
    item: str = ""
    """With ``items``: the parameter that an item is. Empty: items are objects of values."""
    gather: list[str] = []
    """Steps of which all tasks must end first."""
    results: str = ""
    """The file parameter that is given the results of the steps in ``gather``, as JSON lines."""
    accept_failures: Truth = False
    """With ``gather``: it starts also when tasks of those steps have failed."""
    inputs: dict[str, str] = {}
    """File parameters that are outputs of other steps, as STEP.OUTPUT."""
    resources: dict[str, Any] = {}
    """Laid over the app's own."""

    @property
    def kind(self) -> str:
        """How its tasks come to be."""
        return "each" if self.each else "items" if self.items else "over" if self.over is not None else "once"

    @property
    def needs(self) -> list[str]:
        """Names of the steps that it waits for, each once."""
        sources = [source.partition(".")[0] for source in self.inputs.values()]
        return list(dict.fromkeys([*self.each, *([self.items] if self.items else []), *self.gather, *sources]))


class StepRun(RunOptions):
    """Steps with edges."""

    steps: list[RunStep] = Field(min_length=1, max_length=MAX_STEPS)


class PipelineRun(RunOptions):
    """A pipeline that comes with the request, over a table."""

    pipeline: PipelineManifest
    params: dict[str, Any] = {}
    """The same for every row; a row's own value wins."""
    over: list[dict[str, Any]] | None = None
    """The rows that steps are ``over``; None is one row without values."""


SubmittedRun = AppRun | TaskRun | StepRun | PipelineRun


class RunRequest(RootModel[Any]):
    """What the front doors take: an app over a table, tasks with edges, steps with edges, a pipeline over a table, or a
    TES task by itself.
    """

    model_config = ConfigDict(defer_build=True)

    root: AppRun | TaskRun | StepRun | PipelineRun | Task


def check_steps(steps: Sequence[RunStep]) -> list[Problem]:
    """What is wrong with the edges of a run of steps: names, unknown steps, circles. All at once."""
    problems: list[Problem] = []
    names = [step.name for step in steps]
    for number, step in enumerate(steps):
        where = f"step '{step.name}'"
        if step.name in names[:number]:
            problems.append(Problem(where, "is there twice.", "Give each step of a run its own name."))
        if step.items is not None and (step.over is not None or step.each):
            problems.append(Problem(where, "has 'items' beside 'over' or 'each'.", "Give one of them."))
        if step.item and not step.items:
            problems.append(Problem(where, "has 'item', which goes with 'items'."))
        if (step.results or step.accept_failures) and not step.gather:
            problems.append(Problem(where, "has 'results' or 'accept_failures', which go with 'gather'."))
        if step.over == []:
            problems.append(Problem(where, "has an empty table: there is nothing to run."))
        for need in step.needs:
            if need == step.name:
                problems.append(Problem(where, "waits for itself."))
            elif need not in names:
                problems.append(Problem(where, f"waits for '{need[:100]}', which is not a step of this run."))
    if not problems and (cycle := find_cycle({step.name: step.needs for step in steps})):
        told = f"the steps wait for each other in a circle: {' → '.join(cycle)}."
        problems.append(Problem("", told, "Remove one of these edges."))
    return problems


def is_task_url(url: str | None) -> bool:
    """Whether an input names another task's output."""
    return url is not None and url.startswith(TASK_URL)


def parse_task_url(url: str | None) -> tuple[str, str]:
    """('task://align/out.bam' → ('align', 'out.bam'))."""
    name, _, path = (url or "")[len(TASK_URL) :].partition("/")
    return name, path


def check_tasks(tasks: list[NamedTask]) -> None:
    """Refuses what is wrong with a pipeline by itself: names, edges, cycles, paths.

    All problems at once. Images are those of its run.
    """
    if len(tasks) > MAX_TASKS:
        raise TooLarge(
            f"The run has {len(tasks):,} tasks; the limit is {MAX_TASKS:,}.", hint="Submit it as several runs."
        )
    problems: list[Problem] = []
    by_name: dict[str, NamedTask] = {}
    for item in tasks:
        if item.name in by_name:
            problems.append(Problem(f"task '{item.name}'", "is there twice.", "Give each task of a run its own name."))
        by_name[item.name] = item
    for item in tasks:
        problems += _task_problems(item, by_name)
    if not problems:
        cycle = find_cycle({item.name: item.needs for item in tasks})
        if cycle:
            problems.append(
                Problem(
                    "", f"the tasks wait for each other in a circle: {' → '.join(cycle)}.", "Remove one of these edges."
                )
            )
    if problems:
        raise InvalidRequest("The run was not accepted.", problems=problems[:100])


def _task_problems(item: NamedTask, by_name: dict[str, NamedTask]) -> list[Problem]:
    where = f"task '{item.name}'"
    problems = [
        Problem(where, f"waits for '{need}', which is not a task of this run.")
        for need in item.needs
        if need not in by_name
    ]
    in_images = all(executor.image is not None for executor in item.task.executors)
    problems += [replace(one, where=f"{where}, {one.where}") for one in path_problems(item.task, in_images=in_images)]
    for given in item.task.inputs or []:
        if given.url is None and given.content is None:
            problems.append(Problem(f"{where}, input '{given.path}'", "has neither 'url' nor 'content'."))
        if is_task_url(given.url):
            upstream, wanted = parse_task_url(given.url)
            declared = (
                [output.path for output in by_name[upstream].task.outputs or []] if upstream in by_name else [wanted]
            )
            if wanted in declared and is_pattern(wanted):
                hint = "Name one of the files that it matches, or declare the folder that they are in."
                problems.append(Problem(where, f"takes '{wanted}' of task '{upstream}', which is a pattern.", hint))
            elif not any(same_output(one, wanted) for one in declared):
                problems.append(
                    Problem(where, f"takes '{wanted}' of task '{upstream}', which does not declare that output.")
                )
    if len(item.task.model_dump_json()) > MAX_TASK_BYTES:
        problems.append(Problem(where, f"is larger than {MAX_TASK_BYTES:,} bytes.", "Put large content into files."))
    return problems
