"""Checks the rows of a table against an app's parameters; all problems at once, each with its row."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Container, Mapping
from typing import Any

from packhorse.domain.app import Parameter, ParameterType, ParameterValue
from packhorse.domain.errors import Problem

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
    told: set[str] | None = None,
) -> tuple[dict[str, ParameterValue], list[Problem]]:
    """The typed values of ``row`` (only those given, defaults left out) and what is wrong with it.

    A required parameter may be missing when it is named in ``elsewhere`` (given for all rows), or when the row is
    ``partial``; never may it be given as nothing. Unknown names that were ``told`` of are not told again: a wrong
    column is wrong in each row.
    """
    values: dict[str, ParameterValue] = {}
    problems: list[Problem] = []
    for name, given in row.items():
        parameter = parameters.get(name)
        if parameter is None:
            if told is None or name not in told:
                problems.append(
                    Problem(where, f"unknown parameter '{_short(str(name))}'.", _suggestion(str(name), parameters))
                )
            if told is not None:
                told.add(name)
        elif not parameter.is_absent(given):
            try:
                value = parameter.value_of(given)
            except ValueError as error:
                problems.append(Problem(f"{where}, parameter '{name}'", f"{error}."))
                continue
            why = check_file(str(value)) if parameter.type is ParameterType.FILE else None
            if why is None:
                values[name] = value
            else:
                problems.append(Problem(f"{where}, parameter '{name}'", why))
        elif partial and parameter.required:
            problems.append(Problem(where, _required(name, parameter, "empty"), parameter.help))
    if not partial:
        problems += [
            Problem(where, _required(name, parameter, "empty" if name in row else "missing"), parameter.help)
            for name, parameter in parameters.items()
            if name not in values
            and parameter.required
            and name not in elsewhere
            and parameter.is_absent(row.get(name))
        ]
    return values, problems


class Unique:
    """The values of parameters of which no two rows may have the same; ``common`` are given for all rows."""

    def __init__(self, parameters: Mapping[str, Parameter], common: Mapping[str, Any] = {}) -> None:
        self._common = common
        self._rows: dict[str, dict[Any, int]] = {name: {} for name, one in parameters.items() if one.unique}

    def problems(self, values: Mapping[str, Any], number: int, where: str) -> list[Problem]:
        """What is wrong with the values of the row of this number, which is ``where``, seen with those before it."""
        found: list[Problem] = []
        for name, seen in self._rows.items():
            value = values.get(name, self._common.get(name))
            if value is not None and (first := seen.setdefault(value, number)) != number:
                told = f"'{_short(str(value))}' is in row {first} already; no two rows may have the same."
                found.append(Problem(f"{where}, parameter '{name}'", told))
        return found


def _required(name: str, parameter: Parameter, state: str) -> str:
    return f"parameter '{name}' is {state}; it is required, and of type {parameter.type}."


def _suggestion(name: str, parameters: Mapping[str, Parameter]) -> str:
    close = difflib.get_close_matches(name[:200], parameters, n=1)
    return f"Did you mean '{close[0]}'?" if close else f"The app's parameters: {', '.join(parameters) or 'none'}."


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
