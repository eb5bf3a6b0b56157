"""What the store and every door can hold: the one place that decides it.

Text is Unicode without NUL: PostgreSQL takes neither NUL nor half of a surrogate pair, SQLite and UTF-8 not the latter.
Numbers are those
that every reader of JSON takes (RFC 8259): no NaN, no infinity, nothing beyond a double. Two policies follow. What a
user asks for is
refused, with its place (``text_problem``, ``value_problem``). What the world reports is made holdable (``holdable``,
``holdable_value``).

File names are bytes. In Python a byte of a name that is not UTF-8 is a lone surrogate from U+DC80 to U+DCFF (PEP 383).
JSON that we
keep for ourselves has it as an escape (``kept_json``), a column of text as ``\\xNN`` (``name_as_text``); others see
U+FFFD.
``agent/text.py`` has the rules for results once more, for the agent imports nothing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

MAX_DEPTH = 100
_MOST = 1.7976931348623157e308
_LARGEST = int(_MOST)
_WORD = 1 << 62
_LONE = "holds a lone surrogate, which is no character."
_ODD = re.compile("[\0\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE = re.compile(r"\\ud[89a-f]")  # in JSON as json writes it
_MANY_DIGITS = re.compile(r"[0-9]{309}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_LITERAL = re.compile(r"\\(?=x(?:5c|[89a-f][0-9a-f]))")  # a backslash that would read as one of our escapes
_ESCAPE = re.compile(r"\\x(5c|[89a-f][0-9a-f])")
_BYTE = re.compile("[\udc80-\udcff]")


class JsonText(str):
    """A value that is JSON already, and is sent as it is: ASCII, as ``dumps`` writes it."""

    __slots__ = ()


class NotJson(ValueError):
    """A text is no JSON; the message says where and why, as part of a sentence."""


class _Constant(float):
    """NaN or Infinity as they stood in a text, which JSON does not have."""


class _Twice(dict[str, Any]):
    """An object that has ``key`` more than once."""

    key = ""


# --- text ------------------------------------------------------------


def text_problem(text: str) -> str | None:
    """Why ``text`` cannot be held, as the end of a sentence about it; None when it can."""
    if text.isascii():
        return None if "\0" not in text else "holds a NUL character"
    found = _ODD.search(text)
    return (
        None
        if found is None
        else "holds a NUL character"
        if found[0] == "\0"
        else "holds a lone surrogate or a byte that is not UTF-8"
    )


def argument_problem(value: Any, *, names_a_file: bool = False) -> str | None:
    """Why ``value`` cannot be that of a parameter, as a sentence without its subject.

    A file's name may be any bytes but NUL.
    """
    if isinstance(value, str):
        if "\0" in value:
            return "contains a NUL byte, which no command can be given."
        if not value.isascii() and _SURROGATE.search(value if not names_a_file else _BYTE.sub("", value)):
            byte = _BYTE.search(value)
            return (
                f"is not UTF-8 text: it has the byte 0x{ord(byte[0]) - 0xDC00:02x}. Save it as UTF-8."
                if byte
                else _LONE
            )
    elif isinstance(value, float) and not -_MOST <= value <= _MOST:
        return f"is no number that can be kept: {float(value)!r}."
    elif isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        return "is beyond the numbers that can be kept (1.8e308)."
    return None


def holdable(text: str) -> str:
    """``text`` with U+FFFD for what cannot be held."""
    if text.isascii():
        return text.replace("\0", "\ufffd")
    return _ODD.sub("\ufffd", text)


# --- values of JSON ------------------------------------------------------------


def value_problem(value: Any, place: str = "$") -> str | None:
    """What of a JSON value cannot be held, as a sentence without its full stop:

    ``$.growth is NaN, which JSON does not have``.
    """
    return _problem(value, place, MAX_DEPTH)


def is_plain(value: Any) -> bool:
    """Whether a JSON value can certainly be held, found out quickly: most results are small objects of plain words and
    numbers.

    False says nothing: ``value_problem`` tells.
    """
    if isinstance(value, dict):
        return all(key.isascii() and "\0" not in key for key in value) and all(map(_is_plain_item, value.values()))
    return _is_plain_item(value)


def _is_plain_item(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        return value.isascii() and "\0" not in value
    return (
        value is None
        or kind is bool
        or (kind is float and -_MOST <= value <= _MOST)
        or (kind is int and -_WORD <= value <= _WORD)
    )


def _problem(value: Any, place: str, depth: int) -> str | None:
    if value is None or value is True or value is False:
        return None
    if isinstance(value, str):
        why = text_problem(value)
        return why and f"{place} {why}"
    if isinstance(value, int):
        return (
            None
            if -_LARGEST <= value <= _LARGEST
            else f"{place} is beyond the numbers that JSON's readers take (1.8e308)"
        )
    if isinstance(value, float):
        return _number_problem(value, place)
    if not isinstance(value, dict | list | tuple):
        return f"{place} is no JSON value"
    if depth == 0:
        return f"it is nested more than {MAX_DEPTH} levels deep"
    if not isinstance(value, dict):
        return next(
            (why for index, item in enumerate(value) if (why := _problem(item, f"{place}[{index}]", depth - 1))), None
        )
    if isinstance(value, _Twice):
        return f"{_below(place, value.key)} is there twice"
    for key, item in value.items():
        if not isinstance(key, str) or (why := text_problem(key)):
            return f"a key of {place} {'is no text' if not isinstance(key, str) else why}"
        if found := _problem(item, _below(place, key), depth - 1):
            return found
    return None


def _number_problem(value: float, place: str) -> str | None:
    if -_MOST <= value <= _MOST:  # false of NaN
        return None
    name = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, _Constant) or value != value:
        return f"{place} is {name}, which JSON does not have"
    return f"{place} is {name}, or beyond the numbers that JSON's readers take (1.8e308)"


def _below(place: str, key: str) -> str:
    return (
        f"{place}.{key}"
        if _NAME.match(key)
        else f"{place}[{json.dumps(key[:60], ensure_ascii=bool(_ODD.search(key)))}]"
    )


def _constant(name: str) -> float:
    return _Constant(name)


def _integer(text: str) -> int | float:
    """As ``int``, but of thousands of digits an infinity: Python refuses to read those."""
    try:
        return int(text)
    except ValueError:
        return float("inf") if text[0] != "-" else float("-inf")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    twice = _Twice(found)
    seen: set[str] = set()
    twice.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return twice


_decoder = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_object)
_patient = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_object, parse_int=_integer)


def parse_json(data: str | bytes) -> Any:
    """JSON of somebody else's as a value, which may still hold what ``value_problem`` tells of. Raises NotJson."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotJson(f"byte {error.start + 1} is not UTF-8") from None
    try:
        try:
            return _decoder.decode(text)
        except json.JSONDecodeError as error:
            raise NotJson(holdable(str(error))) from None
        except ValueError:
            return _patient.decode(text)
    except RecursionError:
        raise NotJson(f"it is nested more than {MAX_DEPTH} levels deep") from None


