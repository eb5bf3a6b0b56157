"""What others wrote, as a person sees it."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.plain import plain, plain_lines

TEXT = st.text(st.characters())  # half surrogate pairs and control characters too


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("[red]x[/red] :cross_mark: https://example.org <b>", "[red]x[/red] :cross_mark: https://example.org <b>"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x9b31m \x7f \x00 \xad", "\\x9b31m \\x7f \\x00 \\xad"),
        ("ab\u202efdp.exe", "ab\\u202efdp.exe"),
        ("a\u2028b\u2029c\u2066d\u200ee\u061cf", "a\\u2028b\\u2029c\\u2066d\\u200ee\\u061cf"),
        ("a\u200bb\ufeffc\u2060d\ufe0f\U000e0041", "a\\u200bb\\ufeffc\\u2060d\\ufe0f\\U000e0041"),
        ("caf\udce9 \ud800", "caf\\xe9 \\ud800"),
        ("数据 e\u0301 ñ עברית 🐎 \\x1b", "数据 e\u0301 ñ עברית 🐎 \\x1b"),
        (17, "17"),
    ],
)
def test_what_is_seen(written: object, seen: str) -> None:
    assert plain(written) == seen


def test_lines() -> None:
    assert plain_lines("a\tb\r\n\n\x1b[2Jc\rd\n") == ["a       b", "", "\\x1b[2Jc\\rd"]
    assert plain_lines("") == []
    assert plain_lines("a\x0bb\x0cc\x85d\u2028e") == ["a\\x0bb\\x0cc\\x85d\\u2028e"], "a newline alone begins a line"


def test_every_character_without_looks_of_its_own_is_an_escape() -> None:
    hidden = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    ]
    assert [hex(ord(one)) for one in hidden if plain(one).isascii() is False or one in plain(one)] == []


@given(TEXT)
def test_nothing_is_left_that_acts_or_hides(text: str) -> None:
    seen = plain(text)
    assert all(unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in seen)
    assert seen.encode().decode() == seen, "a terminal can be sent it"
    assert plain(seen) == seen
    assert all(plain(line) == line for line in plain_lines(text))
