"""Turns a request into a run and its tasks, or refuses it with all that is wrong.

Nothing is written until everything has been checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from packhorse.domain.app import AppManifest, ParameterType, Session
from packhorse.domain.dataurl import is_url
from packhorse.domain.errors import InvalidRequest, Problem, TooLarge
from packhorse.domain.failures import FailureClass
from packhorse.domain.images import parse_reference
from packhorse.domain.outputpath import plain
from packhorse.domain.parameters import check_row
from packhorse.domain.problems import problems_of
from packhorse.domain.resources import Launch, Resources
from packhorse.domain.run import (
    MAX_TASKS,
    AppRun,
    NamedTask,
    RunOptions,
    TaskRun,
    check_tasks,
    is_task_url,
    parse_task_url,
)
from packhorse.domain.task import FileType
from packhorse.domain.taskpaths import AbsolutePaths
from packhorse.domain.text import kept_json, value_problem
from packhorse.engine.containers import why_no_container
from packhorse.engine.requests.filerules import FileRules
from packhorse.engine.requests.paths import FilledPaths
from packhorse.engine.spec import NO_IMAGE, RunSpec, file_path, is_data, task_resources
from packhorse.sites.base import SiteUnreachable
from packhorse.sites.site import Site
from packhorse.store.data import DataKey
from packhorse.store.runs import NewTask

MAX_PROBLEMS = 100
Edge = tuple[int, int, bool]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that may be written: its spec, its tasks, its edges (docs of ``store.runs.insert_run``)."""

    spec: RunSpec
    app: str
    tasks: Sequence[NewTask]
    edges: Sequence[Edge]
    images: Sequence[str] = ()
    """References of the images that its tasks run in."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What some tasks of a run want of a site."""

    resources: Resources
    images: Sequence[str] = ()
    session: Session = Session.NONE
    network: bool = True
    env: Mapping[str, str] = field(default_factory=dict)
    paths: AbsolutePaths | None = None

    def why_not(self, site: Site) -> str | None:
        """Why a site cannot give it; None when it can. Raises SiteUnreachable where that is not known."""
        if self.session is not Session.NONE and self.resources.launch is Launch.RANKS:
            return "its ranks are started by a launcher ('launch: ranks'), which goes with 'session: none' only"
        why = self.resources.ranks_problem or site.why_not(self.resources)
        how: dict[str, Any] = {"session": self.session, "network": self.network, "env": self.env, "paths": self.paths}
        for image in self.images if why is None else ():
            why = why or why_no_container(site, image, self.resources, **how)
        return why


def accept_app_run(
    request: AppRun,
    manifest: AppManifest,
    app_dir: str,
    run_id: str,
    rows: Iterable[Mapping[str, Any]],
    files: FileRules,
    sites: Sequence[Site],
) -> Accepted:
    """One task per row, and the gathering one."""
    spec = _spec(request, run_id, kind="app", manifest=manifest.as_json(), app_dir=app_dir, params=request.params)
    problems = _option_problems(request, files)
    site = ""
    images: list[str] = []
    if not problems and spec.app is not None:
        images = [] if spec.app.image is None else [spec.app.image]
        env = spec.app.env
        asked = {"the app": Asked(spec.app.resources, images, spec.app.session, spec.app.network, env)}
        if manifest.gather is not None and request.gather:
            asked["the gathering task"] = Asked(
                spec.resources_of("gather", "", None), images, network=spec.app.network, env=env
            )
        site, problems = choose_site(asked, sites)
    common, wrong = check_row(manifest.parameters, request.params, "common parameters", files.problem, partial=True)
    problems += wrong
    spec = replace(spec, params=_absolute(manifest, common), site=site)
    filled = FilledPaths(manifest.outputs, spec.app.resources) if not problems and spec.app is not None else None
    if manifest.gather is not None and request.gather:
        problems += FilledPaths(manifest.gather.outputs, manifest.gather.resources).problems("", {})
    tasks: list[NewTask] = []
    told: set[str] = set()
    for number, row in enumerate(rows, start=1):
        if number > MAX_TASKS:
            raise TooLarge(
                f"The table has more than {MAX_TASKS:,} rows, which is the limit of one run.",
                hint="Submit it as several runs.",
            )
        if len(problems) >= MAX_PROBLEMS:
            continue
        values, wrong = check_row(
            manifest.parameters, row, f"row {number}", files.problem, elsewhere=request.params, told=told
        )
        problems += wrong
        if filled is not None and not wrong:
            problems += filled.problems(f"row {number}", {**spec.defaults, **values})
        if not problems:
            params = _absolute(manifest, values)
            tasks.append(NewTask("row", kept_json(params), data=spec.data_of("row", params)))
    if problems:
        raise InvalidRequest(f"The run of '{manifest.name}' was not accepted.", problems=_shortened(problems))
    if not tasks:
        raise InvalidRequest("The table has no rows, so there is nothing to run.")
    edges: list[Edge] = []
    if manifest.gather is not None and request.gather:
        gather_index, accept = len(tasks), manifest.gather.accept_failures
        edges = [(index, gather_index, accept) for index in range(len(tasks))]
        tasks.append(NewTask("gather", "{}", "gather", waiting_on=gather_index, data=spec.data_of("gather", {})))
    spec = replace(spec, has_data=any(task.data for task in tasks))
    return Accepted(spec, f"{manifest.name}@{manifest.version}", tasks, edges, images)


