"""The machine that we run on."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from packhorse.sites.base import CommandResult, SiteUnreachable


class LocalTransport:
    """Files by the operating system, commands by subprocess."""

    is_local = True

    def run(self, argv: list[str], *, timeout_s: float = 60.0) -> CommandResult:
        # our own settings and secrets are not for jobs
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PACKHORSE_")}
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False, env=environment)
        except subprocess.TimeoutExpired:
            raise SiteUnreachable(f"'{argv[0]}' did not end within {timeout_s:g} s.") from None
        return CommandResult(done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode(errors="replace"))

    def make_folder(self, path: str) -> None:
        os.makedirs(path, exist_ok=True)

    def write(self, path: str, data: bytes) -> None:
        with _whole(path) as temporary, open(temporary, "wb") as file:
            file.write(data)

    def append(self, path: str, data: bytes) -> None:
        with _saying_where(path), open(path, "ab") as file:
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
