"""Checks the rows of a table against an app's parameters; all problems at once, each with its row."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Container, Mapping
from typing import Any

from packhorse.domain.app import Parameter, ParameterType, ParameterValue
from packhorse.domain.errors import Problem
from packhorse.domain.text import argument_problem

MAX_VALUE_BYTES = 64 * 1024
_TRUE = frozenset({"true", "yes", "1", "on"})
_FALSE = frozenset({"false", "no", "0", "off"})

FileCheck = Callable[[str], str | None]
"""Given a path, why it cannot be an input; None when it can."""


def check_row(
    parameters: Mapping[str, Parameter],
    row: Mapping[str, Any],
    where: str,
    check_file: FileCheck,
    *,
    elsewhere: Container[str] = (),
    partial: bool = False,
) -> tuple[dict[str, ParameterValue], list[Problem]]:
    """The typed values of ``row`` (only those given, defaults left out) and what is wrong with it.

    A required parameter may be missing when it is named in ``elsewhere`` (given for all rows), or when the row is ``partial``.
    """
    values: dict[str, ParameterValue] = {}
    problems: list[Problem] = []
    for name, given in row.items():
        parameter = parameters.get(name)
        if parameter is None:
            problems.append(Problem(where, f"unknown parameter '{_short(name)}'.", _suggestion(str(name), parameters)))
            continue
        if given is None or (given == "" and parameter.type is not ParameterType.STRING):
            continue
        value, wrong = _coerce(parameter, given)
        if wrong is None and parameter.type is ParameterType.FILE:
            wrong = check_file(str(value))
        if wrong is None:
            values[name] = value
        else:
            problems.append(Problem(f"{where}, parameter '{name}'", wrong))
    if not partial:
        problems += [
            Problem(where, f"parameter '{name}' is missing.", parameter.help)
            for name, parameter in parameters.items()
            if parameter.required and name not in elsewhere and not _is_given(parameter, row.get(name))
        ]
    return values, problems


def _is_given(parameter: Parameter, value: Any) -> bool:
    return value is not None and (value != "" or parameter.type is ParameterType.STRING)


def _suggestion(name: str, parameters: Mapping[str, Parameter]) -> str:
    close = difflib.get_close_matches(name, parameters, n=1)
    return f"Did you mean '{close[0]}'?" if close else f"The app's parameters: {', '.join(parameters) or 'none'}."


def _coerce(parameter: Parameter, given: Any) -> tuple[ParameterValue, str | None]:
    """(value, None) or (None, what is wrong)."""
    if isinstance(given, str) and len(given) > MAX_VALUE_BYTES // 4 and len(given.encode("utf-8", "replace")) > MAX_VALUE_BYTES:
        return None, f"is {len(given):,} characters long; the limit is {MAX_VALUE_BYTES:,} bytes. Put it into a file and pass that."
    if why := argument_problem(given, names_a_file=parameter.type is ParameterType.FILE):
        return None, why
    match parameter.type:
        case ParameterType.INTEGER:
            value, wrong = _integer(given)
        case ParameterType.NUMBER:
            value, wrong = _number(given)
        case ParameterType.BOOLEAN:
            value, wrong = _boolean(given)
        case _:
            value, wrong = _text(given)
    if wrong is None and parameter.choices and value not in parameter.choices:
        wrong = f"expected one of {', '.join(parameter.choices)}, found {_short(given)!r}."
    if wrong is None and isinstance(value, int | float) and not isinstance(value, bool):
        wrong = _out_of_range(parameter, value)
    return (None, wrong) if wrong else (value, None)


def _text(given: Any) -> tuple[ParameterValue, str | None]:
    if isinstance(given, str):
        return given, None
    if isinstance(given, int | float) and not isinstance(given, bool):
        return str(given), None
    return None, f"expected text, found {_short(given)!r}."


def _integer(given: Any) -> tuple[ParameterValue, str | None]:
    if not isinstance(given, bool):
        try:
            if isinstance(given, str) or given == int(given):
                return int(given), None
        except (ValueError, TypeError, OverflowError):
            pass
    return None, f"expected a whole number, found {_short(given)!r}."


def _number(given: Any) -> tuple[ParameterValue, str | None]:
    if not isinstance(given, bool):
        try:
            value = float(given)
        except (ValueError, TypeError, OverflowError):
            pass
        else:
            if value == value and abs(value) != float("inf"):
                return value, None
    return None, f"expected a number, found {_short(given)!r}."


def _boolean(given: Any) -> tuple[ParameterValue, str | None]:
    text = str(given).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE, None
    return None, f"expected true or false, found {_short(given)!r}."


def _out_of_range(parameter: Parameter, value: float) -> str | None:
    if parameter.minimum is not None and value < parameter.minimum:
        return f"must be at least {parameter.minimum:g}, found {value:g}."
    if parameter.maximum is not None and value > parameter.maximum:
        return f"must be at most {parameter.maximum:g}, found {value:g}."
    return None


def _short(value: Any) -> Any:
    return value if not isinstance(value, str) or len(value) <= 60 else value[:57] + "..."
