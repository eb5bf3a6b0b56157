"""Patterns in output paths, held against the C library's own fnmatch(3) and glob(7)."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from packhorse.agent.slot.outputs.wildcards import compiled, expand, has_wildcard

_LIBC = ctypes.CDLL(None)
_PATHNAME_PERIOD = 1 | 4  # FNM_PATHNAME | FNM_PERIOD of <fnmatch.h>


@given(st.text("ab.*?[]!^-\\", min_size=1, max_size=8), st.text("ab.]!^-\\[", min_size=1, max_size=5))
@example("[[:alpha:]]*", "ab")
@example("[!]a]", "b")
@example("[a", "[a")
@example("\\*", "*")
def test_as_the_c_library_has_them(pattern: str, name: str) -> None:
    assume("[." not in pattern and pattern[-1] not in "\\-")  # collating symbols; what POSIX leaves open at the end
    wanted = _LIBC.fnmatch(pattern.encode(), name.encode(), _PATHNAME_PERIOD) == 0
    assert bool(compiled(pattern).match(name)) is wanted


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*.txt", ["a.txt", "café.txt"]),
        (".*", [".hidden.txt"]),
        ("caf?.txt", ["café.txt"]),
        ("*/*.txt", ["d/x.txt"]),
        ("**", ["a.txt", "café.txt", "d", "new\nline", "odd\udce9"]),
        ("./d//x.*", ["d/x.txt"]),
        ("d*/", ["d"]),
        ("a*/", []),
        ("odd?", ["odd\udce9"]),
        ("new?line", ["new\nline"]),
        ("a.txt/*", []),
        ("\\d/x.txt", ["d/x.txt"]),
        ("[[:lower:]]", ["d"]),
        ("[!d]*", ["a.txt", "café.txt", "new\nline", "odd\udce9"]),
    ],
)
def test_paths(tmp_path: Path, pattern: str, wanted: list[str]) -> None:
    for name in ("a.txt", ".hidden.txt", "café.txt", "d/x.txt", "odd\udce9", "new\nline"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def names(path: str) -> list[str] | None:
        folder = tmp_path / path
        return [entry.name for entry in folder.iterdir()] if folder.is_dir() else None

    assert expand(pattern, names, lambda path: (tmp_path / path).exists()) == wanted


def test_an_escaped_star_is_no_wildcard() -> None:
    assert not has_wildcard("a\\*") and has_wildcard("a\\\\*") and has_wildcard("[a]")
