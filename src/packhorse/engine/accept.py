"""Turns a request into a run and its tasks, or refuses it with all that is wrong. Nothing is written until everything has been checked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from packhorse.domain.app import AppManifest, ParameterType
from packhorse.domain.errors import InvalidRequest, Problem, TooLarge
from packhorse.domain.failures import FailureClass
from packhorse.domain.parameters import check_row
from packhorse.domain.resources import Resources
from packhorse.domain.run import MAX_TASKS, AppRun, NamedTask, RunOptions, TaskRun, check_tasks, is_task_url, parse_task_url
from packhorse.engine.spec import RunSpec, file_path, task_resources
from packhorse.sites.site import Site
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


@dataclass(frozen=True, slots=True)
class FileRules:
    """Which files may be inputs: any that is readable, or only those below ``roots``."""

    roots: tuple[Path, ...] | None = None

    def problem(self, path: str) -> str | None:
        """Why ``path`` cannot be an input; None when it can."""
        if not path:
            return "names no file."
        try:
            real = Path(path).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            return f"the file '{path[:200]}' is not there."
        if self.roots is not None and not any(real.is_relative_to(root) for root in self.roots):
            return f"the file '{path[:200]}' is outside the folders that this server may read (data_roots in its packhorse.toml)."
        return None if os.access(real, os.R_OK) else f"the file '{path[:200]}' cannot be read."


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
    problems = _option_problems(request, spec)
    if not problems and spec.app is not None:
        problems = _site_problems("the app", spec.app.resources, sites)
        if manifest.gather is not None and request.gather:
            problems += _site_problems("the gathering task", manifest.gather.resources, sites)
    common, wrong = check_row(manifest.parameters, request.params, "common parameters", files.problem, partial=True)
    problems += wrong
    tasks: list[NewTask] = []
    for number, row in enumerate(rows, start=1):
        if number > MAX_TASKS:
            raise TooLarge(f"The table has more than {MAX_TASKS:,} rows, which is the limit of one run.", hint="Submit it as several runs.")
        if len(problems) >= MAX_PROBLEMS:
            continue
        values, wrong = check_row(manifest.parameters, row, f"row {number}", files.problem, elsewhere=request.params)
        problems += wrong
        tasks.append(NewTask("row", json.dumps(_absolute(manifest, values), separators=(",", ":"))))
    if problems:
        raise InvalidRequest(f"The run of '{manifest.name}' was not accepted.", problems=_shortened(problems))
    if not tasks:
        raise InvalidRequest("The table has no rows, so there is nothing to run.")
    edges: list[Edge] = []
    if manifest.gather is not None and request.gather:
        gather_index, accept = len(tasks), manifest.gather.accept_failures
        edges = [(index, gather_index, accept) for index in range(len(tasks))]
        tasks.append(NewTask("gather", "{}", "gather", waiting_on=gather_index))
    spec = _spec(request, run_id, kind="app", manifest=manifest.as_json(), app_dir=app_dir, params=_absolute(manifest, common))
    return Accepted(spec, f"{manifest.name}@{manifest.version}", tasks, edges)


def accept_task_run(request: TaskRun, run_id: str, files: FileRules, sites: Sequence[Site]) -> Accepted:
    """Tasks with edges."""
    check_tasks(request.tasks)
    index_of = {item.name: index for index, item in enumerate(request.tasks)}
    spec = _spec(request, run_id, kind="tasks")
    problems = _option_problems(request, spec)
    tasks: list[NewTask] = []
    edges: list[Edge] = []
    for index, item in enumerate(request.tasks):
        where = f"task '{item.name}'"
        problems += _task_problems(where, item, request.resources, files, sites)
        upstream = {}
        for given in item.task.inputs or []:
            if is_task_url(given.url):
                name, path = parse_task_url(given.url)
                upstream[given.path] = (run_id, index_of[name], path)
        params = {"task": item.task.model_dump(mode="json", exclude_none=True), "upstream": upstream}
        needs = item.needs
        tasks.append(NewTask("task", json.dumps(params, separators=(",", ":")), item.name, waiting_on=len(needs)))
        edges += [(index_of[need], index, False) for need in needs]
    if problems:
        raise InvalidRequest("The run was not accepted.", problems=_shortened(problems))
    return Accepted(spec, "", tasks, edges)


def request_hash(request: AppRun | TaskRun, accepted: Accepted) -> str:
    """Tells a repeated request from another one under the same client key."""
    digest = hashlib.sha256(request.model_dump_json(exclude={"client_key", "over"}).encode())
    if isinstance(request, AppRun):
        for task in accepted.tasks:
            digest.update(task.params.encode())
    return digest.hexdigest()


def _spec(request: RunOptions, run_id: str, **fields: Any) -> RunSpec:
    session = request.session.value if request.session else None
    return RunSpec(run_id=run_id, resources=request.resources, retry=request.retry, session=session, tags=request.tags, **fields)


def _option_problems(request: RunOptions, spec: RunSpec) -> list[Problem]:
    """What is wrong with resources and retry policy as laid over the app's own."""
    problems = []
    classes = set(FailureClass)
    for name, number in request.retry.items():
        if name not in classes:
            problems.append(Problem(f"retry, '{name}'", "is not a failure class.", f"Classes: {', '.join(sorted(classes))}."))
        elif not 0 <= number <= 100:
            problems.append(Problem(f"retry, '{name}'", f"expected a number from 0 to 100, found {number}."))
    try:
        Resources().override(request.resources)
    except ValidationError as error:
        for detail in error.errors():
            field = ".".join(str(step) for step in detail["loc"])
            problems.append(Problem(f"resources, '{field}'", f"{detail['msg'].lower()} (found: {detail['input']!r})."))
    return problems


def _task_problems(where: str, item: NamedTask, overrides: Mapping[str, Any], files: FileRules, sites: Sequence[Site]) -> list[Problem]:
    problems = []
    for given in item.task.inputs or []:
        if given.url is None or given.content is not None or is_task_url(given.url):
            continue
        if "://" in given.url and not given.url.startswith("file://"):
            problems.append(
                Problem(f"{where}, input '{given.path}'", f"the URL '{given.url[:200]}' has a scheme that cannot be fetched here.")
            )
        elif why := files.problem(file_path(given.url)):
            problems.append(Problem(f"{where}, input '{given.path}'", why))
    try:
        asked = task_resources(item.task).override(dict(overrides))
    except (InvalidRequest, ValidationError) as error:
        return [*problems, Problem(where, str(error).replace("\n", " "))]
    return problems + _site_problems(where, asked, sites)


def _site_problems(where: str, asked: Resources, sites: Sequence[Site]) -> list[Problem]:
    """Resources that no site can ever give."""
    reasons = [site.why_not(asked) for site in sites]
    if any(reason is None for reason in reasons):
        return []
    return [
        Problem(where, f"no site can run it: {'; '.join(str(reason) for reason in reasons)}.", "Ask for less, or connect a larger site.")
    ]


def _absolute(manifest: AppManifest, values: Mapping[str, Any]) -> dict[str, Any]:
    """File parameters as absolute paths: a task runs in a folder of its own."""
    return {
        name: str(Path(str(value)).absolute()) if manifest.parameters[name].type is ParameterType.FILE and value is not None else value
        for name, value in values.items()
    }


def _shortened(problems: list[Problem]) -> list[Problem]:
    return problems if len(problems) < MAX_PROBLEMS else [*problems[:MAX_PROBLEMS], Problem("", "There may be more; these are the first.")]
