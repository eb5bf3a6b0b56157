"""What somebody has changed in the store, for the parts of the engine that it concerns."""

from __future__ import annotations

from collections.abc import Collection
from enum import Flag, auto
from typing import Protocol


class Change(Flag):
    """Kinds of changes that a loop need not wait for its next look to see."""

    TASKS = auto()
    """Tasks may be ready, or are to be canceled."""
    DATA = auto()
    """Tasks want data of their own."""
    IMAGES = auto()
    """Runs want images."""
    REUSE = auto()
    """Tasks are to be looked up before they start."""
    ANY = TASKS | DATA | IMAGES | REUSE


class Wake(Protocol):
    """Tells the engine of this process, if there is one, that something has changed."""

    def __call__(self, change: Change = Change.ANY, sites: Collection[str] | None = None) -> None:
        """``sites``: the names of those where it did; None: it may be any."""


def wake_nobody(change: Change = Change.ANY, sites: Collection[str] | None = None) -> None:
    """Where no engine is."""
