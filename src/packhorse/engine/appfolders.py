"""Which apps' folders are at a site, as far as this engine has looked: placing tasks takes no look of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from packhorse.store.data import DataKey

#: A folder that is in use is looked at again after that: what is purged at a site is brought again.
LOOK_AGAIN_S = 60.0


def app_key(name: str, digest: str) -> DataKey:
    """What is needed of an app."""
    return DataKey(f"app:{name}", digest)


def name_of_app(key: DataKey) -> str:
    """The name of the app whose folder is needed."""
    return key.url.removeprefix("app:")


class AppFolders:
    """Between the loop that places tasks and the one that brings data. Nothing is known at the start."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._turn = threading.Lock()
        self._seen: dict[DataKey, float] = {}
        self._asked: set[DataKey] = set()
        self.wake: Callable[[], None] = lambda: None
        """Called when something is to be brought, or looked at."""

    def is_there(self, key: DataKey) -> bool:
        """Whether an app's folder was there when somebody looked last; where that is long ago, it is looked at."""
        with self._turn:
            seen = self._seen.get(key)
            if seen is None:
                return False
            is_old = self._monotonic() - seen > LOOK_AGAIN_S and key not in self._asked
            if is_old:
                self._asked.add(key)
        if is_old:
            self.wake()
        return True

    def to_look_at(self) -> set[DataKey]:
        """Those that are to be looked at again; each is told once, until ``came`` or ``gone``."""
        with self._turn:
            return set(self._asked)

    def came(self, key: DataKey) -> None:
        """It is there."""
        with self._turn:
            self._seen[key] = self._monotonic()
            self._asked.discard(key)

    def gone(self, key: DataKey) -> None:
        """It is not there any more, and could not be brought again at once."""
        with self._turn:
            self._seen.pop(key, None)
            self._asked.discard(key)

    def forget(self) -> None:
        """Another engine may have led meanwhile."""
        with self._turn:
            self._seen.clear()
            self._asked.clear()
