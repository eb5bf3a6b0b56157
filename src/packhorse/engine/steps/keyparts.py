"""The parts of tasks' keys that the store has to tell: the digests of images, and of what apps' folders hold."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from packhorse.domain.app import AppManifest
from packhorse.domain.apparchive import digest_of, unpack_app
from packhorse.domain.cachekey import INPUT
from packhorse.domain.errors import PackhorseError
from packhorse.domain.manifest import parse_manifest
from packhorse.engine.steps.base import Step
from packhorse.store.images import wants_of
from packhorse.store.steps import app_archive, app_manifest


def parts_of(
    connection: sa.Connection, step: Step, task: int, params: str, inputs: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The parts of the key of a task that was looked up, when its ``inputs`` had that content; None where they are not
    known any more.
    """
    images = images_of_runs(connection, [step.row.run_seq])[step.row.run_seq]
    if images is None:
        return None
    identity = step.identity(task, params, images)
    if identity.inputs.keys() != inputs.keys():
        return None
    common = step.common_parts(images, lambda: folder_digest(connection, step.spec.app))
    own = {INPUT + name: content for name, content in inputs.items()}
    return {"site": step.row.site, **common, **identity.parts, **own}


def images_of_runs(connection: sa.Connection, run_seqs: Collection[int]) -> dict[int, dict[str, str] | None]:
    """The digests of the images of runs, by reference; None where one is not known yet."""
    found: dict[int, dict[str, str] | None] = {}
    for run_seq, wants in wants_of(connection, run_seqs).items():
        digests = {want.reference: want.digest for want in wants}
        found[run_seq] = None if None in digests.values() else digests
    return found


def folder_digest(connection: sa.Connection, app: str) -> str:
    """Of what an app's folder holds besides the text of its manifest, of which only what it says counts."""
    try:
        files = unpack_app(app_archive(connection, app), app)
    except ValueError:  # whoever runs it is told
        return app
    manifest = json.loads(app_manifest(connection, app))
    return digest_of(file for file in files if not _says(file.path, file.content, manifest))


def _says(path: str, text: bytes, manifest: Mapping[str, Any]) -> bool:
    """Whether a file is that manifest."""
    if "/" in path or not path.endswith((".yaml", ".yml")):
        return False
    try:
        read = parse_manifest(text, path)
    except PackhorseError:
        return False
    return isinstance(read, AppManifest) and read.as_json() == manifest
