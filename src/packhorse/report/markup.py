"""HTML and SVG by small functions. What others wrote is escaped here, and only here."""

from __future__ import annotations

import html
from collections.abc import Iterable

from packhorse.domain.plain import plain, plain_lines

_SVG = frozenset({"circle", "rect", "line", "path"})  # that may be closed at once


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Anything in one line, as text: what a browser would not show, or would act upon, is an escape."""
    if value is None:
        return Markup("")
    return value if isinstance(value, Markup) else Markup(html.escape(plain(value)))


def lines(value: object) -> Markup:
    """Several lines, each as ``text`` has it."""
    return Markup("\n".join(html.escape(line) for line in plain_lines(value)))


def el(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. ``_`` in the name of an attribute is ``-``, and at its end nothing (``class_``); one that is None is
    left out.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name == "meta":
        return Markup(f"<meta{said}>")
    if name in _SVG and not children:
        return Markup(f"<{name}{said}/>")
    return Markup(f"<{name}{said}>{join(children)}</{name}>")


def join(pieces: Iterable[object]) -> Markup:
    """One after another; what is no markup is text, and what is a list, its members."""
    return Markup("".join(join(piece) if isinstance(piece, list | tuple) else text(piece) for piece in pieces))


def _number(value: object) -> object:
    """Coordinates to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


def table(head: Iterable[object], rows: Iterable[Iterable[object]], numbers: Iterable[int] = ()) -> Markup:
    """A table; the columns of ``numbers`` are aligned at their right."""
    right = set(numbers)

    def cells(kind: str, row: Iterable[object]) -> list[Markup]:
        return [el(kind, cell, class_="n" if place in right else None) for place, cell in enumerate(row)]

    body = [el("tr", cells("td", row)) for row in rows]
    return el("div", el("table", el("thead", el("tr", cells("th", head))), el("tbody", body)), class_="scroll")
