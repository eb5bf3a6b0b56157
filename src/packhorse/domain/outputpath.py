r"""Paths of outputs: relative to the work folder, absolute in a container, or patterns. Pure.

A pattern is what TES 1.1 takes from POSIX (shell pattern matching, 2.13): ``*``, ``?`` and ``[…]`` within one part of a
path; a backslash
takes the character after it as it is, in every output path.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

MAX_PART_BYTES = 255
"""What file systems take as one name."""

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL = re.compile(r"[\\*?\[\]]")
_WILDCARD = re.compile(r"[*?\[]")


def is_pattern(path: str) -> bool:
    """Whether ``path`` has a wildcard that no backslash escapes."""
    return _WILDCARD.search(_ESCAPED.sub("", path)) is not None


def plain(path: str) -> str:
    """A path without wildcards as the name of a file: escapes taken off."""
    return _ESCAPED.sub(r"\1", path)


def escaped(text: str) -> str:
    """``text`` within a pattern, so that it matches itself alone."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def has_loose_backslash(path: str) -> bool:
    """Whether it ends with a backslash that has nothing to escape."""
    return "\\" in _ESCAPED.sub("", path)


def output_entry(path: str, *, optional: bool = False) -> dict[str, Any]:
    """An output as a template or a line of docs/spool.md says it; ``path`` as it is declared."""
    if is_pattern(path):
        return {"path": path, "optional": optional, "glob": True}
    return {"path": plain(path), "optional": optional}


def fixed_folder(path: str) -> str:
    """The folder that everything lies in that a declared path names: its parts before the last, and before the first
    with a wildcard.
    """
    parts = path.split("/")[:-1]
    fixed = next((index for index, part in enumerate(parts) if is_pattern(part)), len(parts))
    return plain("/".join(parts[:fixed])) or ("/" if path.startswith("/") else "")


def fixed_text(path: str) -> str:
    """How everything begins that a declared path names: what is before its first wildcard."""
    fixed = re.match(r"(?:\\.|[^\\*?\[])*", path, re.DOTALL)
    return plain(fixed[0]) if fixed else ""


def matches(pattern: str, path: str) -> bool:
    """Whether ``pattern`` may match ``path``.

    Classes like ``[[:digit:]]`` are not looked into: where the file is, they are.
    """
    wanted, given = PurePosixPath(pattern).parts, PurePosixPath(path).parts
    return len(wanted) == len(given) and all(
        "[:" in one or fnmatch.fnmatchcase(other, _ESCAPED.sub(r"[\1]", one))
        for one, other in zip(wanted, given, strict=True)
    )


def matching(pattern: str, paths: Iterable[str]) -> list[str]:
    """Those of ``paths``, or of the folders that they lie in, that ``pattern`` matches, each once."""
    length = len(PurePosixPath(pattern).parts)
    tops = dict.fromkeys("/".join(PurePosixPath(path).parts[:length]) for path in paths)
    return [top for top in tops if matches(pattern, top)]


def normal(path: str) -> str:
    """A path without what it may be written with and does not need: ``./``, ``//``, a ``/`` at its end."""
    return ("/" if path.startswith("/") else "") + "/".join(part for part in path.split("/") if part not in ("", "."))


def kept_as(path: str) -> str:
    """Where an output is kept, relative to the folder of its task's outputs: an absolute one as if that were the
    root.
    """
    return normal(path).lstrip("/")


def below_prefix(path: str, prefix: str) -> str:
    """What is left of a ``path`` that a pattern matched without the ``path_prefix`` of TES 1.1."""
    return normal(path).removeprefix(normal(prefix)).lstrip("/")


def same_output(declared: str, wanted: str) -> bool:
    """Whether somebody who wants ``wanted`` of a task means the output that it declares as ``declared``."""
    if is_pattern(declared):
        return wanted != declared and matches(kept_as(declared), kept_as(wanted))
    return kept_as(wanted) in (kept_as(declared), kept_as(plain(declared)))


def part_problem(path: str) -> str | None:
    """Why ``path`` can be no name of a file anywhere; None when it can."""
    longest = max((len(part.encode("utf-8", "surrogateescape")) for part in path.split("/")), default=0)
    return (
        f"has a part of {longest} bytes; names are at most {MAX_PART_BYTES} long" if longest > MAX_PART_BYTES else None
    )
