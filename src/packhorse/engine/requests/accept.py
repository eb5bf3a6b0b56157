"""What accepting any kind of run has in common: what is accepted, the site that can run it, and what options may say.

Nothing is written until everything has been checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from packhorse.domain.app import AppManifest, Session
from packhorse.domain.errors import InvalidRequest, Problem
from packhorse.domain.failures import FailureClass
from packhorse.domain.images import parse_reference
from packhorse.domain.problems import problems_of
from packhorse.domain.resources import Launch, Resources
from packhorse.domain.run import RunOptions
from packhorse.domain.taskpaths import AbsolutePaths
from packhorse.engine.containers import why_no_container, why_not_isolated
from packhorse.engine.requests.filerules import FileRules
from packhorse.engine.steps.base import NO_IMAGE, StepRow, StepSpec
from packhorse.sites.base import SiteUnreachable
from packhorse.sites.site import Site
from packhorse.store.newtasks import NewTask
from packhorse.store.steps import StepEdge

MAX_PROBLEMS = 100
TaskEdge = tuple[int, int, bool]


@dataclass(frozen=True, slots=True)
class AcceptedStep:
    """A step that may be written, and how its tasks are read: as often as one likes.

    ``number`` of tasks None: its list is not known yet.
    """

    name: str
    site: str
    spec: StepSpec
    number: int | None
    tasks: Callable[[], Iterable[NewTask]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that may be written: see ``store.runs.NewRun``. ``app`` is what it is listed with."""

    run_id: str
    app: str
    steps: Sequence[AcceptedStep]
    step_edges: Sequence[StepEdge] = ()
    task_edges: Sequence[TaskEdge] = ()
    images: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """References of the images that its tasks run in, by site."""
    tables: bytes = b""
    """A digest of the tables of its steps."""
    name: str = ""
    """What it is called where its user does not say."""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SubmittedApp:
    """An app that a run names: ``digest`` is that of its folder."""

    manifest: AppManifest
    digest: str


@dataclass(frozen=True, slots=True)
class Requester:
    """Who submits a run: its id, its user, the files that they may name, and the sites that there are."""

    run_id: str
    user: str
    files: FileRules
    sites: Sequence[Site]
    needs_image: bool = False
    """Commands of their own have to run in images, at sites that keep these to what they are given."""

    def site(self, name: str) -> Site:
        """The site that was chosen; where none was, and the run is refused, any."""
        return next((site for site in self.sites if site.name == name), self.sites[0])

    def row(self, name: str, site: str = "", first: int = 0) -> StepRow:
        """Where a step will stand, as far as that is known."""
        return StepRow(0, 0, self.run_id, self.user, 0, site, name, first)


@dataclass(frozen=True, slots=True)
class Asked:
    """What some tasks of a run want of a site."""

    resources: Resources
    images: Sequence[str] = ()
    session: Session = Session.NONE
    network: bool = True
    env: Mapping[str, str] = field(default_factory=dict)
    paths: AbsolutePaths | None = None
    isolated: bool = False
    """Their containers must see nothing of others."""

    def why_not(self, site: Site) -> str | None:
        """Why a site cannot give it; None when it can. Raises SiteUnreachable where that is not known."""
        if self.session is not Session.NONE and self.resources.launch is Launch.RANKS:
            return "its ranks are started by a launcher ('launch: ranks'), which goes with 'session: none' only"
        why = (why_not_isolated(site) if self.isolated else None) or self.resources.ranks_problem
        why = why or site.why_not(self.resources)
        how: dict[str, Any] = {"session": self.session, "network": self.network, "env": self.env, "paths": self.paths}
        for image in self.images if why is None else ():
            why = why or why_no_container(site, image, self.resources, **how)
        return why


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
    names = [site.name for site in sites]
    problems = [
        _nowhere(where, asked[where].resources.site, dict(zip(names, reasons, strict=True)))
        for where, reasons in whys.items()
        if len(reasons) == len(sites)
    ]
    return "", problems or [
        Problem(
            "the run", "no site can run all of its tasks, which pass files to each other.", "Submit it as several runs."
        )
    ]


def _nowhere(where: str, named: str | None, reasons: Mapping[str, str]) -> Problem:
    """``reasons`` by site; where one is ``named``, only its own is of interest."""
    if named is not None and named not in reasons:
        return Problem(where, f"there is no site '{named[:60]}'.", f"There are: {', '.join(reasons)}.")
    why = reasons[named] if named is not None else "; ".join(reasons.values())
    return Problem(where, f"no site can run it: {why}.", "Ask for less, or connect a larger site.")


def spec_of(request: RunOptions, kind: Any, app: str = "", **fields: Any) -> StepSpec:
    """What is kept of a step that a run's options are laid over."""
    return StepSpec(
        kind,
        app,
        resources=request.resources,
        retry=request.retry,
        session=request.session.value if request.session else None,
        image=request.image,
        tags=request.tags,
        outputs=request.outputs,
        **fields,
    )


def app_spec(request: RunOptions, app: SubmittedApp) -> StepSpec:
    """The same of tasks of an app. What makes reference data is looked up, unless the run wants everything executed."""
    reference = app.manifest.reference and request.reuse is not False
    return spec_of(request, "app", app.digest, reuse=reference, reference=reference)


def with_reuse(accepted: Accepted, asked: bool | None, sites: Sequence[Site]) -> Accepted:
    """The same run, whose tasks take results of earlier ones if ``asked``, or, where that is not said, if the
    configuration of their site says so.
    """
    where = {site.name for site in sites if (site.reuse if asked is None else asked)}
    if not where:
        return accepted
    steps = [
        replace(step, spec=replace(step.spec, reuse=True)) if step.site in where else step for step in accepted.steps
    ]
    return replace(accepted, steps=steps)


def option_problems(request: RunOptions, files: FileRules) -> list[Problem]:
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
        problems += image_problems("the run", [request.image])
    try:
        Resources().override(request.resources)
    except ValidationError as error:
        problems += problems_of(error, "resources")
    return problems


def image_problems(where: str, references: Sequence[str]) -> list[Problem]:
    problems = []
    for reference in references:
        try:
            parse_reference(reference)
        except InvalidRequest as error:
            problems.append(Problem(f"{where}, image", error.message, error.hint))
    return problems


def shortened(problems: list[Problem]) -> list[Problem]:
    return (
        problems
        if len(problems) < MAX_PROBLEMS
        else [*problems[:MAX_PROBLEMS], Problem("", "There may be more; these are the first.")]
    )
