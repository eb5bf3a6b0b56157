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
_shown: StatusLine | None = None


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


class StatusLine:
    """One line at the bottom, written over as things go on.

    ``show`` needs text of one line that is narrower than the terminal.

    Spaces and a carriage return are all that it needs: so it works on every terminal and in a notebook, and nothing is
    left to be restored when the program is killed.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text = ""

    def show(self, text: str) -> None:
        """``text`` instead of what is there."""
        global _shown
        with _lock:
            rest = max(0, cells(self._text) - cells(text))
            self._write("\r" + text + " " * rest + "\b" * rest)
            self._text = text
            _shown = self

    def clear(self) -> None:
        """Takes the line away, for others to write."""
        if self._text:
            self._write("\r" + " " * cells(self._text) + "\r")

    def again(self) -> None:
        """Shows it again."""
        self._write(self._text)

    def end(self) -> None:
        """What is there stays; whatever comes then is below."""
        global _shown
        with _lock:
            if self._text:
                self._write("\n")
            self._text, _shown = "", None

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
