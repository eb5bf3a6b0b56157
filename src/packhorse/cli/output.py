"""How the command line speaks: tables and sentences for people, JSON for programs, refusals on stderr."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import zip_longest
from operator import le
from typing import Any, TextIO

from pydantic import BaseModel, ValidationError
from pydantic.plugin import _loader as pydantic_plugins
from typer.exceptions import TyperException

from packhorse.cli.streams import OutputFailed
from packhorse.domain.errors import InvalidRequest, PackhorseError
from packhorse.domain.plain import plain_lines
from packhorse.domain.problems import problems_of
from packhorse.domain.text import dumps
from packhorse.terminal import USUAL_WIDTH, cells, has_colours, is_terminal, shown, width, write_line

#: A command has none: to look for them reads what every installed package says of itself.
pydantic_plugins._plugins = {}

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
INTERNAL_ERROR = 70  # EX_SOFTWARE
_GAP = "  "  # between columns
_NARROW = 6  # a column of a table is not made narrower
_WORD = 14  # longer words are broken: it is that of EXECUTOR_ERROR
_STYLES = {"bold": "1", "dim": "2", "red": "31"}


def report(error: Exception, *, as_json: bool) -> int:
    """Prints a refusal and returns the exit code.

    Anything that is not a refusal is our own fault, and says how to tell us.
    """
    if isinstance(error, TyperException):
        return _report_usage(error)
    refusal = _refusal(error)
    if refusal.exit_code == INTERNAL_ERROR and os.environ.get("PACKHORSE_DEBUG"):
        print_lines("".join(traceback.format_exception(error)), file=sys.stderr)
    if not (as_json and _is_printed(refusal)):
        note(f"{refusal.message} {refusal.hint}".rstrip(), style="red")
        for problem in refusal.problems:
            note(f"  - {problem}", style="red")
    return refusal.exit_code


def _is_printed(refusal: PackhorseError) -> bool:
    """Prints it for a program, where that is possible."""
    problems = [{"where": problem.where, "what": problem.what, "hint": problem.hint} for problem in refusal.problems]
    document = {"error": {"code": refusal.code, "message": refusal.message, "hint": refusal.hint, "problems": problems}}
    try:
        print(dumps(document))
        sys.stdout.flush()
    except OutputFailed:
        return False
    return not isinstance(refusal, OutputFailed)


def _refusal(error: Exception) -> PackhorseError:
    if isinstance(error, PackhorseError):
        return error
    if isinstance(error, ValidationError):
        hint = "Are client and server of the same version?"
        return PackhorseError(
            "What the server answered is not understood here.", hint=hint, problems=problems_of(error)
        )
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        return PackhorseError(f"{os.fsdecode(error.filename)}: {error.strerror}.")
    if isinstance(error, OSError) and error.errno in _FULL:
        return OutputFailed(
            f"A file cannot be written: {error.strerror}.", hint="Make room where PACKHORSE_HOME and TMPDIR are."
        )
    if "surrogates not allowed" in str(error) and (
        odd := next((word for word in sys.argv if not _is_text(word)), None)
    ):
        return InvalidRequest(
            f"'{odd}' on the command line is not UTF-8 text.", hint="Only the name of a file may be so."
        )
    message = f"Packhorse failed: {type(error).__name__}: {error}."
    refusal = PackhorseError(message, hint="This is a bug. Set PACKHORSE_DEBUG=1 to see where, and please report it.")
    refusal.exit_code = INTERNAL_ERROR
    return refusal


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _report_usage(error: TyperException) -> int:
    """A command line that is not understood."""
    context = getattr(error, "ctx", None)
    if context is not None and error.message == context.get_help():  # nothing was asked for
        print_lines(error.message, file=sys.stderr)
        return error.exit_code
    if context is not None:
        print_lines(context.get_usage(), file=sys.stderr)
        note(f"Try '{context.command_path} --help' for help.")
        note("")
    note(f"Error: {error.format_message()}")
    return error.exit_code


def say(line: object = "") -> None:
    """One line for people on stdout."""
    print(shown(line, sys.stdout))


def note(line: object = "", *, style: str = "") -> None:
    """One line for people on stderr."""
    write_line(sys.stderr, _styled(shown(line, sys.stderr), style, sys.stderr))


def print_lines(text: object, *, indent: str = "", style: str = "", file: TextIO | None = None) -> None:
    """Lines that others wrote. With ``indent`` none of them can be taken for one of ours."""
    file = file or sys.stdout
    for line in plain_lines(text):
        print(f"{indent}{_styled(line, style, file)}".rstrip(), file=file)


def _styled(text: str, style: str, file: TextIO) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if text and style and has_colours(file) else text


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    print(dumps(as_plain(document), indent=2))


def as_plain(document: Any) -> Any:
    """Views as dicts and lists."""
    if isinstance(document, BaseModel):
        return document.model_dump(mode="json")
    if isinstance(document, list | tuple):
        return [as_plain(item) for item in document]
    if isinstance(document, dict):
        return {str(key): as_plain(value) for key, value in document.items()}
    return document if isinstance(document, str | int | float | bool | None) else str(document)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table without lines, easy to read and to cut: a row is a line, unless a terminal is too narrow for it."""
    table = [["" if cell is None else shown(cell, sys.stdout) for cell in row] for row in (columns, *rows)]
    widths = [max(map(cells, column)) for column in zip(*table, strict=True)]
    if is_terminal(sys.stdout):
        words = [max(cells(word) for cell in column for word in cell.split(" ")) for column in zip(*table, strict=True)]
        fitting = narrowed(widths, words, width(sys.stdout))
        if fitting is None:
            _print_records(table)
            return
        widths = fitting
    for number, row in enumerate(table):
        for line in _row_lines(row, widths):
            print(_styled(line, "" if number else "bold", sys.stdout))


