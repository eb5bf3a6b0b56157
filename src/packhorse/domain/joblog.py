"""The lines of a job's log as they are kept: in pieces, compressed. Pure."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from packhorse.domain.text import holdable

MAX_LINE = 64 * 1024  # characters; a longer one goes on in the next
_LINES = 1000  # in a piece
_CHARACTERS = 256 * 1024


class LogLine(NamedTuple):
    """One line; ``at_ms`` is milliseconds since the epoch."""

    text: str
    at_ms: int
    is_error: bool = False


class Piece(NamedTuple):
    """Lines that are stored together."""

    lines: int
    data: bytes


def pieces(lines: Iterable[LogLine]) -> Iterator[Piece]:
    """``lines`` in pieces of a bounded size, in order. One line at least is in each."""
    some: list[tuple[str, int, int]] = []
    size = 0
    for line in lines:
        for text in _parts(line.text):
            some.append((text, line.at_ms, int(line.is_error)))
            size += len(text)
            if len(some) >= _LINES or size >= _CHARACTERS:
                yield _piece(some)
                some, size = [], 0
    if some:
        yield _piece(some)


def _parts(text: str) -> Iterator[str]:
    text = holdable(text)
    yield text[:MAX_LINE]
    for start in range(MAX_LINE, len(text), MAX_LINE):
        yield text[start : start + MAX_LINE]


def _piece(some: list[tuple[str, int, int]]) -> Piece:
    return Piece(len(some), zlib.compress(json.dumps(some, separators=(",", ":")).encode(), 1))


def lines_of(data: bytes) -> list[LogLine]:
    """The lines of a piece."""
    return [LogLine(text, at_ms, bool(is_error)) for text, at_ms, is_error in json.loads(zlib.decompress(data))]


def take_lines(data: bytes, *, whole: bool) -> tuple[list[str], int]:
    """(lines in ``data``, how many bytes of it they are). What follows the last end of a line is a line as well where
    it is the ``whole`` rest, or longer than one may be; else it may be still written.
    """
    end = len(data) if whole else data.rfind(b"\n") + 1
    if not end and len(data) >= MAX_LINE:
        end = len(data)
    if not end:
        return [], 0
    text = data[:end].decode("utf-8", "replace")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")], end
