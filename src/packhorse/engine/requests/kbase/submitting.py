"""Jobs become a run: those of one app that ask for the same are a step, and each is a task of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import ValidationError

from packhorse.domain.app import AppManifest
from packhorse.domain.errors import InvalidRequest, TooLarge
from packhorse.domain.ids import new_id
from packhorse.domain.kbase import MAX_JOB_BYTES, JobRequest
from packhorse.domain.kbaseconfig import KBaseConfig
from packhorse.domain.problems import problems_of
from packhorse.domain.run import MAX_TASKS
from packhorse.domain.text import kept_json
from packhorse.engine.requests.accept import Accepted, AcceptedStep, Asked, choose_site, shortened
from packhorse.engine.requests.kbase.methods import Method, resources_of
from packhorse.engine.requests.submission import Submission
from packhorse.engine.steps.base import StepRow, StepSpec
from packhorse.engine.steps.kbase import KBaseStep, why_not_here
from packhorse.engine.steps.program import Program
from packhorse.sites.site import Site
from packhorse.store.newtasks import NewTask
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.steps import StepEdge

_WAY_OUT = (
    "Its operator can give a site another 'runtime': Podman, Docker, podman-hpc and Apptainer run modules of KBase"
    " (docs/kbase.md)."
)
#: The last index of a run stands for the batch itself.
MAX_JOBS = min(MAX_TASKS, TASKS_PER_RUN - 1)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A job that may be submitted: its app by ``digest``, and what it asks for."""

    request: JobRequest
    method: Method
    digest: str
    requirements: Mapping[str, Any]


@dataclass(slots=True)
class Group:
    """Jobs that become one step; ``params`` are theirs, as they are stored, ``places`` those in the request."""

    spec: StepSpec
    manifest: AppManifest
    params: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Planned:
    """A run of jobs. ``indexes`` has, for each job by its place in the request, its task's index in the run."""

    submission: Submission
    indexes: Sequence[int]


def plan_run(
    groups: Sequence[Group], user: str, sites: Sequence[Site], about: Mapping[str, Any], *, in_order: bool = False
) -> Planned:
    """A run of the jobs in ``groups``; ``about`` is what is kept of it (``kbase_runs``), beside the order of its jobs.
    ``in_order``: there is one in each group, and it waits for that of the group before.

    Raises InvalidRequest where no site can run them, TooLarge.
    """
    number = sum(len(group.params) for group in groups)
    if not number:
        raise InvalidRequest("There are no jobs in the request.")
    if number > MAX_JOBS:
        raise TooLarge(f"The batch has {number:,} jobs; the limit is {MAX_JOBS:,}.")
    run_id = new_id("r")
    steps = [_step(group, run_id, user, place) for place, group in enumerate(groups)]
    site, images = _site(steps, sites)
    accepted, indexes, first = list[AcceptedStep](), [0] * number, 0
    for place, (step, group) in enumerate(zip(steps, groups, strict=True)):
        tasks = partial(_tasks, group.params, step.demand("", None), int(in_order and place > 0))
        accepted.append(AcceptedStep(step.row.name, site, step.spec, len(group.params), tasks))
        for offset, place in enumerate(group.places):
            indexes[place] = first + offset
        first += len(group.params)
    label = _label(groups)
    meta = dict(about["meta"])
    if indexes != sorted(indexes):
        meta["order"] = indexes
    digest = hashlib.sha256(run_id.encode()).hexdigest()
    pairs = [(place - 1, place) for place in range(1, len(groups))] if in_order else []
    run = Accepted(
        run_id,
        label,
        accepted,
        [StepEdge(*pair, "tasks") for pair in pairs],
        [(*pair, False) for pair in pairs],
        images={site: images},
        name=label,
    )
    kept = {**about, "meta": kept_json(meta)}
    return Planned(Submission(run, user, label, None, digest, kbase=kept), indexes)


def groups_of(jobs: Sequence[Resolved], config: KBaseConfig, shared: Mapping[str, Any]) -> list[Group]:
    """New jobs; ``shared`` is what each is told besides. Raises TooLarge."""
    groups: dict[tuple[str, str, str], Group] = {}
    for place, job in enumerate(jobs):
        key = (job.digest, job.request.method, kept_json(dict(job.requirements)))
        if key not in groups:
            groups[key] = Group(_spec(job, config), job.method.app.manifest)
        params = kept_json({**job.request.stored(), **shared})
        if len(params) > MAX_JOB_BYTES:
            which = f"job {place + 1} of {len(jobs)}" if len(jobs) > 1 else "the job"
            raise TooLarge(f"The parameters of {which} are larger than {MAX_JOB_BYTES:,} bytes.")
        groups[key].places.append(place)
        groups[key].params.append(params)
    return list(groups.values())


def group_again(step: KBaseStep, params: str) -> Group:
    """A job as it was: the same app, and the same requirements."""
    return Group(step.spec, step.app, [params], [0])


def _spec(one: Resolved, config: KBaseConfig) -> StepSpec:
    about = one.method.about
    data = None
    if about.data_folder and about.data_version and config.reference_data is not None:
        data = f"{config.reference_data}/{about.data_folder}/{about.data_version}"
    told = {
        "method": one.request.method,
        "requirements": dict(one.requirements),
        "service_ver": one.method.commit,
        "services": config.services(),
        "data": data,
        "secure": list(about.secure),
        "callback": bool(config.external_url),
    }
    said = {name: value for name, value in told.items() if value}
    return StepSpec("kbase", one.digest, said, resources_of(one.requirements))


def _step(group: Group, run_id: str, user: str, place: int) -> KBaseStep:
    row = StepRow(0, 0, run_id, user, 0, "", f"jobs-{place + 1}" if place else "jobs", 0)
    try:
        return KBaseStep(row, group.spec, Program(group.manifest, group.spec))
    except ValidationError as error:
        problems = problems_of(error, "job_requirements")
        raise InvalidRequest("The job asks for what nothing can give.", problems=problems) from None


def _site(steps: Sequence[KBaseStep], sites: Sequence[Site]) -> tuple[str, list[str]]:
    """The first site that can run all, and the images that they run in."""
    able, whys = list[Site](), list[str]()
    for site in sites:
        why = next((said for step in steps if (said := why_not_here(step, site))), None)
        if why is None:
            able.append(site)
        else:
            whys.append(why)
    if not able:
        raise InvalidRequest(f"No site can run it: {'; '.join(dict.fromkeys(whys))}.", hint=_WAY_OUT)
    asked = {f"step '{step.row.name}'": _asked(step) for step in steps}
    name, problems = choose_site(asked, able)
    if problems:
        raise InvalidRequest("No site can run it.", problems=shortened(problems))
    return name, sorted({image for step in steps for image in step.images("")})


def _asked(step: KBaseStep) -> Asked:
    return Asked(step.resources("", None), step.images(""), network=step.app.network, env=step.app.env)


def _tasks(params: Sequence[str], demand: Any, waiting_on: int) -> list[NewTask]:
    return [NewTask(text, demand, waiting_on=waiting_on) for text in params]


def _label(groups: Sequence[Group]) -> str:
    """What such a run is listed with."""
    first = groups[0].manifest
    return f"{first.name}@{first.version}" if len(groups) == 1 else f"{len(groups)} kinds of KBase jobs"