def accept_task_run(request: TaskRun, run_id: str, files: FileRules, sites: Sequence[Site]) -> Accepted:
    """Tasks with edges."""
    items = [_with_image(item, request.image) for item in request.tasks]
    check_tasks(items)
    index_of = {item.name: index for index, item in enumerate(items)}
    problems = _option_problems(request, files)
    asked: dict[str, Asked] = {}
    images: set[str] = set()
    tasks: list[NewTask] = []
    edges: list[Edge] = []
    for index, item in enumerate(items):
        where = f"task '{item.name}'"
        problems += _input_problems(where, item, files)
        try:
            wanted = [executor.image for executor in item.task.executors if executor.image is not None]
            problems += _image_problems(where, wanted) if request.image is None else []  # else it is said of the run
            resources = task_resources(item.task).override(dict(request.resources))
            asked[where] = Asked(resources, wanted, paths=AbsolutePaths.of(item.task))
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
                upstream[given.path] = (run_id, index_of[name], plain(path) if path in declared else path)
        document = item.task.model_dump(mode="json", exclude_none=True)
        if why := value_problem(document, "task"):
            problems.append(Problem(where, f"{why}."))
            continue
        params = {"task": document, "upstream": upstream}
        needs = item.needs
        data = tuple(
            DataKey(given.url) for given in item.task.inputs or [] if given.url and is_data(given.url, given.content)
        )
        tasks.append(NewTask("task", kept_json(params), item.name, waiting_on=len(needs), data=data))
        edges += [(index_of[need], index, False) for need in needs]
    site, unfit = choose_site(asked, sites)
    problems += unfit
    if problems:
        raise InvalidRequest("The run was not accepted.", problems=_shortened(problems))
    has_data = any(task.data for task in tasks)
    return Accepted(
        _spec(request, run_id, kind="tasks", site=site, has_data=has_data), "", tasks, edges, sorted(images)
    )


def _with_image(item: NamedTask, image: str | None) -> NamedTask:
    """A task whose executors run in the image that its run names for all of them, if it does."""
    if image is None:
        return item
    executors = [
        executor.model_copy(update={"image": None if image == NO_IMAGE else image}) for executor in item.task.executors
    ]
    return item.model_copy(update={"task": item.task.model_copy(update={"executors": executors})})


def _image_problems(where: str, references: Sequence[str]) -> list[Problem]:
    problems = []
    for reference in references:
        try:
            parse_reference(reference)
        except InvalidRequest as error:
            problems.append(Problem(f"{where}, image", error.message, error.hint))
    return problems


