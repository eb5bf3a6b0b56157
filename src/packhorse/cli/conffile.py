"""Adds to the configuration file, and leaves what is there as it is."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from packhorse.cli.files import replacing
from packhorse.domain.config import parse_config
from packhorse.domain.errors import Conflict, InvalidRequest, NotAllowed, PackhorseError
from packhorse.domain.ourselves import make_private_folder

_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def refuse_name(file: Path, name: str) -> None:
    """Raises Conflict when ``file`` has a site of that name, InvalidRequest when it is not valid."""
    _refuse_name(_read(file), file, name)


def refuse_unwritable(file: Path) -> None:
    """Raises NotAllowed when ``file`` could not be written, before anybody is asked anything."""
    target = file.resolve()
    nearest = target.parent
    while not nearest.exists():
        nearest = nearest.parent
    if not os.access(nearest, os.W_OK | os.X_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise _not_written(file, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def add_site(file: Path, name: str, table: str) -> None:
    """Adds ``table``, which is ``[sites.name]``, at the end of ``file``, which is replaced whole.

    Only its owner may read a new file.

    Raises Conflict when there is a site of that name, or when the file is written such that nothing can be added.
    """
    target = file.resolve()  # what a link leads to, not the link
    try:
        make_private_folder(target.parent)
        with _alone(target.parent):
            before = _read(target)
            _refuse_name(before, file, name)
            after = before + (b"" if not before else b"\n" if before.endswith(b"\n") else b"\n\n") + table.encode()
            _refuse_unless_added(before, after, file, name)
            with replacing(target, mode=0o600, what=f"The configuration file {file}") as new:
                new.write(after)
    except OSError as error:
        raise _not_written(file, error) from None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InvalidRequest(f"The configuration file {file} cannot be read: {error.strerror}.") from None


def _refuse_name(data: bytes, file: Path, name: str) -> None:
    if name in parse_config(data, file).sites:
        raise Conflict(
            f"{file} has a site '{name}' already.", hint="Choose another name, or change that one with an editor."
        )


def _refuse_unless_added(before: bytes, after: bytes, file: Path, name: str) -> None:
    try:
        known, new = parse_config(before, file), parse_config(after, file)
        is_added = (
            new.model_copy(update={"sites": {key: site for key, site in new.sites.items() if key != name}}) == known
        )
    except InvalidRequest:
        is_added = False
    if not is_added:
        raise Conflict(
            f"{file} has its sites in a form to which no table can be added.",
            hint="Write them as [sites.NAME], or add it by hand.",
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two that add at once would lose one of both."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every file system can
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _not_written(file: Path, error: OSError) -> PackhorseError:
    kind = NotAllowed if error.errno in _FORBIDDEN else InvalidRequest
    return kind(
        f"The configuration file {file} cannot be written: {error.strerror}.",
        hint="PACKHORSE_CONFIG names another one.",
    )
