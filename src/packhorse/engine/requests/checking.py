"""Whether the manifest of an app or a pipeline is right, seen with the apps and sites that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from packhorse.domain.app import AppManifest
from packhorse.domain.errors import InvalidManifest, InvalidRequest, NotFound, PackhorseError
from packhorse.domain.manifest import PipelineFile
from packhorse.domain.pipeline import PipelineManifest
from packhorse.domain.pipelinecheck import Finding, check_pipeline, problem_of
from packhorse.domain.resources import Resources
from packhorse.domain.views import AppView, SiteView
from packhorse.engine.requests.accept import shortened
from packhorse.sites.base import Limits
from packhorse.sites.site import why_not
from packhorse.staging.apps import AppFolder, apps_of, load

Apps = Mapping[str, AppManifest | PackhorseError]


def check_path(
    path: Path, apps: Callable[[], Sequence[AppView]], sites: Callable[[], Sequence[SiteView]]
) -> AppManifest | PipelineManifest:
    """The manifest at ``path``, or in the folder that this is. Raises InvalidManifest with all that is wrong.

    ``apps`` and ``sites`` are asked for a pipeline only.
    """
    found = load(path)
    if isinstance(found, AppFolder):
        return found.manifest
    views = {view.name: view for view in apps()}
    steps = {
        name: one.manifest if isinstance(one, AppFolder) else one
        for name, one in apps_of(found.manifest, found.folder, lambda name: _named(name, views)).items()
    }
    findings = [*findings_of(found.manifest, steps), *_unfit(found.manifest, steps, sites())]
    refuse_findings(findings, found.file)
    return found.manifest


def findings_of(manifest: PipelineManifest, apps: Apps) -> list[Finding]:
    """What is wrong with a pipeline and the apps of its steps."""
    told = {name: _told(app) if isinstance(app, PackhorseError) else app for name, app in apps.items()}
    return check_pipeline(manifest, told)


def refuse_findings(findings: Sequence[Finding], file: PipelineFile | None) -> None:
    """Raises InvalidManifest with all of them: by line and field, or, of one that is in no file, by field."""
    if findings:
        problems = shortened([file.problem(one) if file is not None else problem_of(one) for one in findings])
        which = file.file if file is not None else "The pipeline"
        raise InvalidManifest(f"{which} is not a valid pipeline.", problems=problems)


def _told(error: PackhorseError) -> str:
    return " ".join([error.message, error.hint, *(f"{problem}" for problem in error.problems[:3])]).strip()


def _named(name: str, views: Mapping[str, AppView]) -> AppManifest:
    wanted, _, version = name.partition("@")
    view = views.get(wanted)
    if view is None:
        raise NotFound(f"There is no app '{wanted[:100]}'.", hint=f"Known apps: {', '.join(views) or 'none'}.")
    if view.version != version:
        raise NotFound(f"There is no app '{name[:100]}': '{wanted}' is at version {view.version} here.")
    if isinstance(view.manifest, PipelineManifest):
        raise NotFound(f"'{wanted}' is a pipeline, which can be no step of a run.")
    return view.manifest


def _unfit(manifest: PipelineManifest, apps: Apps, sites: Sequence[SiteView]) -> list[Finding]:
    """The steps that no site can run. A site that does not answer now is taken at its word."""
    found: list[Finding] = []
    for name, step in manifest.steps.items():
        app = apps[step.app]
        if isinstance(app, PackhorseError):
            continue
        try:
            asked = app.resources.override(step.resources)
        except ValueError:  # told of already
            continue
        whys = [_why_not(site, asked) for site in sites]
        if whys and None not in whys:
            field = ("steps", name, "resources" if step.resources else "app")
            told = f"no site can run it: {'; '.join(why for why in whys if why)}."
            found.append(Finding(field, told, "Ask for less, or connect a larger site."))
    return found


def _why_not(site: SiteView, asked: Resources) -> str | None:
    limits = [
        Limits(one.cores, round(one.memory_gb * 1000), one.nodes, one.gpus, one.walltime_s, queue=one.name)
        for one in site.queues
    ]
    answers = site.problem is None or asked.site not in (None, site.name)
    return why_not(site.name, limits, asked) if answers else None


def refuse_kbase(manifest: AppManifest) -> None:
    """Raises InvalidRequest for an app that runs a method of KBase, which takes a request of its own form."""
    if manifest.kbase is not None:
        told = f"The app '{manifest.name}' runs a method of KBase, which takes a request of its own form."
        raise InvalidRequest(told, hint="Submit it to /services/ee2 with run_job (docs/kbase.md).")
