"""How the command line speaks: tables and sentences for people, JSON for programs, refusals on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table

from packhorse.domain.errors import PackhorseError
from packhorse.domain.text import dumps

_WIDE = 200  # where nobody looks, tables are not folded
out = Console(soft_wrap=True, width=None if sys.stdout.isatty() else _WIDE)
err = Console(stderr=True, soft_wrap=True)

INTERNAL_ERROR = 70  # EX_SOFTWARE


def report(error: Exception, *, as_json: bool) -> int:
    """Prints a refusal and returns the exit code. Anything that is not a refusal is our own fault, and says how to tell us."""
    if isinstance(error, PackhorseError):
        refusal = error
    elif isinstance(error, ValidationError):
        details = "; ".join(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()[:10])
        refusal = PackhorseError(f"The request is not valid: {details}.")
    elif isinstance(error, OSError) and error.filename:
        refusal = PackhorseError(f"{error.filename}: {error.strerror}.")
    else:
        message = f"Packhorse failed: {type(error).__name__}: {error}."
        refusal = PackhorseError(message, hint="This is a bug. Set PACKHORSE_DEBUG=1 to see where, and please report it.")
        refusal.exit_code = INTERNAL_ERROR
    if as_json:
        problems = [{"where": problem.where, "what": problem.what, "hint": problem.hint} for problem in refusal.problems]
        print(dumps({"error": {"code": refusal.code, "message": refusal.message, "hint": refusal.hint, "problems": problems}}))
    else:
        err.print(str(refusal), style="red", markup=False, highlight=False)
    return refusal.exit_code


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
    """A table without lines, easy to read and to cut."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell).replace("[", "\\[") for cell in row))
    out.print(table)


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Names and values, one a line; those without a value are left out."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        if value not in (None, ""):
            out.print(f"{name:<{width}}  {value}", markup=False, highlight=False)


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


def is_terminal() -> bool:
    """Whether a person watches stderr."""
    return sys.stderr.isatty()
