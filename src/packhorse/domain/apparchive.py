"""The folder of an app as one value, whose digest tells its content. Pure."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AppFile:
    """A file of an app's folder: its path in that, with '/' between the parts, and what it holds."""

    path: str
    content: bytes
    executable: bool


def digest_of(files: Iterable[AppFile]) -> str:
    """SHA-256 over names, contents and whether they may be executed, in hexadecimal; ``files`` are in order of name."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(os.fsencode(file.path) + f"\0{len(file.content)}\0{int(file.executable)}\0".encode())
        digest.update(file.content)
    return digest.hexdigest()


def pack_app(files: Iterable[AppFile]) -> bytes:
    """``files`` as a compressed archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6, format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            entry = tarfile.TarInfo(file.path)
            entry.size, entry.mode = len(file.content), 0o755 if file.executable else 0o644
            archive.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()


def unpack_app(archive: bytes, digest: str) -> list[AppFile]:
    """The files of an archive. Raises ValueError where they are not those that have this ``digest``."""
    files: list[AppFile] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
            for entry in opened:
                content = opened.extractfile(entry) if entry.isfile() else None  # a link may lead nowhere
                if content is not None:
                    files.append(AppFile(entry.name, content.read(), bool(entry.mode & 0o100)))
    except (tarfile.TarError, zlib.error, OSError, EOFError, ValueError) as error:
        raise ValueError(f"the archive cannot be read: {error}") from None
    found = digest_of(files)
    if found != digest:
        raise ValueError(f"its content has the digest {found[:16]}, not {digest[:16]}")
    return files
