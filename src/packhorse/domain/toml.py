"""Writes TOML, of which the standard library only reads: one table of plain values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from packhorse.domain.errors import InvalidRequest

Value = str | int | float | Sequence[str] | Mapping[str, str]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_table(path: Sequence[str], values: Mapping[str, Value]) -> str:
    """``[path]`` and its values, each on a line; a mapping among them becomes a table of its own, after them.

    Raises InvalidRequest for text that UTF-8 cannot hold.
    """
    lines = [f"[{'.'.join(map(_key, path))}]"]
    lines += [f"{_key(name)} = {_value(value)}" for name, value in values.items() if not isinstance(value, Mapping)]
    tables = [toml_table([*path, name], value) for name, value in values.items() if isinstance(value, Mapping)]
    return "\n".join(["\n".join(lines) + "\n", *tables])


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _value(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _string(value)
        case _:
            return f"[{', '.join(map(_string, value))}]"


def _string(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidRequest(f"{text!a} is not valid UTF-8, and the configuration file is.") from None
    # JSON escapes as TOML does, but for one character
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
