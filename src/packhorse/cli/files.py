"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from packhorse.cli.streams import Sink

_NOT_BESIDE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextmanager
def replacing(target: Path, *, mode: int | None = None, what: str = "") -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``target`` when the block has ended well; else ``target`` stays as it
    was.

    A link is followed. A file that is there keeps its mode and owner; a new one has ``mode``, without it that of any
    new file. What is no plain file (a device, a pipe), or may be written while its folder may not, is written as it is.
    To write that fails is an OutputFailed that names ``what``, or else ``target``; all else is an OSError.
    """
    named = str(target)
    what = what or named
    try:
        was: os.stat_result | None = target.stat()
    except FileNotFoundError:
        was = None
    if was is not None and (
        not stat.S_ISREG(was.st_mode) or target.is_relative_to("/dev")
    ):  # /dev/stdout may be a file
        yield from _in_place(target, what)
        return
    target = target.resolve()
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".packhorse.", dir=target.parent)  # its mode is 0600
    except OSError as error:
        if was is None or error.errno not in _NOT_BESIDE:
            raise OSError(error.errno, error.strerror, named) from None
        yield from _in_place(target, what)
        return
    try:
        with _closing(descriptor):
            _take_on(descriptor, was, mode)
            with io.BufferedWriter(Sink(descriptor, what)) as file:
                yield file
            os.fsync(descriptor)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _in_place(target: Path, what: str) -> Iterator[BinaryIO]:
    with (
        _closing(os.open(target, os.O_WRONLY | os.O_TRUNC)) as descriptor,
        io.BufferedWriter(Sink(descriptor, what)) as file,
    ):
        yield file


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take_on(descriptor: int, was: os.stat_result | None, mode: int | None) -> None:
    if was is not None:
        os.fchmod(descriptor, was.st_mode & 0o7777)
        with suppress(PermissionError):
            os.fchown(descriptor, was.st_uid, was.st_gid)
        return
    if mode is None:
        mask = os.umask(0)
        os.umask(mask)
        mode = 0o666 & ~mask
    os.fchmod(descriptor, mode)
