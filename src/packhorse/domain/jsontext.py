"""Reads JSON from users: no key twice in one object, and refusals with line and column."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from packhorse.domain.errors import InvalidRequest, Problem, TooLarge
from packhorse.domain.utf8 import utf8_text

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:\n]')


class _Twice(ValueError):
    """An object has a key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


def _patient(text: str) -> int | float:
    """As ``int``, but an infinity where Python refuses to read so many digits."""
    try:
        return int(text)
    except ValueError:
        return math.inf


# Numbers that JSON does not have are read, and then refused where they stand: with the row and the parameter, or with
# the field.
DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=float)
"""For many small documents; ``why_not_json`` says what its errors mean."""
_PATIENT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=float, parse_int=_patient)


def syntax_problem(error: json.JSONDecodeError) -> str:
    """What json found, as a part of a sentence."""
    return "it ends too early" if error.pos >= len(error.doc.rstrip()) else f"{error.msg[0].lower()}{error.msg[1:]}"


def why_not_json(error: Exception, line: int | None = None) -> str:
    """What is wrong with a text that DECODER did not take: ``not JSON (expecting ',' delimiter, line 2, column 5)``.

    ``line`` is that of a text which is one line of a larger one; the caller names it.
    """
    match error:
        case json.JSONDecodeError():
            return (
                f"not JSON ({syntax_problem(error)}, {'' if line is not None else f'line {error.lineno}, '}column"
                f" {error.colno})"
            )
        case _Twice():
            return f"the key '{str(error)[:60]}' is there twice in one object"
        case RecursionError():
            return "not JSON that can be read (it is nested too deeply)"
        case _:
            return "not JSON that can be read (it has a number of too many digits)"


def read_json(data: bytes | str, name: str, limit: int) -> Any:
    """The one JSON document in ``data``, called ``name`` in messages. It may still hold numbers that are not finite.

    Raises TooLarge or InvalidRequest.
    """
    if len(data) > limit:
        raise TooLarge(f"{name} is larger than {limit:,} bytes.")
    if isinstance(data, bytes):
        data = utf8_text(data, name)
    try:
        return _PATIENT.decode(data)
    except _Twice as error:
        problems = [
            Problem(
                f"line {second}, field '{field}'",
                f"is there twice: it is in line {first} already.",
                "Keep one of them.",
            )
            for field, first, second in _twice(data)
        ]
        raise InvalidRequest(f"{name} is ambiguous: {why_not_json(error)}.", problems=problems) from None
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{name} is {why_not_json(error)}.") from None


def _twice(text: str) -> list[tuple[str, int, int]]:
    """(field, line of its first key, line of its second) for the keys that are there twice in a JSON text; the first
    hundred.
    """
    found: list[tuple[str, int, int]] = []
    open_at: list[dict[str, int] | int] = []  # keys of an object with their lines; or how far a list is
    path: list[str] = []
    line, last = 1, ""
    for match in _TOKEN.finditer(text):
        mark = match[0]
        match mark:
            case "\n":
                line += 1
                continue
            case "{" | "[":
                open_at.append({} if mark == "{" else 0)
                path.append("0" if mark == "[" else "")
            case _ if not open_at:
                break  # what comes after the document
            case "}" | "]":
                open_at.pop()
                path.pop()
            case "," if isinstance(index := open_at[-1], int):
                open_at[-1] = index + 1
                path[-1] = str(index + 1)
            case ":" if isinstance(keys := open_at[-1], dict) and last.startswith('"'):
                path[-1] = json.loads(last, strict=False)
                if path[-1] in keys:
                    found.append((".".join(path), keys[path[-1]], line))
                keys.setdefault(path[-1], line)
        last = mark
    return found[:100]
