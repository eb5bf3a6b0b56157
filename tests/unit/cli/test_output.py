"""What the command line prints for people: as it was written, in columns, on terminals of any width."""

from __future__ import annotations

import errno
import io
import json
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from packhorse import terminal
from packhorse.cli import output
from packhorse.cli.output import fold, narrowed, note, print_facts, print_lines, print_table, report, say
from packhorse.domain.errors import InvalidRequest, Problem

TEXT = st.text(st.characters())
ODD = ":cross_mark: [red]x[/red] [link=file:///x]y[/link] \x1b[31m\u202e\n12 0x1f 'a' /path"


class Screen(io.StringIO):
    """A terminal, or none, that remembers."""

    def __init__(self, *, terminal: bool = False, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal, self._encoding = terminal, encoding

    def isatty(self) -> bool:
        return self._terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


@contextmanager
def screen(*, columns: int | None = None, encoding: str = "utf-8", **environment: str) -> Iterator[Screen]:
    with pytest.MonkeyPatch.context() as patch:
        seen = Screen(terminal=columns is not None, encoding=encoding)
        patch.setattr("sys.stdout", seen)
        patch.setattr("sys.stderr", seen)
        for name in ("TERM", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
            patch.delenv(name, raising=False)
        for name, value in {"COLUMNS": str(columns or ""), **environment}.items():
            patch.setenv(name, value)
        yield seen


def test_text_of_users_is_not_markup() -> None:
    seen_as = ":cross_mark: [red]x[/red] [link=file:///x]y[/link] \\x1b[31m\\u202e\\n12 0x1f 'a' /path"
    with screen(columns=200, TERM="xterm-256color") as seen:
        say(ODD)
        note(ODD)
        print_table(["x"], [(ODD,)])
        print_facts([("name", ODD)])
        print_lines(ODD, indent="  ")
    first, second = seen_as.split("\\n")
    assert seen.getvalue() == (
        f"{seen_as}\n{seen_as}\n\x1b[1mx\x1b[0m\n{seen_as}\nname  {first}\n      {second}\n  {first}\n  {second}\n"
    )


@given(TEXT, TEXT, st.integers(1, 120) | st.none())
def test_whatever_is_printed_holds_no_control_character(one: str, other: str, columns: int | None) -> None:
    with screen(columns=columns, TERM="dumb") as seen:
        say(one)
        note(other)
        print_table(["a", one], [(one, other), (None, one)])
        print_facts([(one, other), ("b", one)])
        print_lines(other, indent=" ")
        report(InvalidRequest(one, hint=other, problems=[Problem(one, other)]), as_json=False)
    text = seen.getvalue().replace("\n", "")
    assert [hex(ord(one)) for one in text if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")] == []


def test_no_value_can_look_like_a_line_of_ours() -> None:
    with screen() as seen:
        print_facts([("state", "RUNNING\nstate  COMPLETE"), ("because", "x")])
        print_table(["task", "reason"], [("r-1.0", "a\nr-1.1  fine")])
        report(
            InvalidRequest("Run 'a\nRun r-1: fine' is wrong.", problems=[Problem("row 1", "x\n  - row 2: y")]),
            as_json=False,
        )
    assert seen.getvalue().splitlines() == [
        "state    RUNNING",
        "         state  COMPLETE",
        "because  x",
        "task   reason",
        "r-1.0  a\\nr-1.1  fine",
        "Run 'a\\nRun r-1: fine' is wrong.",
        "  - row 1: x\\n  - row 2: y",
    ]


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, False),
        ({}, False),
    ],
)
def test_colours_are_for_terminals_that_have_them(environment: dict[str, str], coloured: bool) -> None:
    with screen(columns=80, **environment) as seen:
        print_table(["a"], [("b",)])
    assert ("\x1b" in seen.getvalue()) is coloured
    with screen(**{**environment, "FORCE_COLOR": "1"}) as seen:
        print_table(["a"], [("b",)])
    assert seen.getvalue() == "a\nb\n", "there is no terminal"


ROWS = [("r-1.0", "数据库 é", "x" * 30), ("r-1.1", "e\u0301\u0301", "y " * 40), ("r-1.2", None, "")]


