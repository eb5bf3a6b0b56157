"""The key of a task: two of one user with the same key leave the same at a site. Pure.

A key is a digest over named parts. What all tasks of a step have in common is digested once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from packhorse.domain.text import kept_json

#: Name → what it is, as JSON.
Parts = Mapping[str, Any]

VALUE = "value "
"""The name of a value's part begins so."""
INPUT = "input "
"""That of an input; its part is [name of the file, digest of its content]."""

_FORMAT = "packhorse key 1"  # another where the same parts are to give other keys
_ABSENT = object()
_LONG = 60


class KeyMaker:
    """Makes the keys of tasks of ``user`` at ``site`` that have ``common`` parts. Keys of users are never the same;
    None is for what is nobody's own.
    """

    def __init__(self, user: str | None, site: str, common: Parts) -> None:
        self._begin = hashlib.sha256(f"{kept_json([_FORMAT, user, site, _sorted(common)])}\n".encode())

    def key(self, own: Parts) -> str:
        """The key of a task with ``own`` parts: 64 hexadecimal digits."""
        digest = self._begin.copy()
        digest.update(kept_json(_sorted(own)).encode())
        return digest.hexdigest()


def _sorted(parts: Parts) -> list[tuple[str, Any]]:
    return sorted(parts.items())


def content(name: str, digest: str) -> list[str]:
    """The part of an input: programs look at the names of files, so that the last part of its path counts."""
    return [name.rstrip("/").rpartition("/")[2], digest]


def differing(now: Parts, before: Parts) -> list[str]:
    """The names of the parts in which two tasks differ."""
    names = sorted({*now, *before})
    return [name for name in names if _json(now.get(name, _ABSENT)) != _json(before.get(name, _ABSENT))]


def differences(now: Parts, before: Parts) -> Iterator[str]:
    """What differs between a task and an earlier one, in words, a part each."""
    for name in differing(now, before):
        new, old = now.get(name, _ABSENT), before.get(name, _ABSENT)
        if name.startswith(VALUE):
            yield f"the value of '{name.removeprefix(VALUE)}' ({_shown(new)}; it was {_shown(old)})"
        elif name.startswith(INPUT):
            yield _of_input(name.removeprefix(INPUT), new, old)
        elif _is_short(new) and _is_short(old):
            yield f"the {name} ({_shown(new)}; it was {_shown(old)})"
        else:
            yield f"the {name}"


def _of_input(name: str, new: Any, old: Any) -> str:
    if new is _ABSENT or old is _ABSENT:
        return f"the input '{name}' ({'there is none' if new is _ABSENT else 'there was none'})"
    if new[1] == old[1]:
        return f"the file name of the input '{name}' ({new[0]}; it was {old[0]})"
    return f"the content of the input '{name}'"


def _json(value: Any) -> str | None:
    return None if value is _ABSENT else kept_json(value)


def _is_short(value: Any) -> bool:
    return value is _ABSENT or not isinstance(value, dict | list | tuple)


def _shown(value: Any) -> str:
    if value is _ABSENT or value is None:
        return "none"
    text = kept_json(value) if not isinstance(value, str) else value
    return text if len(text) <= _LONG else f"{text[: _LONG - 3]}..."
