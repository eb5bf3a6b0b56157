"""Accepts a run of tasks with commands and edges of their own, or refuses it with all that is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from packhorse.domain.dataurl import is_url
from packhorse.domain.errors import InvalidRequest, NotAllowed, Problem
from packhorse.domain.outputpath import plain
from packhorse.domain.outputurl import file_target
from packhorse.domain.problems import problems_of
from packhorse.domain.run import NamedTask, TaskRun, TesRun, check_tasks, is_task_url, parse_task_url
from packhorse.domain.secretuse import secrets_of
from packhorse.domain.task import FileType
from packhorse.domain.taskpaths import AbsolutePaths
from packhorse.domain.text import kept_json, value_problem
from packhorse.engine.requests.accept import (
    Accepted,
    AcceptedStep,
    Asked,
    Requester,
    TaskEdge,
    choose_site,
    image_problems,
    option_problems,
    shortened,
    spec_of,
)
from packhorse.engine.requests.filerules import FileRules
from packhorse.engine.steps.base import NO_IMAGE
from packhorse.engine.steps.document import DocumentStep, document_demand, task_resources
from packhorse.store.listing import MAX_NAME
from packhorse.store.newtasks import NewTask
from packhorse.store.steps import StepEdge

#: What the only step of such a run is called.
STEP = "tasks"


def accept_task_run(request: TaskRun, by: Requester) -> Accepted:
    """Tasks with edges."""
    items = [_with_image(item, request.image) for item in request.tasks]
    if by.needs_image:
        _require_images(items)
    secrets = _secrets(items)
    check_tasks(items)
    index_of = {item.name: index for index, item in enumerate(items)}
    problems = option_problems(request, by.files)
    asked: dict[str, Asked] = {}
    images: set[str] = set()
    tasks: list[NewTask] = []
    edges: list[TaskEdge] = []
    for index, item in enumerate(items):
        where = f"task '{item.name}'"
        problems += _input_problems(where, item, by.files)
        try:
            wanted = [executor.image for executor in item.task.executors if executor.image is not None]
            problems += image_problems(where, wanted) if request.image is None else []  # else it is said of the run
            resources = task_resources(item.task).override(dict(request.resources))
            paths = AbsolutePaths.of(item.task)
            asked[where] = Asked(resources, wanted, paths=paths, isolated=by.needs_image)
            images |= set(wanted)
        except InvalidRequest as error:
            found = [replace(problem, where=f"{where}, {problem.where}") for problem in error.problems]
            problems += found or [Problem(where, error.message, error.hint)]
        except ValidationError as error:
            problems += problems_of(error, f"{where}, resources")
        upstream = {}
        for given in item.task.inputs or []:
            if is_task_url(given.url):
                name, path = parse_task_url(given.url)
                declared = [output.path for output in items[index_of[name]].task.outputs or []]
                upstream[given.path] = (by.run_id, index_of[name], plain(path) if path in declared else path)
        document = item.task.model_dump(mode="json", exclude_none=True)
        if why := value_problem(document, "task"):
            problems.append(Problem(where, f"{why}."))
            continue
        needs = item.needs
        if not problems:
            demand = document_demand(item.task, resources)
            params = kept_json({"task": document, "upstream": upstream, **_told(request)})
            tasks.append(NewTask(params, demand, item.name, waiting_on=len(needs)))
        edges += [(index_of[need], index, False) for need in needs]
    site, unfit = choose_site(asked, by.sites)
    problems += unfit
    if problems:
        raise InvalidRequest("The run was not accepted.", problems=shortened(problems))
    spec = spec_of(request, "documents", params={"secrets": secrets} if secrets else {})
    step = DocumentStep(by.row(STEP, site), spec)
    tasks = [replace(task, data=step.needs(json.loads(task.params), by.site(site))) for task in tasks]
    if isinstance(request, TesRun):
        [task], [item] = tasks, items
        tasks = [replace(task, name=(item.task.name or "")[:MAX_NAME] or None, tags=item.task.tags or {})]
    spec = replace(spec, has_data=any(task.data for task in tasks))
    accepted = AcceptedStep(STEP, site, spec, len(tasks), lambda: tasks)
    step_edges = [StepEdge(0, 0, "tasks")] if edges else []
    name = tasks[0].name or ""
    return Accepted(
        by.run_id, "", [accepted], step_edges, edges, {site: sorted(images)}, name=name, priority=request.priority
    )


def _secrets(items: list[NamedTask]) -> list[str]:
    """Names of the secrets that any of these tasks is given. Raises InvalidRequest."""
    names: set[str] = set()
    problems: list[Problem] = []
    for item in items:
        where, asked = f"task '{item.name}'", item.task.resources
        try:
            uses = secrets_of(asked.backend_parameters if asked is not None else None)
        except InvalidRequest as error:
            problems += [replace(problem, where=f"{where}, {problem.where}") for problem in error.problems]
            continue
        names |= uses.keys()
        variables = {use.variable: name for name, use in uses.items()}
        for number, executor in enumerate(item.task.executors, start=1):
            problems += [
                Problem(
                    f"{where}, secret '{variables[name]}'",
                    f"is given as the variable '{name}', which executor {number} sets itself.",
                    "Take it out of 'env', or give the secret another name.",
                )
                for name in executor.env or {}
                if name in variables
            ]
    if problems:
        raise InvalidRequest("The run was not accepted.", problems=shortened(problems))
    return sorted(names)


def _told(request: TaskRun) -> dict[str, Any]:
    """What the user of a task is told, which its document does not say."""
    return {"warnings": request.warnings} if isinstance(request, TesRun) and request.warnings else {}


def _with_image(item: NamedTask, image: str | None) -> NamedTask:
    """A task whose executors run in the image that its run names for all of them, if it does. ``none`` is none."""
    named = [executor.image if image is None else image for executor in item.task.executors]
    if image is None and NO_IMAGE not in named:
        return item
    executors = [
        executor.model_copy(update={"image": None if name == NO_IMAGE else name})
        for executor, name in zip(item.task.executors, named, strict=True)
    ]
    return item.model_copy(update={"task": item.task.model_copy(update={"executors": executors})})


def _require_images(items: list[NamedTask]) -> None:
    """Without a container, a command of a user's own could read the server's database and tokens."""
    if all(executor.image is not None for item in items for executor in item.task.executors):
        return
    raise NotAllowed(
        "Tasks with commands of your own need an image here: without one they would run as the server's own user.",
        hint="Name an 'image' for each executor; or run one of the server's apps ('packhorse apps').",
    )


def _input_problems(where: str, item: NamedTask, files: FileRules) -> list[Problem]:
    problems = []
    for given in item.task.inputs or []:
        if given.url is None or given.content is not None or is_task_url(given.url):
            continue
        is_folder = given.type is FileType.DIRECTORY
        if is_folder and is_url(given.url) and not given.url.lower().startswith("s3://"):
            problems.append(
                Problem(
                    f"{where}, input '{given.path}'", "is a folder, and by URL folders are fetched from s3:// only."
                )
            )
        elif why := files.problem(file_target(given.url.rstrip("/") if is_folder else given.url)):
            problems.append(Problem(f"{where}, input '{given.path}'", why))
    for output in item.task.outputs or []:
        if output.url is not None and (why := files.output_problem(output.url)):
            problems.append(Problem(f"{where}, output '{output.path}'", why))
    return problems
