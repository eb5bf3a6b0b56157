"""Commands about apps and pipelines: what there is, what one takes, and whether a manifest is right."""

from __future__ import annotations

from pathlib import Path

from packhorse.cli.output import print_facts, print_json, print_table, say
from packhorse.client import Client
from packhorse.domain.app import Parameter
from packhorse.domain.errors import NotFound
from packhorse.domain.pipeline import ROWS, PipelineManifest, PipelineStep


def list_apps(*, as_json: bool) -> None:
    """``packhorse apps``."""
    with Client() as client:
        apps = client.apps()
    if as_json:
        print_json(apps)
    else:
        print_table(["app", "version", "what"], [(app.name, app.version, app.title) for app in apps])


def show_app(name: str, *, as_json: bool) -> None:
    """``packhorse apps show``."""
    with Client() as client:
        app = next((app for app in client.apps() if app.name == name), None)
    if app is None:
        raise NotFound(f"There is no app '{name}'.", hint="'packhorse apps' lists them.")
    if as_json:
        print_json(app)
        return
    manifest = app.manifest
    print_facts(
        [
            ("app", f"{app.name} {app.version}"),
            ("what", app.title),
            *([] if isinstance(manifest, PipelineManifest) else [("session", manifest.session)]),
            ("", app.description),
        ]
    )
    if isinstance(manifest, PipelineManifest):
        say()
        steps = [(name, step.app, _tasks_of(step)) for name, step in manifest.steps.items()]
        print_table(["step", "app", "tasks"], steps)
    say()
    rows = [_parameter(parameter_name, p) for parameter_name, p in manifest.parameters.items()]
    print_table(["parameter", "type", "default", "choices", "what"], rows)


def _tasks_of(step: PipelineStep) -> str:
    """How the tasks of a step come to be."""
    if step.each is not None:
        return f"one for each of {step.each}"
    if step.over is not None:
        return "one for each row" if step.over == ROWS else f"one for each item of {step.over}"
    return f"one, when all of {', '.join(step.gather)} have ended" if step.gather else "one"


def _parameter(name: str, p: Parameter) -> tuple[object, ...]:
    return (name, p.type, "required" if p.required else p.default, ", ".join(p.choices or []), p.help)


def check_app(path: str, *, as_json: bool) -> None:
    """``packhorse apps check``."""
    from packhorse.domain.images import refuse_image_beside
    from packhorse.domain.manifest import PipelineFile, read_manifest

    file = Path(path) / "app.yaml" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise NotFound(f"There is no app manifest at {file}.")
    found = read_manifest(file)
    manifest = found.manifest if isinstance(found, PipelineFile) else found
    if not isinstance(manifest, PipelineManifest) and manifest.image is not None:
        refuse_image_beside(manifest.image, str(file.parent), lambda name: (file.parent / name).exists())
    if as_json:
        print_json({"file": str(file), "name": manifest.name, "version": manifest.version})
    else:
        say(f"{file}: {manifest.name} {manifest.version} is fine.")
