"""Commands about apps and pipelines: what there is, what one takes, and whether a manifest is right."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packhorse.cli.output import print_facts, print_json, print_table, say
from packhorse.client import Client
from packhorse.domain.app import AppManifest, Parameter
from packhorse.domain.errors import InvalidManifest, InvalidRequest, NotFound
from packhorse.domain.pipeline import PipelineManifest, how
from packhorse.domain.views import AppView
from packhorse.terminal import prints_lines


def list_apps(*, as_json: bool) -> None:
    """``packhorse apps``."""
    with Client() as client:
        apps = client.apps()
    if as_json:
        print_json(apps)
    else:
        print_table(["app", "version", "what"], [(app.name, app.version, app.title) for app in apps])


def show_app(name: str, *, graph: bool, as_json: bool) -> None:
    """``packhorse apps show``."""
    app = _at_path(name) if "/" in name or name.endswith((".yaml", ".yml")) else _named(name)
    if as_json:
        print_json(app)
        return
    manifest = app.manifest
    if graph:
        _draw(manifest)
        return
    print_facts(
        [
            ("app", f"{app.name} {app.version}"),
            ("what", app.title),
            *([] if isinstance(manifest, PipelineManifest) else [("session", manifest.session)]),
            ("", app.description),
        ]
    )
    say()
    columns, more = ["parameter", "type", "default", "choices", "what"], dict[str, str]()
    if isinstance(manifest, PipelineManifest):
        print_table(["step", "tasks", "app"], [(step, how(said), said.app) for step, said in manifest.steps.items()])
        say()
        columns.insert(1, "given")
        more = {one: "once" if one in manifest.used_once else "for each row" for one in manifest.parameters}
    rows = [_parameter(one, p, more) for one, p in manifest.parameters.items()]
    print_table(columns, rows)


def _named(name: str) -> AppView:
    with Client() as client:
        app = next((app for app in client.apps() if app.name == name), None)
    if app is None:
        raise NotFound(f"There is no app '{name}'.", hint="'packhorse apps' lists them.")
    return app


def _at_path(path: str) -> AppView:
    from packhorse.domain.manifest import PipelineFile, read_manifest

    found = read_manifest(_manifest_file(path))
    m = found.manifest if isinstance(found, PipelineFile) else found
    return AppView(name=m.name, version=m.version, title=m.title, description=m.description, manifest=m)


def _manifest_file(path: str) -> Path:
    file = Path(path) / "app.yaml" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise NotFound(f"There is no app manifest at {file}.")
    return file


def _parameter(name: str, p: Parameter, more: Mapping[str, str]) -> tuple[object, ...]:
    start = (name, more[name]) if name in more else (name,)
    return (*start, p.type, "required" if p.required else p.default, ", ".join(p.choices or []), p.help)


def _draw(manifest: AppManifest | PipelineManifest) -> None:
    if not isinstance(manifest, PipelineManifest):
        raise InvalidRequest(f"'{manifest.name}' is no pipeline: it has one step, and nothing to draw.")
    from packhorse.domain.pipelinecheck import check_edges, problem_of
    from packhorse.domain.pipelinegraph import draw

    found, _ = check_edges(manifest)
    if found:
        problems = [problem_of(one) for one in found]
        raise InvalidManifest(f"The steps of '{manifest.name}' cannot be drawn.", problems=problems)
    for line in draw(manifest, ascii_only=not prints_lines(sys.stdout)):
        print(line)


def check_app(path: str, *, as_json: bool) -> None:
    """``packhorse apps check``."""
    from packhorse.engine.requests.checking import check_path

    file = _manifest_file(path)

    def ask(what: str) -> Any:
        with Client() as client:
            return getattr(client.backend, what)()

    manifest = check_path(file, lambda: ask("apps"), lambda: ask("sites"))
    if as_json:
        print_json({"file": str(file), "name": manifest.name, "version": manifest.version})
    else:
        say(f"{file}: {manifest.name} {manifest.version} is fine.")
