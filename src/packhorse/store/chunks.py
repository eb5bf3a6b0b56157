"""Pieces of what goes into a statement."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TypeVar

Key = TypeVar("Key", int, str)

_IN_CHUNK = 1000


def chunks(keys: Collection[Key]) -> Iterator[list[Key]]:
    """``keys`` in sorted pieces that fit into one IN list."""
    ordered = sorted(keys)
    for start in range(0, len(ordered), _IN_CHUNK):
        yield ordered[start : start + _IN_CHUNK]
