"""Standard input, output and error as a command needs them, whatever they are connected to, and the signals that end
it.
"""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from packhorse.domain.errors import PackhorseError

READER_GONE = 128 + signal.SIGPIPE  # what a shell says of any other program whose reader has gone


class OutputFailed(PackhorseError):
    """What was asked for could not be written where it was to go."""

    code = "output_failed"
    exit_code = 74  # EX_IOERR


class Stopped(SystemExit):
    """A signal asked us to end."""


class Sink(io.RawIOBase):
    """Writes to a file descriptor.

    A failure is an OutputFailed that names ``what``, once; from then on what is written is dropped, so that
    whoever empties a buffer at the end does not fail again. A pipe whose reader has gone ends the program.

    With ``matters`` False nothing fails: there is nowhere to say so.
    """

    def __init__(self, descriptor: int, what: str, *, matters: bool = True) -> None:
        self._descriptor = descriptor
        self._what = what
        self._matters = matters
        self._failed = False

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: object) -> int:
        piece = memoryview(data).cast("B")  # type: ignore[arg-type]
        while not self._failed:
            try:
                return os.write(self._descriptor, piece)
            except BlockingIOError:  # whoever shares it with us has made it so
                select.select([], [self._descriptor], [])
            except OSError as error:
                self._failed = True
                if self._matters and error.errno == errno.EPIPE:
                    raise SystemExit(READER_GONE) from None
                if self._matters:
                    raise OutputFailed(f"{self._what} cannot be written: {error.strerror}.") from None
        return len(piece)


def end_if_nobody_reads(stream: TextIO) -> None:
    """Ends the program when ``stream`` is a pipe whose reader has gone, which else only the next byte would tell."""
    asked = select.poll()
    asked.register(stream.fileno(), 0)
    if any(event & select.POLLERR for _, event in asked.poll(0)):
        raise SystemExit(READER_GONE)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Replaces stdout and stderr by ones that cannot fail in a way that nobody is told of; those that are replaced
    already stay.
    """
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        yield
        return
    _occupy()
    before = sys.stdin, sys.stdout, sys.stderr
    out = _text(Sink(1, "The output"), sys.stdout)
    err = _text(Sink(2, "The output", matters=False), sys.stderr, at_once=True)
    sys.stdin, sys.stdout, sys.stderr = sys.stdin or open(0, closefd=False), out, err  # noqa: SIM115
    try:
        yield
    finally:
        try:
            out.flush()
        finally:
            sys.stdin, sys.stdout, sys.stderr = before
            signal.signal(
                signal.SIGINT, signal.SIG_DFL
            )  # nothing is left that must end in order, and Python would tell where it was


def _occupy() -> None:
    """A descriptor that is closed would go to the next file that is opened, and what is printed into it."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # to write to what is open for reading is the error that a closed one would give
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)


def _text(sink: Sink, instead_of: TextIO | None, *, at_once: bool = False) -> TextIO:
    encoding = "utf-8" if instead_of is None else instead_of.encoding
    buffer = io.BufferedWriter(sink)
    # a character that the terminal's encoding has not is an escape, not an error
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=at_once or sink.isatty())


@contextmanager
def signals_end_it() -> Iterator[None]:
    """SIGTERM and SIGHUP end what goes on in order, as Ctrl-C does; one that was ignored (nohup) stays so."""
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in numbers:
            if signal.getsignal(number) is _stop:
                signal.signal(number, signal.SIG_DFL)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(128 + number)