def _row_lines(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    taken = [*map(cells, row)]
    if all(map(le, taken, widths)):
        yield _GAP.join(
            cell + " " * (columns - own) for cell, own, columns in zip(row, taken, widths, strict=True)
        ).rstrip()
        return
    for line in zip_longest(*map(fold, row, widths), fillvalue=""):
        yield _GAP.join(
            cell + " " * (columns - cells(cell)) for cell, columns in zip(line, widths, strict=True)
        ).rstrip()


def narrowed(widths: list[int], words: list[int], available: int) -> list[int] | None:
    """Widths of columns whose longest words are ``words``, the widest made narrower until all fit in ``available``;
    the first stays, as it names what one may copy. Words are broken only where a terminal has the usual width. None
    where too little would be left."""
    floors = [widths[0], *(min(word, _WORD) for word in words[1:])]
    gaps = len(_GAP) * (len(widths) - 1)
    if sum(floors) + gaps > available:
        if available < USUAL_WIDTH:
            return None
        floors = [widths[0], *(min(one, _NARROW) for one in widths[1:])]
    if sum(floors) + gaps > available:
        return None
    level = min(max(widths), available)
    while (
        sum(now := [max(floor, min(one, level)) for floor, one in zip(floors, widths, strict=True)]) + gaps > available
    ):
        level -= 1
    return now


def fold(text: str, columns: int) -> list[str]:
    """``text`` in pieces of at most ``columns``, at spaces where there are some."""
    lines: list[str] = []
    start = 0
    while True:
        end, taken = start, 0
        while end < len(text) and (taken := taken + cells(text[end])) <= columns:
            end += 1
        if end == len(text):
            return [*lines, text[start:]]
        space = text.rfind(" ", start, end + 1)
        cut = space if space > start else max(start + 1, end)
        lines.append(text[start:cut].rstrip(" "))
        start = cut
        while text.startswith(" ", start):
            start += 1


def _print_records(table: list[list[str]]) -> None:
    """A table for a terminal that is too narrow for it: one value a line."""
    header, *rows = table
    if not rows:
        print(_styled(_GAP.join(header), "bold", sys.stdout))
    for number, row in enumerate(rows):
        if number:
            print()
        print_facts(list(zip(header, row, strict=True)))


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Names and values, one a line; those without a value are left out.

    What a value has of lines stands below each other.
    """
    indent = max(cells(shown(name, sys.stdout)) for name, _ in facts)
    for name, value in facts:
        if value not in (None, ""):
            head = shown(name, sys.stdout)
            for line in plain_lines(value):
                print(f"{head}{' ' * (indent - cells(head))}{_GAP}{line}".rstrip())
                head = ""


def moment(at: float | None) -> str:
    """A time as a person reads it."""
    return "" if at is None else datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")


def size(number: float | None) -> str:
    """Bytes as a person reads them."""
    if number is None:
        return ""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """Seconds as a person reads them."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