def holdable_value(value: Any) -> Any:
    """A JSON value with what can be held in place of what cannot:

    U+FFFD for characters, null for numbers, … for what is nested deeper.
    """
    return _held(value, holdable)


def _held(value: Any, held: Callable[[str], str], depth: int = 2 * MAX_DEPTH) -> Any:
    """To twice the depth that a result may have, for that is shown within other things."""
    if isinstance(value, str):
        return held(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -_LARGEST <= value <= _LARGEST else None
    if isinstance(value, float):
        return value if -_MOST <= value <= _MOST else None
    if isinstance(value, dict | list | tuple) and depth == 0:
        return "…"
    if isinstance(value, dict):
        return {held(str(key)): _held(item, held, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_held(item, held, depth - 1) for item in value]
    return held(str(value))


def _without_surrogates(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)


_keeper = json.JSONEncoder(allow_nan=False, separators=(",", ":"))

# --- JSON that leaves, and JSON that stays ------------------------------------------------------------


def dumps(value: Any, *, indent: int | None = None) -> str:
    """JSON for others, as RFC 8259 has it: lone surrogates become U+FFFD, numbers that are none null.

    ASCII: no encoding can spoil it.
    """
    encode = _keeper.encode if indent is None else json.JSONEncoder(allow_nan=False, indent=indent).encode
    try:
        text = encode(value)
        if not _may_be_odd(text):
            return text
    except (ValueError, TypeError, RecursionError):
        pass
    return encode(_held(value, _without_surrogates))


def kept_json(value: Any) -> str:
    """JSON for our own store and spool:

    ASCII, in which bytes of file names that are not UTF-8 are kept as escapes of lone surrogates.

    Raises ValueError for a number that JSON does not have, TypeError for what is no JSON value.
    """
    return _keeper.encode(value)


def shown_json(text: str) -> Any:
    """The value of a ``kept_json`` as it may leave."""
    value = json.loads(text)
    return _held(value, _without_surrogates) if _may_be_odd(text) else value


def shown_text(text: str) -> str:
    """The JSON of a ``kept_json`` as it may leave, for whoever puts it into a larger text."""
    return dumps(shown_json(text)) if _may_be_odd(text) or not text.isascii() else text


def _may_be_odd(text: str) -> bool:
    """Whether JSON of ours may have what others cannot hold; cheap, for it is asked of every row of every listing."""
    return ("\\u" in text and _SURROGATE_ESCAPE.search(text) is not None) or (
        len(text) > 308 and _MANY_DIGITS.search(text) is not None
    )


# --- names of files ------------------------------------------------------------


def is_name(text: str) -> bool:
    """Whether ``text`` can name a file: any bytes, but no NUL and no other half of a surrogate pair."""
    return bool(text) and text_problem(_BYTE.sub("", text)) is None


def name_as_text(name: str) -> str:
    """The name of a file as text that a column can hold:

    ``\\xNN`` for a byte that is not UTF-8, all else as it is (``name_from_text``).
    """
    literal = _LITERAL.sub(r"\\x5c", name) if "\\x" in name else name
    return (
        literal if literal.isascii() else holdable(_BYTE.sub(lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", literal))
    )


def name_from_text(text: str) -> str:
    """The name that ``name_as_text`` was given."""
    if "\\x" not in text:
        return text
    return _ESCAPE.sub(lambda escape: "\\" if escape[1] == "5c" else chr(0xDC00 + int(escape[1], 16)), text)


def shown_name(name: str) -> dict[str, str]:
    """The ``path`` of a file for others and, where that does not say it, ``quoted``: its bytes as URLs have them."""
    shown = holdable(name)
    return (
        {"path": shown}
        if shown == name
        else {"path": shown, "quoted": quote(os.fsencode(name) if is_name(name) else shown)}
    )
