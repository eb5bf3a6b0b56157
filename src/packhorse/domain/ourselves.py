"""Who we are and what is our own on this machine, also without an entry in passwd, without HOME, and under any
umask.
"""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from packhorse.domain.errors import InvalidRequest, NotAllowed

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
_OTHERS = 0o077


def user_name() -> str:
    """Our name; our number where passwd has none for it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name or str(os.getuid())
    except KeyError:
        return str(os.getuid())


def home(environment: Mapping[str, str] = os.environ) -> Path | None:
    """HOME, else what passwd says; a path that is not absolute counts as none."""
    named = environment.get("HOME", "")
    if not named.startswith("/"):
        try:
            named = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            return None
    return Path(named) if named.startswith("/") else None


def xdg(name: str, usual: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """A folder of the XDG specification, which has relative paths ignored; ``usual`` is below home.

    None where neither is known.
    """
    named = environment.get(name, "")
    own = home(environment)
    return Path(named) if named.startswith("/") else own and own / usual


def expanded(path: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """``path`` with ``~`` replaced. Raises InvalidRequest where nobody knows what that is."""
    if not path.parts or not path.parts[0].startswith("~"):
        return path
    if path.parts[0] == "~":
        own = home(environment)
        if own is None:
            raise InvalidRequest(
                f"The '~' of {path} means nothing here: {homeless(environment)}.", hint="Give the whole path."
            )
        return own.joinpath(*path.parts[1:])
    try:
        return path.expanduser()
    except RuntimeError:
        raise InvalidRequest(
            f"There is no user '{path.parts[0][1:]}', whose home {path} names.", hint="Give the whole path."
        ) from None


def homeless(environment: Mapping[str, str] = os.environ) -> str:
    """Why no home is known."""
    why = "is not an absolute path" if environment.get("HOME") else "is not set"
    return f"HOME {why}, and user {os.getuid()} has no entry in passwd"


def make_private_folder(path: Path) -> None:
    """Makes a folder, and those above it that are missing, for their owner alone; one that is there stays as it is.

    Raises OSError.
    """
    if path.is_dir():
        return
    if path.parent != path:
        make_private_folder(path.parent)
    try:
        path.mkdir(mode=PRIVATE_FOLDER)
    except FileExistsError:
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None


def make_own_folder(path: Path) -> None:
    """The folder where we keep everything, which we must be able to write to.

    Raises NotAllowed that says what to do.
    """
    hint = "Set PACKHORSE_HOME to a folder where you may write."
    try:
        make_private_folder(path)
    except OSError as error:
        raise NotAllowed(
            f"Packhorse keeps its data in {path}, which cannot be made: {error.strerror}.", hint=hint
        ) from None
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        is_read_only = os.statvfs(path).f_flag & os.ST_RDONLY
        why = os.strerror(errno.EROFS if is_read_only else errno.EACCES)
        raise NotAllowed(f"Packhorse keeps its data in {path}, which cannot be written: {why}.", hint=hint)


def keep_private(path: Path) -> None:
    """Makes a file for its owner alone; takes others' rights to one that is there and ours.

    Raises OSError when we may not write to it.

    It is never opened here: to close a file of SQLite's would free the locks that this process has on it.
    """
    file = path.resolve()
    with suppress(FileExistsError):
        os.mknod(file, PRIVATE_FILE)
    found = file.stat()
    if found.st_mode & _OTHERS and found.st_uid == os.geteuid():
        file.chmod(PRIVATE_FILE)
    if not os.access(file, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
