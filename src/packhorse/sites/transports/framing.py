"""What a command at a site printed, told apart from what its login shell printed before and after it.

The command runs between marks that nobody can guess (``sites.script``), on both of its streams. What is between them is
its own, byte for byte; an end mark that is missing means that the end is not known, never that it went well. Pure.
"""

from __future__ import annotations

import os
import re
import secrets

from packhorse.sites.base import CommandResult, Transport
from packhorse.sites.environment import Purpose
from packhorse.sites.script import framed_command

_STDOUT, _STDERR = 1, 2
_NOISE_BYTES = 1 << 16
_END_BYTES = 8
"""An exit code and a point."""
_SIGNALS = range(1, 32)


class Stream:
    """One of a framed command's two streams, as it comes in."""

    def __init__(self, token: str, number: int) -> None:
        self.mark = f"{token}<{number}".encode()
        self._end = re.compile(re.escape(f"{token}>{number}").encode() + rb"(\d{1,3})\.")
        self._end_bytes = len(self.mark) + _END_BYTES
        self._data = bytearray()
        self._size: int | None = None
        self.has_begun = False
        self.noise = b""
        """The last of what came before the command's own; all that came, while that has not begun."""
        self.exit_code: int | None = None
        """As the shell there says it; None as long as the end has not come."""

    def take(self, data: bytes) -> None:
        """The next that came."""
        if self._size is not None:
            return
        if not self.has_begun:
            before, mark, data = (self.noise + data).partition(self.mark)
            self.noise = before[-_NOISE_BYTES:]
            self.has_begun = bool(mark)
        if self.has_begun:
            looked = max(0, len(self._data) - self._end_bytes)
            self._data += data
            if found := self._end.search(self._data, looked):
                self._size, self.exit_code = found.start(), int(found.group(1))

    def text(self, errors: str) -> str:
        """The command's own. Nothing is copied but by decoding."""
        with memoryview(self._data) as view:
            return str(view[: self._size], "utf-8", errors)

    def begins_with(self, mark: bytes) -> bool:
        """Whether the command's own begins with ``mark``."""
        return self._data.startswith(mark)


class Framed:
    """A command in its frame: ``text`` is for the shell there, and what that says goes to ``stdout`` and ``stderr``."""

    def __init__(self, argv: list[str]) -> None:
        token = f"ph{secrets.token_hex(12)}"
        self.text = framed_command(argv, token)
        self.stdout, self.stderr = Stream(token, _STDOUT), Stream(token, _STDERR)

    @property
    def is_mixed(self) -> bool:
        """Whether both streams came in one, in which they cannot be told apart any more."""
        return self.stdout.begins_with(self.stderr.mark)

    def result(self) -> CommandResult | None:
        """How the command ended; None when its end did not arrive."""
        code = self.stdout.exit_code
        if code is None or self.is_mixed or (self.stderr.has_begun and self.stderr.exit_code is None):
            return None
        # file names are bytes, and come through; what a command complains of is for people
        return CommandResult(_as_subprocess(code), self.stdout.text("surrogateescape"), self.stderr.text("replace"))

    def words(self) -> str:
        """What came instead, for a person, in one line."""
        return for_people(b" ".join((self.stderr.noise, self.stdout.noise)))


def run_after_login(
    transport: Transport, argv: list[str], *, timeout_s: float, purpose: Purpose = Purpose.COMMAND
) -> CommandResult:
    """Runs a command as after a login by hand, with what the user's profile sets, without what that prints.

    SiteUnreachable, OSError.
    """
    command = Framed(argv)
    done = transport.run(["bash", "-l", "-c", command.text], timeout_s=timeout_s, purpose=purpose)
    command.stdout.take(os.fsencode(done.stdout))
    command.stderr.take(done.stderr.encode(errors="replace"))
    return command.result() or CommandResult(done.exit_code or 1, "", command.words())


def for_people(said: bytes) -> str:
    """What a login shell printed, the last of it, in one line."""
    letters = said[-_NOISE_BYTES:].decode(errors="replace")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in letters).split())[-300:]


def _as_subprocess(code: int) -> int:
    """A signal is its negative number; shells add 128 to it, and ksh 256."""
    for base in (128, 256):
        if code - base in _SIGNALS:
            return base - code
    return code
