"""What a server logs, for people and for programs."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import structlog
from hypothesis import given
from hypothesis import strategies as st

from packhorse.api.errors import log_failure
from packhorse.logs import configure_logs, take_over_logging

ODD = "[red]x[/red] :cross_mark:\x1b[31m\u202e\n2026-01-01 [info] forged"
SHOWN = "[red]x[/red] :cross_mark:\\x1b[31m\\u202e\\n2026-01-01 [info] forged"


@contextmanager
def stderr_of_logs(*, as_json: bool = False) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    with redirect_stderr(io.StringIO()) as stream:
        configure_logs(as_json=as_json)
        take_over_logging(as_json=as_json)
        yield stream
    structlog.reset_defaults()
    root.handlers[:], root.level = before


def test_an_event_is_one_line_whatever_is_in_it() -> None:
    with stderr_of_logs() as stderr:
        log = structlog.get_logger("packhorse.test")
        log.warning("not_fetched", reason=ODD, short="a\x1bb", number=3, path=["\x1b"], nothing=None, empty="")
    line = stderr.getvalue()
    assert line.count("\n") == 1 and "\x1b" not in line
    for words in (f"reason='{SHOWN}'", "short=a\\x1bb", "number=3", "nothing=None", "empty=''"):
        assert words in line


def test_a_traceback_stands_below_its_event_and_nothing_in_it_looks_like_one() -> None:
    with stderr_of_logs() as stderr:
        try:
            raise ValueError(ODD)
        except ValueError:
            structlog.get_logger("packhorse.test").exception("failed")
            log_failure("request_failed", path="/x")
    first, *lines = stderr.getvalue().splitlines()
    assert "failed" in first and "[error" in first
    assert ["request_failed" in line for line in lines if not line.startswith("    ")] == [True]
    assert lines.count("    Traceback (most recent call last):") == 2
    assert "\x1b" not in stderr.getvalue()


_TOLD = """
import sys
import {first}
from packhorse.logs import configure_logs
import structlog
configure_logs()
try:
    raise ValueError("odd")
except ValueError:
    structlog.get_logger("packhorse.test").exception("failed", timestamp="now")
import rich.cells
print("rich.console" in sys.modules)
"""


def test_in_the_command_line_structlog_is_imported_without_rich_and_says_the_same() -> None:
    with_rich, without = (
        subprocess.run(
            [sys.executable, "-c", _TOLD.format(first=first)], capture_output=True, text=True, check=True, timeout=60
        )
        for first in ("rich.console", "packhorse.cli.streams")
    )
    assert (with_rich.stdout, without.stdout) == ("True\n", "False\n")
    assert [line for line in with_rich.stderr.splitlines() if "failed" not in line] == [
        line for line in without.stderr.splitlines() if "failed" not in line
    ]
    assert "ValueError: odd" in without.stderr and "[error" in without.stderr


@given(st.text(st.characters()), st.text(st.characters()))
def test_no_text_acts_on_a_terminal(text: str, other: str) -> None:
    with stderr_of_logs() as stderr:
        structlog.get_logger("packhorse.test").warning(text, reason=other, **{f"k{other}": text})
        logging.getLogger("asyncssh").warning("%s", other)
    written = stderr.getvalue().replace("\n", "")
    assert [hex(ord(one)) for one in written if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")] == []
    assert stderr.getvalue().count("\n") == 2


def test_what_libraries_log_looks_the_same() -> None:
    with stderr_of_logs() as stderr:
        logging.getLogger("asyncssh").warning("from %s", ODD)
        logging.getLogger("asyncssh").info("not this")
    assert f"from {SHOWN}" in stderr.getvalue()
    assert stderr.getvalue().count("\n") == 1


def test_json_lines_are_all_json() -> None:
    with stderr_of_logs(as_json=True) as stderr:
        structlog.get_logger("packhorse.test").warning("not_fetched", reason=ODD)
        logging.getLogger("asyncssh").warning("from %s", ODD)
    ours, theirs = map(json.loads, stderr.getvalue().splitlines())
    assert (ours["event"], ours["reason"], theirs["event"], theirs["level"]) == (
        "not_fetched",
        ODD,
        f"from {ODD}",
        "warning",
    )
