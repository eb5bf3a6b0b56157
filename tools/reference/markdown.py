"""Pieces of Markdown. Pure."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 120
_CODE = re.compile(r"``(.+?)``", re.DOTALL)


def anchor(heading: str) -> str:
    """What a link to a heading has after its #, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def one_line(text: str) -> str:
    """A docstring, or a help text, as one line of a table; the code of reStructuredText becomes that of Markdown."""
    return _CODE.sub(r"`\1`", " ".join(text.split()))


def prose(text: str | None) -> str:
    """A docstring as paragraphs of at most 120 characters a line."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text or ""))
    wrapped = (
        textwrap.fill(one_line(paragraph), WIDTH, break_long_words=False, break_on_hyphens=False)
        for paragraph in paragraphs
    )
    return "\n\n".join(wrapped)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a ``|`` within a cell is none of its borders."""
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |".replace("  |", " |") for line in lines)


def page(title: str, *parts: str) -> str:
    """A page of parts with an empty line between; those without text are left out."""
    return "\n\n".join([f"# {title}", *(part for part in parts if part)]) + "\n"
