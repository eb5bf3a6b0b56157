"""Reads app manifests (YAML). Every refusal names file, line, field and what was expected."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from packhorse.domain.app import AppManifest
from packhorse.domain.errors import InvalidManifest, Problem
from packhorse.domain.problems import MAX_PROBLEMS, dotted, located
from packhorse.domain.utf8 import utf8_text
from packhorse.domain.yamltext import Document, read_yaml

MAX_MANIFEST = 1_000_000  # bytes


def read_manifest(file: Path) -> AppManifest:
    """The manifest in a file. Raises OSError, or InvalidManifest with all problems at once."""
    with file.open("rb") as stream:
        return parse_manifest(stream.read(MAX_MANIFEST + 1), str(file))


def parse_manifest(content: bytes | str, file: str) -> AppManifest:
    """The manifest in ``content``; ``file`` is its name in messages.

    Raises InvalidManifest with all problems at once.
    """
    if len(content) > MAX_MANIFEST:
        raise InvalidManifest(f"{file} is larger than {MAX_MANIFEST:,} bytes, so it is not an app manifest.")
    text = content if isinstance(content, str) else utf8_text(content, file, InvalidManifest)
    document = read_yaml(text, file, MAX_MANIFEST, InvalidManifest)
    if not isinstance(document.value, dict):
        message = f"{file} is not an app manifest: expected a mapping with the fields name, version and command."
        raise InvalidManifest(message, problems=document.problems)
    try:
        manifest = AppManifest.model_validate(document.value)
    except ValidationError as error:
        problems = [*document.problems, *_problems(error, document, file)]
        raise InvalidManifest(f"{file} is not a valid app manifest.", problems=problems[:MAX_PROBLEMS]) from None
    if document.problems:
        raise InvalidManifest(f"{file} is not a valid app manifest.", problems=document.problems)
    return manifest


def _problems(error: ValidationError, document: Document, file: str) -> list[Problem]:
    problems = []
    for field, what in located(error.errors(include_url=False), "field", document.value):
        hint = "docs/apps/manifest.md lists the fields." if "not a field" in what else ""
        problems.append(
            Problem(f"{file}, line {document.line(field)}, field '{dotted(field) or 'manifest'}'", what, hint)
        )
    return problems
