"""Checksums of data, computed as its bytes pass, and compared with what its source says of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from packhorse.staging.data import NotFetched, Trouble

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Expected:
    """What content must be, by whoever says so; None is not said. Sizes in bytes, checksums in hexadecimal."""

    size: int | None = None
    sha256: str | None = None
    crc64nvme: str | None = None
    md5: str | None = None


@dataclass(frozen=True, slots=True)
class Sums:
    """What content is. Where a site fetched it, only what was needed was computed."""

    size: int
    sha256: str
    crc64nvme: str | None = None
    md5: str | None = None


class Summing:
    """Takes bytes as they pass."""

    def __init__(self) -> None:
        from awscrt import checksums  # slow to import, and seldom needed

        self._crc64nvme = checksums.crc64nvme
        self.restart()

    def restart(self) -> None:
        """Forgets all bytes."""
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc = 0
        self.size = 0

    def add(self, data: bytes) -> None:
        """The next bytes."""
        self._sha256.update(data)
        self._md5.update(data)
        self._crc = self._crc64nvme(data, self._crc)
        self.size += len(data)

    def sums(self) -> Sums:
        """Of all bytes so far."""
        return Sums(self.size, self._sha256.hexdigest(), f"{self._crc:016x}", self._md5.hexdigest())


def check(found: Sums, expected: Expected, who: str) -> None:
    """Raises NotFetched with both values where ``found`` is not what ``who`` (as in 'S3 says') promised."""
    pairs = (
        ("size", found.size, expected.size),
        ("SHA-256", found.sha256, expected.sha256),
        ("CRC64/NVME", found.crc64nvme, expected.crc64nvme),
        ("MD5", found.md5, expected.md5),
    )
    for name, is_now, should_be in pairs:
        if should_be is not None and is_now != should_be:
            raise NotFetched(Trouble.WRONG, f"Its {name} is {is_now}, and {who} {should_be}.")


def sum_up(path: Path) -> Sums:
    """Size and checksums of a file."""
    summing = Summing()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            summing.add(piece)
    return summing.sums()
