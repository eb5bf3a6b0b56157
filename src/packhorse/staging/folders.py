"""Outputs that are delivered to folders of this machine."""

from __future__ import annotations

import errno
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from packhorse.domain.outputurl import as_text
from packhorse.staging.checksums import Expected, Sums, check, sum_up
from packhorse.staging.data import NotFetched, Trouble

_MODE = 0o777
_NEVER = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.ELOOP})


def put_file(path: Path, sums: Sums, target: Path, mode: int) -> None:
    """Copies ``path``, whose checksums are ``sums``, to ``target``, which gets the permissions of ``mode``.

    Raises NotFetched.
    """
    part = target.with_name(f".{secrets.token_hex(8)}.part")  # no longer than the target's own name may be
    with _telling(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, part)
            check(sum_up(part), Expected(sums.size, sums.sha256), "it was")
            part.chmod(mode & _MODE)
            part.replace(target)
        finally:
            with suppress(OSError):  # what went wrong before says more
                part.unlink(missing_ok=True)


def make_folders(folders: Sequence[tuple[str, int]], target: Path) -> None:
    """Makes folders of ``target``, by relative name, with their modes; "" is itself. Raises NotFetched."""
    with _telling(target):
        for name, _ in sorted(folders):
            (target / name).mkdir(parents=True, exist_ok=True)
        for name, mode in sorted(folders, reverse=True):
            (target / name).chmod(mode & _MODE)


@contextmanager
def _telling(target: Path) -> Iterator[None]:
    """Turns what the system says into NotFetched that names what is not there; a name that it does not take will not
    pass.
    """
    try:
        yield
    except OSError as error:
        trouble = Trouble.REFUSED if error.errno in _NEVER else Trouble.AWAY
        raise NotFetched(trouble, f"{as_text(str(target))} cannot be written: {error.strerror}.") from None
