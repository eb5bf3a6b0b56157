"""RO-Crates as folders here."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from packhorse.domain.errors import Conflict, InvalidRequest, Unavailable


def unpack_crate(write: Callable[[IO[bytes]], None], folder: Path) -> None:
    """The archive that ``write`` writes becomes ``folder``, which is new or empty, whole or not at all.

    Raises Conflict, InvalidRequest, Unavailable.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is there, and not empty.", hint="Name a new folder for the crate.")
    with tempfile.TemporaryFile() as file:
        write(file)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".crate-") as beside:
                whole = Path(beside) / "crate"
                _unpack(file, whole)
                whole.rename(folder)
        except zipfile.BadZipFile:
            raise Unavailable("The crate was cut off on its way.", hint="Ask for it again.") from None
        except OSError as error:
            hint = "Name a folder that you may write to, on a disk with room."
            raise InvalidRequest(f"The crate cannot be written to {folder}: {error.strerror}.", hint=hint) from None


def _unpack(file: IO[bytes], folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, folder))  # never outside of the folder
            if entry.external_attr >> 16 & 0o100 and path.is_file():
                path.chmod(path.stat().st_mode | 0o111 & ~_mask())


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
