"""The machine that we run on."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from packhorse.sites.base import CommandResult, SiteUnreachable
from packhorse.sites.environment import Composer, Purpose

#: What a umask may narrow, and never widen: programs that we start lie there.
_FOLDER, _PRIVATE, _FILE = 0o755, 0o700, 0o644


class LocalTransport:
    """Files by the operating system, commands by subprocess, in an environment that ``composer`` makes of this
    process's.
    """

    is_local = True
    _composer = Composer(own=True, here=True)

    def __init__(self, composer: Composer | None = None) -> None:
        self._composer = composer or self._composer

    def run(
        self, argv: list[str], *, timeout_s: float = 60.0, purpose: Purpose = Purpose.COMMAND, stdin: bytes = b""
    ) -> CommandResult:
        environment = environment_here(self._composer, purpose)
        try:
            done = subprocess.run(
                argv, input=stdin, capture_output=True, timeout=timeout_s, check=False, env=environment
            )
        except subprocess.TimeoutExpired:
            raise SiteUnreachable(f"'{argv[0]}' did not end within {timeout_s:g} s.") from None
        return CommandResult(
            done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode(errors="replace")
        )

    def make_folder(self, path: str, *, private: bool = False) -> None:
        if os.path.isdir(path):
            return
        if (parent := os.path.dirname(path.rstrip("/"))) not in ("", path):
            self.make_folder(parent)
        try:
            os.mkdir(path, _PRIVATE if private else _FOLDER)
        except FileExistsError:
            if not os.path.isdir(path):
                raise

    def write(self, path: str, data: bytes) -> None:
        with _whole(path) as temporary, open(temporary, "wb", opener=_open) as file:
            file.write(data)

    def append(self, path: str, data: bytes) -> None:
        with _saying_where(path), open(path, "ab", opener=_open) as file:
            file.write(data)

    def put(self, source: Path, target: str) -> None:
        with _whole(target) as temporary:
            shutil.copy2(source, temporary)

    def read(self, path: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return os.pread(descriptor, limit, offset)
        finally:
            os.close(descriptor)

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []

    def rename(self, source: str, target: str) -> bool:
        try:
            os.rename(source, target)
        except FileNotFoundError:
            return False
        return True

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def remove(self, path: str) -> None:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            Path(path).unlink(missing_ok=True)

    def close(self) -> None:
        pass


def environment_here(composer: Composer, purpose: Purpose = Purpose.COMMAND) -> dict[str, str]:
    """What something that this process starts sees.

    A folder for temporary files that is not there is of use to nobody.
    """
    prefix = sys.prefix if sys.prefix != sys.base_prefix else None
    environment = composer.compose(os.environ, purpose, prefix=prefix)
    if not os.path.isdir(environment.get("TMPDIR", "/")):
        del environment["TMPDIR"]
    return environment


def _open(path: str, flags: int) -> int:
    return os.open(path, flags, _FILE)


@contextmanager
def _whole(path: str) -> Iterator[str]:
    """The name of a file that becomes ``path`` at the end; of one that could not be written nothing is left."""
    temporary = f"{path}.tmp"
    try:
        with _saying_where(path):
            yield temporary
            os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise


@contextmanager
def _saying_where(path: str) -> Iterator[None]:
    """The system's error for a full disk names no file, or the one that was read."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, error.strerror, path) from None
        raise