def test_wide_and_combining_characters_keep_columns_in_line() -> None:
    with screen() as seen:
        print_table(["task", "name", "reason"], ROWS)
    header, *lines = seen.getvalue().splitlines()
    assert len(lines) == 3, "where nobody looks a row is a line"
    assert {
        cell_len(line[: line.index(mark)])
        for line, mark in zip([header, *lines], ("reason", "xxx", "y y"), strict=False)
    } == {17}
    with screen(encoding="ascii") as seen:
        print_table(["task", "name", "reason"], ROWS)
    _, one, two, _ = seen.getvalue().splitlines()
    assert "\\u6570\\u636e\\u5e93" in one and one.index("xxx") == two.index("y y")


@pytest.mark.parametrize("columns", [*range(1, 60), 79, 80, 200, 10_000])
def test_a_table_fits_its_terminal_or_is_a_list_and_nothing_is_lost(columns: int) -> None:
    with screen(columns=columns, TERM="xterm") as seen:
        print_table(["task", "name", "reason"], ROWS)
    text = seen.getvalue()
    for words in ("r-1.0", "r-1.1", "r-1.2"):
        assert words in text
    assert [text.count(character) for character in "数据库é"] == [1, 1, 1, 1]
    assert (text.count("x"), text.count("y")) == (30, 40)
    if not text.startswith("\x1b[1mtask"):
        assert columns < 40
        return  # a list of values; the terminal folds what is too long
    widest = max(cell_len(line.removeprefix("\x1b[1m").removesuffix("\x1b[0m")) for line in text.splitlines())
    assert widest <= columns


@pytest.mark.parametrize("columns", ["0", "-1", "many", "", "٣٠"])
def test_a_width_that_is_none_is_the_usual_one(columns: str) -> None:
    with screen(columns=1, COLUMNS=columns) as seen:
        assert terminal.width(seen) == (30 if columns == "٣٠" else 80)


def test_a_table_without_rows_is_its_header() -> None:
    for columns in (None, 1, 80):
        with screen(columns=columns) as seen:
            print_table(["a", "b"], [])
        assert seen.getvalue() == "a  b\n"


@given(st.lists(st.integers(0, 300), min_size=1, max_size=10), st.integers(0, 300))
def test_columns_are_made_narrower_only_as_far_as_needed(widths: list[int], available: int) -> None:
    narrow = narrowed(widths, widths, available)
    if narrow is None:
        return
    assert sum(narrow) + 2 * (len(widths) - 1) <= available
    assert narrow[0] == widths[0]
    assert all(new <= old and new >= min(old, 6) for new, old in zip(narrow, widths, strict=True))
    if sum(widths) + 2 * (len(widths) - 1) <= available:
        assert narrow == widths


@given(st.text(st.sampled_from("ab é数🐎\u0301")), st.integers(2, 20))
def test_folding_loses_nothing_but_spaces(text: str, columns: int) -> None:
    lines = fold(text, columns)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(cell_len(line) <= columns for line in lines)


def test_a_refusal_for_a_program_is_one_json_document() -> None:
    with screen() as seen:
        assert report(InvalidRequest(ODD), as_json=True) == 2
    assert json.loads(seen.getvalue())["error"]["message"] == ODD


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 74, "A file cannot be written: No space left on device."),
        (OSError(errno.EACCES, "Permission denied", "/x\x1b[31m"), 2, "/x\\x1b[31m: Permission denied."),
        (OSError(errno.EACCES, "Permission denied", b"/caf\xe9"), 2, "/caf\ufffd: Permission denied."),
        (RuntimeError("x\ny"), 70, "Packhorse failed: RuntimeError: x\\ny. This is a bug."),
    ],
)
def test_other_errors_are_a_sentence(error: Exception, code: int, words: str) -> None:
    with screen() as seen:
        assert report(error, as_json=False) == code
    assert seen.getvalue().startswith(words)
    assert seen.getvalue().count("\n") == 1


def test_a_word_that_is_not_utf_8_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output.sys, "argv", ["packhorse", "show", os.fsdecode(b"caf\xe9")])
    with screen() as seen, pytest.raises(UnicodeEncodeError) as caught:
        "caf\udce9".encode()
    with screen() as seen:
        assert report(caught.value, as_json=False) == 2
    assert seen.getvalue() == "'caf\ufffd' on the command line is not UTF-8 text. Only the name of a file may be so.\n"


def test_where_a_bug_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKHORSE_DEBUG", "1")
    try:
        raise RuntimeError("\x1b[31m")
    except RuntimeError as error:
        with screen() as seen:
            assert report(error, as_json=False) == 70
    assert "Traceback" in seen.getvalue() and "\x1b" not in seen.getvalue()
