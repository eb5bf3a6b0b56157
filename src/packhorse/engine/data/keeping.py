"""Who has content of a site's cache in hand: it does not leave while it comes, or is just being given to somebody."""

from __future__ import annotations

import threading


class Keeping:
    """Content by SHA-256; threads share one."""

    def __init__(self) -> None:
        self._kept: set[str] = set()
        self._changed = threading.Condition()

    def begin(self, sha256: str) -> None:
        """From now on it is kept, until ``end``; one at a time for the same content."""
        with self._changed:
            self._changed.wait_for(lambda: sha256 not in self._kept)
            self._kept.add(sha256)

    def begin_to_drop(self, sha256: str) -> bool:
        """Whether content may leave the cache: not while somebody has it. ``end`` ends that."""
        with self._changed:
            if sha256 in self._kept:
                return False
            self._kept.add(sha256)
            return True

    def end(self, sha256: str) -> None:
        """The store knows of it, or it has left."""
        with self._changed:
            self._kept.discard(sha256)
            self._changed.notify_all()
