"""Reads manifests (YAML) of apps and pipelines. Every refusal names file, line, field and what was expected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from packhorse.domain.app import AppManifest
from packhorse.domain.errors import InvalidManifest, Problem
from packhorse.domain.pipeline import PipelineManifest, is_pipeline
from packhorse.domain.pipelinecheck import Finding
from packhorse.domain.problems import MAX_PROBLEMS, Location, Model, dotted, located
from packhorse.domain.utf8 import utf8_text
from packhorse.domain.yamltext import Document, read_yaml

MAX_MANIFEST = 1_000_000  # bytes


@dataclass(frozen=True, slots=True)
class PipelineFile:
    """A pipeline's manifest, and where in which file each of its fields stands."""

    manifest: PipelineManifest
    document: Document
    file: str

    def problem(self, finding: Finding) -> Problem:
        """What is wrong with a field, as a person finds it."""
        return Problem(_place(self.document, finding.field, self.file), finding.what, finding.hint)


def read_manifest(file: Path) -> AppManifest | PipelineFile:
    """The manifest in a file. Raises OSError, or InvalidManifest with all problems at once."""
    with file.open("rb") as stream:
        return parse_any(stream.read(MAX_MANIFEST + 1), str(file))


def parse_manifest(content: bytes | str, file: str) -> AppManifest:
    """The manifest of an app that is no pipeline: see ``parse_any``."""
    found = parse_any(content, file)
    if isinstance(found, PipelineFile):
        raise InvalidManifest(f"{file} is a pipeline, and an app with a command was expected.")
    return found


def parse_any(content: bytes | str, file: str) -> AppManifest | PipelineFile:
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
    if is_pipeline(document.value):
        return PipelineFile(_validated(PipelineManifest, document, file, "docs/pipelines.md"), document, file)
    return _validated(AppManifest, document, file, "docs/apps/manifest.md")


def _validated(model: type[Model], document: Document, file: str, page: str) -> Model:
    problems = list(document.problems)
    try:
        manifest = model.model_validate(document.value)
    except ValidationError as error:
        problems += _problems(error, document, file, page)
    if problems:
        raise InvalidManifest(f"{file} is not a valid app manifest.", problems=problems[:MAX_PROBLEMS])
    return manifest


def _problems(error: ValidationError, document: Document, file: str, page: str) -> list[Problem]:
    problems = []
    for field, what in located(error.errors(include_url=False), "field", document.value):
        hint = f"{page} lists the fields." if "not a field" in what else ""
        problems.append(Problem(_place(document, field, file), what, hint))
    return problems


def _place(document: Document, field: Location, file: str) -> str:
    return f"{file}, line {document.line(field)}, field '{dotted(field) or 'manifest'}'"
