"""Adds to the configuration file, and leaves what is there as it is."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError

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


def site_table(name: str, values: Mapping[str, object]) -> str:
    """``[sites.name]`` with these values, as text. Raises InvalidRequest for text that UTF-8 cannot hold."""
    table = tomlkit.dumps({"sites": {name: values}})
    try:
        table.encode()
    except UnicodeEncodeError as error:
        text = error.object[error.start - 30 : error.end + 30]
        raise InvalidRequest(f"{text!a} is not valid UTF-8, and the configuration file is.") from None
    return table


def add_site(file: Path, name: str, values: Mapping[str, object]) -> None:
    """Adds ``[sites.name]`` to ``file``, which is replaced whole.

    Only its owner may read a new file.

    Raises Conflict when there is a site of that name, or when nothing can be added.
    """
    target = file.resolve()  # what a link leads to, not the link
    try:
        make_private_folder(target.parent)
        with _alone(target.parent):
            before = _read(target)
            _refuse_name(before, file, name)
            after = _with_site(before, file, name, values)
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


def _with_site(before: bytes, file: Path, name: str, values: Mapping[str, object]) -> bytes:
    """What is there, to the byte, and the table at the end; or a file whose ``sites`` have it, where they end before
    that, as an inline table does.
    """
    gap = b"" if not before else b"\n" if before.endswith(b"\n") else b"\n\n"
    after = before + gap + site_table(name, values).encode()
    if not _is_added(before, after, file, name):
        after = _within(before, name, values)
    if not _is_added(before, after, file, name):
        raise Conflict(
            f"{file} cannot take a site such that all else in it stays as it is.", hint="Add the lines by hand."
        )
    return after


def _within(before: bytes, name: str, values: Mapping[str, object]) -> bytes:
    try:
        document = tomlkit.parse(before)
        document.setdefault("sites", {})[name] = values
        return tomlkit.dumps(document).encode()
    except TOMLKitError:
        return before


def _is_added(before: bytes, after: bytes, file: Path, name: str) -> bool:
    try:
        known, new = parse_config(before, file), parse_config(after, file)
    except InvalidRequest:
        return False
    others = {key: site for key, site in new.sites.items() if key != name}
    return name in new.sites and new.model_copy(update={"sites": others}) == known


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
