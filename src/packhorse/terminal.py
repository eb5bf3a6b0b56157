"""What a person sees with: whether there is a terminal, how wide, whether in colours, and a line that is written
over.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cache
from typing import TextIO

from packhorse.domain.plain import plain

USUAL_WIDTH = 80
_lock = threading.RLock()
_shown: StatusLines | None = None


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody looks at ``stream``."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


def obeys(stream: TextIO | None) -> bool:
    """Whether ``stream`` is a terminal that understands more than lines."""
    return is_terminal(stream) and os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")


def has_colours(stream: TextIO | None) -> bool:
    """Whether what is written to ``stream`` may be coloured: see https://no-color.org."""
    return obeys(stream) and not os.environ.get("NO_COLOR")


def width(stream: TextIO | None) -> int:
    """The columns of the terminal ``stream``: ``COLUMNS``, where that is a number, else what the terminal says."""
    try:
        columns = int(os.environ.get("COLUMNS", ""))
    except ValueError:
        columns = 0
    if columns <= 0 and stream is not None:
        try:
            columns = os.get_terminal_size(stream.fileno()).columns
        except (OSError, ValueError):
            pass
    return columns if columns > 0 else USUAL_WIDTH


def shown(value: object, stream: TextIO | None) -> str:
    """``value`` in one line, as ``plain`` has it and ``stream`` can print it."""
    text = plain(value)
    encoding = getattr(stream, "encoding", None)
    if text.isascii() or not encoding:
        return text
    return text.encode(encoding, "backslashreplace").decode(encoding)


def prints_lines(stream: TextIO | None) -> bool:
    """Whether ``stream`` can print the signs that boxes and lines are drawn with."""
    try:
        "│├○…".encode(getattr(stream, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def cells(text: str) -> int:
    """How many columns ``text``, which is plain, takes."""
    return len(text) if text.isascii() else _cell_len()(text)


@cache
def _cell_len() -> Callable[[str], int]:
    from rich.cells import cell_len  # slow to import, and most text is ASCII

    return cell_len


def write_line(stream: TextIO, line: str) -> None:
    """Writes a line of its own, above a line that is written over."""
    with _lock:
        held = _shown
        if held is not None:
            held.clear()
        stream.write(line + "\n")
        stream.flush()
        if held is not None:
            held.again()


class StatusLines:
    """Lines at the bottom, written over as things go on.

    ``show`` needs lines that are narrower than the terminal.

    For one line, spaces and a carriage return are all that it needs: so it works on every terminal and in a notebook.
    For several the cursor goes up. Nothing is left to be restored when the program is killed.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []

    def show(self, *lines: str) -> None:
        """``lines`` instead of what is there."""
        global _shown
        with _lock:
            if len(lines) == 1 >= len(self._lines):
                rest = max(0, sum(map(cells, self._lines)) - cells(lines[0]))
                self._write("\r" + lines[0] + " " * rest + "\b" * rest)
            else:
                self._write(self._cleared() + "\n".join(lines))
            self._lines = list(lines)
            _shown = self

    def clear(self) -> None:
        """Takes the lines away, for others to write."""
        self._write(self._cleared())

    def again(self) -> None:
        """Shows them again."""
        self._write("\n".join(self._lines))

    def end(self) -> None:
        """What is there stays; whatever comes then is below."""
        global _shown
        with _lock:
            if self._lines:
                self._write("\n")
            self._lines, _shown = [], None

    def _cleared(self) -> str:
        """What takes away what is there."""
        if len(self._lines) < 2:
            return "".join("\r" + " " * cells(line) + "\r" for line in self._lines)
        columns = max(1, width(self._stream))  # a window that was made narrower has folded lines
        rows = sum(max(1, -(-cells(line) // columns)) for line in self._lines)
        return f"\r\x1b[{rows - 1}A\x1b[J" if rows > 1 else "\r\x1b[J"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
