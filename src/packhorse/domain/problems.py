"""Turns what pydantic finds into problems in the user's terms: the field as it was written, what was expected, what was
found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from packhorse.domain.errors import InvalidRequest, Problem
from packhorse.domain.numbers import plain_number, shown

Location = tuple[int | str, ...]
Model = TypeVar("Model", bound=BaseModel)

MAX_PROBLEMS = 100

_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of at most 64 bits",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_unicode": "text that is valid Unicode",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping from names to values",
    "mapping_type": "a mapping from names to values",
    "model_type": "a mapping from names to values",
    "model_attributes_type": "a mapping from names to values",
    "path_type": "a path",
    "none_required": "nothing",
}
_PATTERNS = {
    r"^[A-Za-z][A-Za-z0-9_]*$": "a name of letters, digits and '_' that begins with a letter",
    r"^[a-z][a-z0-9_-]{0,63}$": "a name of small letters, digits, '-' and '_', at most 64, that begins with a letter",
    r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$": "a version of letters, digits, '.', '_', '+' and '-', at most 64",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$": "a name of letters, digits, '_', '.' and '-', at most 100",
}
_BOUNDS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def validated(
    model: type[Model],
    document: Any,
    message: str,
    where: str = "",
    kind: str = "field",
    refusal: type[InvalidRequest] = InvalidRequest,
) -> Model:
    """``document`` as a ``model``; or a refusal with ``message`` and every problem, located from ``where`` on."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise refusal(message, problems=problems_of(error, where, kind, document)) from None


def problems_of(error: ValidationError, where: str = "", kind: str = "field", document: Any = None) -> list[Problem]:
    """What pydantic found, as sentences: ``where, key 'server.port': expected ... (found: ...)``."""
    found = located(error.errors(include_url=False), kind, document)[:MAX_PROBLEMS]
    return [
        Problem(", ".join(part for part in (where, f"{kind} '{dotted(field)}'" if field else "") if part), what)
        for field, what in found
    ]


def located(details: Sequence[Any], kind: str, document: Any) -> list[tuple[Location, str]]:
    """(where in the document, what is wrong there), each place once.

    pydantic reports each branch of a union, and adds steps of its own to the location: those that are not in
    ``document`` are dropped.
    """
    groups: dict[Location, list[Any]] = {}
    for detail in details[: 10 * MAX_PROBLEMS]:
        groups.setdefault(_in_document(detail, document), []).append(detail)
    # that a list is no text, say, is a branch of a union that another one, which looked inside, knows better
    inside = {field[:end] for field in groups for end in range(len(field))}
    found: dict[Location, str] = {}
    for field, group in groups.items():
        if field in inside and all(detail["type"].endswith("_type") for detail in group):
            continue
        place, what = _check_across_fields(field, _sentence(group, kind), document)
        found.setdefault(place, what)
    return list(found.items())


def dotted(field: Location) -> str:
    """``('command', 0)`` as ``command.0``."""
    return ".".join(str(step) for step in field)


def _in_document(detail: Any, document: Any) -> Location:
    if document is None:
        return tuple(detail["loc"])
    steps: list[int | str] = []
    here = document
    for step in detail["loc"]:
        is_inside = (
            step in here
            if isinstance(here, Mapping)
            else isinstance(here, list) and isinstance(step, int) and step < len(here)
        )
        if is_inside:
            steps.append(step)
            here = here[step]
    if detail["type"] == "missing":
        steps.append(detail["loc"][-1])
    return tuple(steps)


def _check_across_fields(field: Location, what: str, document: Any) -> tuple[Location, str]:
    """A check of a whole document names the field that it means, and a colon."""
    named, colon, rest = what.partition(": ")
    if not field and colon and " " not in named:
        steps = tuple(named.split("."))
        if _in_document({"loc": steps, "type": ""}, document if isinstance(document, Mapping) else {}) == steps:
            return steps, rest
    return field, what


def _sentence(group: Sequence[Any], kind: str) -> str:
    first = group[0]
    given = first.get("input")
    for detail in group:
        if detail["type"] == "value_error":
            return f"{detail['ctx']['error']}."
    match first["type"]:
        case "missing":
            return "is required and missing."
        case "extra_forbidden":
            return f"is not a {kind} that is known here."
        case _:
            expected = list(dict.fromkeys(_expected(detail) for detail in group))
            found = plain_number(given) if first["type"] in _BOUNDS and isinstance(given, int | float) else shown(given)
            if first["type"] in ("too_short", "too_long"):
                found = f"{len(given):,}" if given else "none"
            return f"expected {' or '.join(expected)} (found: {found})."


def _expected(detail: Any) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "string_type":
        return "text in quotes" if isinstance(detail.get("input"), bool | int | float) else "text"
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        bound = context[key]
        return f"a number {words} {plain_number(bound) if isinstance(bound, int | float) else bound}"
    match kind:
        case "enum" | "literal_error":
            return f"{context['expected']}"
        case "string_pattern_mismatch":
            return _PATTERNS.get(context["pattern"]) or f"text of the pattern {context['pattern']}"
        case "string_too_long":
            return f"text of at most {context['max_length']:,} characters"
        case "string_too_short":
            return f"text of at least {context['min_length']:,} characters"
        case "too_short":
            return f"at least {context['min_length']:,} entries" if context["min_length"] > 1 else "at least one entry"
        case "too_long":
            return f"at most {context['max_length']:,} entries"
        case _:
            message = str(detail["msg"]).removeprefix("Input should be ")
            return f"{message[0].lower()}{message[1:]}"
