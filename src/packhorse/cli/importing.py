"""``packhorse apps import``: what others call apps, as apps of ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from packhorse.cli.output import note, print_json, say
from packhorse.domain.errors import Conflict, InvalidRequest, NotFound
from packhorse.domain.kbaseimport import ModuleFiles, import_module

_MAX_FILE = 1_000_000


def import_kbase(folder: Path, to: Path, image: str | None, commit: str | None, *, force: bool, as_json: bool) -> None:
    """``packhorse apps import kbase``."""
    files = _files(folder)
    commit = _commit_of(folder) if commit is None else commit
    found = import_module(files, image, commit)
    written = {name: to / name / "app.yaml" for name in found.apps}
    if there := [str(file) for file in written.values() if file.exists() and not force]:
        raise Conflict(f"{there[0]} is there already.", hint="Say --force to replace it, or --to another folder.")
    for name, file in written.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(found.apps[name], sort_keys=False, allow_unicode=True, width=120)
        file.write_text(text, encoding="utf-8")
    if as_json:
        print_json({"apps": {name: str(file) for name, file in written.items()}, "notes": found.notes})
        return
    for file in written.values():
        say(str(file))
    for text in found.notes:
        note(text)


def _files(folder: Path) -> ModuleFiles:
    if not (folder / "kbase.yml").is_file():
        raise NotFound(f"There is no kbase.yml in {folder}.", hint="Give the folder of a module of KBase's SDK.")
    methods = {
        spec.parent.name: (_text(spec), _text(spec.with_name("display.yaml")))
        for spec in sorted(folder.glob("ui/narrative/methods/*/spec.json"))
    }
    return ModuleFiles(_text(folder / "kbase.yml"), _text(folder / "Dockerfile"), methods)


def _text(file: Path) -> str:
    """A file's text; none where there is no such file."""
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_FILE + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}.") from None
    if len(data) > _MAX_FILE:
        raise InvalidRequest(f"{file} is larger than {_MAX_FILE:,} bytes.")
    return data.decode("utf-8", "replace")


def _commit_of(folder: Path) -> str:
    """The commit that is checked out in a clone; none where it is no clone."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
