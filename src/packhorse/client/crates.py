"""RO-Crates as folders here."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from packhorse.domain.errors import Conflict, Unavailable


def unpack_crate(write: Callable[[IO[bytes]], None], folder: Path) -> None:
    """The archive that ``write`` writes becomes ``folder``, which is new or empty; else raises Conflict."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is there, and not empty.", hint="Name a new folder for the crate.")
    with tempfile.TemporaryFile() as file:
        write(file)
        try:
            with zipfile.ZipFile(file) as archive:
                folder.mkdir(parents=True, exist_ok=True)
                for entry in archive.infolist():
                    path = Path(archive.extract(entry, folder))  # never outside of the folder
                    if entry.external_attr >> 16 & 0o100 and path.is_file():
                        path.chmod(path.stat().st_mode | 0o111 & ~_mask())
        except zipfile.BadZipFile:
            raise Unavailable("The crate was cut off on its way.", hint="Ask for it again.") from None


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