def request_hash(request: AppRun | TaskRun, accepted: Accepted) -> str:
    """Tells a repeated request from another one under the same client key."""
    left_out = {"client_key", "over"} | ({"priority"} if request.priority == 0 else set())
    try:
        asked = request.model_dump_json(exclude=left_out)
    except PydanticSerializationError:  # the name of a file is not UTF-8
        asked = kept_json(request.model_dump(mode="json", exclude=left_out))
    digest = hashlib.sha256(asked.encode())
    if isinstance(request, AppRun):
        for task in accepted.tasks:
            digest.update(task.params.encode())
    return digest.hexdigest()


def _spec(request: RunOptions, run_id: str, **fields: Any) -> RunSpec:
    session = request.session.value if request.session else None
    return RunSpec(
        run_id=run_id,
        resources=request.resources,
        retry=request.retry,
        session=session,
        image=request.image,
        outputs=request.outputs,
        tags=request.tags,
        priority=request.priority,
        **fields,
    )


def _option_problems(request: RunOptions, files: FileRules) -> list[Problem]:
    """What is wrong with resources and retry policy as laid over the app's own, and with where outputs are to go."""
    problems = []
    if request.outputs is not None and (why := files.output_problem(request.outputs)):
        problems.append(Problem("outputs", why))
    classes = set(FailureClass)
    for name, number in request.retry.items():
        if name not in classes:
            problems.append(
                Problem(f"retry, '{name}'", "is not a failure class.", f"Classes: {', '.join(sorted(classes))}.")
            )
        elif not 0 <= number <= 100:
            problems.append(Problem(f"retry, '{name}'", f"expected a number from 0 to 100, found {number}."))
    if request.image not in (None, NO_IMAGE):
        problems += _image_problems("the run", [request.image])
    try:
        Resources().override(request.resources)
    except ValidationError as error:
        problems += problems_of(error, "resources")
    return problems


def _input_problems(where: str, item: NamedTask, files: FileRules) -> list[Problem]:
    problems = []
    for given in item.task.inputs or []:
        if given.url is None or given.content is not None or is_task_url(given.url):
            continue
        if is_url(given.url) and given.type is FileType.DIRECTORY:
            problems.append(
                Problem(f"{where}, input '{given.path}'", "is a folder, and by URL only files are fetched.")
            )
        elif why := files.problem(file_path(given.url)):
            problems.append(Problem(f"{where}, input '{given.path}'", why))
    for output in item.task.outputs or []:
        if output.url is not None and (why := files.output_problem(output.url)):
            problems.append(Problem(f"{where}, output '{output.path}'", why))
    return problems


def choose_site(asked: Mapping[str, Asked], sites: Sequence[Site]) -> tuple[str, list[Problem]]:
    """The first site that can give what all tasks of a run ask for, since they hand files to each other; or why there
    is none.

    A site that does not answer now is taken at its word: what asks for it waits.
    """
    whys: dict[str, list[str]] = {where: [] for where in asked}
    for site in sites:
        fits_all = True
        for where, wanted in asked.items():
            try:
                why = wanted.why_not(site)
            except SiteUnreachable as error:
                why = None if wanted.resources.site == site.name else f"'{site.name}' does not answer: {error.message}"
            if why is not None:
                fits_all = False
                whys[where].append(why)
        if fits_all:
            return site.name, []
    hint = "Ask for less, or connect a larger site."
    problems = [
        Problem(where, f"no site can run it: {'; '.join(reasons)}.", hint)
        for where, reasons in whys.items()
        if len(reasons) == len(sites)
    ]
    return "", problems or [
        Problem(
            "the run", "no site can run all of its tasks, which pass files to each other.", "Submit it as several runs."
        )
    ]


def _absolute(manifest: AppManifest, values: Mapping[str, Any]) -> dict[str, Any]:
    """File parameters as absolute paths: a task runs in a folder of its own."""
    return {
        name: str(Path(file_path(str(value))).absolute())
        if manifest.parameters[name].type is ParameterType.FILE and value is not None and not is_url(str(value))
        else value
        for name, value in values.items()
    }


def _shortened(problems: list[Problem]) -> list[Problem]:
    return (
        problems
        if len(problems) < MAX_PROBLEMS
        else [*problems[:MAX_PROBLEMS], Problem("", "There may be more; these are the first.")]
    )
