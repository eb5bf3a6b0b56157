"""Reads app manifests (YAML). Every refusal names file, line, field and what was expected."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import ValidationError

from packhorse.domain.app import AppManifest
from packhorse.domain.errors import InvalidManifest, Problem

Location = tuple[int | str, ...]


def parse_manifest(text: str, file: str) -> AppManifest:
    """The manifest in ``text``; ``file`` is its name in messages. Raises InvalidManifest with all problems at once."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise InvalidManifest(f"{file} is not valid YAML.", problems=[Problem(f"{file}{line}", f"{reason}.")]) from None
    if not isinstance(document, dict):
        raise InvalidManifest(f"{file} is not an app manifest: expected a mapping with the fields name, version and command.")
    try:
        return AppManifest.model_validate(document)
    except ValidationError as error:
        lines = _line_numbers(tree)
        problems = _problems(error, lines, file)
        raise InvalidManifest(f"{file} is not a valid app manifest.", problems=problems) from None


def _problems(error: ValidationError, lines: dict[Location, int], file: str) -> list[Problem]:
    problems: dict[str, Problem] = {}
    for detail in error.errors():
        what = _expected(detail)
        location = _known_part(detail["loc"], lines)
        named, colon, rest = what.partition(": ")
        if not detail["loc"] and colon and tuple(named.split(".")) in lines:  # a check across fields says which one it means
            location, what = tuple(named.split(".")), rest
        field = ".".join(str(step) for step in (location if detail["type"] != "missing" else detail["loc"])) or "manifest"
        where = f"{file}, line {lines.get(location, 1)}, field '{field}'"
        problems.setdefault(where, Problem(where, what))
    return list(problems.values())


def _expected(detail: Any) -> str:
    given = detail.get("input")
    shown = "" if isinstance(given, dict | list) or detail["type"] == "missing" else f" (found: {given!r})"
    match detail["type"]:
        case "missing":
            return "is required and missing."
        case "extra_forbidden":
            return "is not a field that a manifest has here. See docs/apps.md for the fields."
        case "value_error":
            return f"{detail['ctx']['error']}."
        case _:
            message = detail["msg"]
            return f"expected: {message[0].lower()}{message[1:]}{shown}."


def _known_part(location: Location, lines: dict[Location, int]) -> Location:
    """The longest leading part of a pydantic location that stands in the file (unions and validators add steps of their own)."""
    for end in range(len(location), 0, -1):
        if location[:end] in lines:
            return location[:end]
    return ()


def _line_numbers(node: Any, location: Location = ()) -> dict[Location, int]:
    lines = {location: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*location, key.value)
            lines.update(_line_numbers(value, here))
            lines[here] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines.update(_line_numbers(value, (*location, index)))
    return lines
