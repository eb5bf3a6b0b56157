"""Lets the threads of this process that wait for news be told when the engine has moved something."""

from __future__ import annotations

import threading


class Notifier:
    """A count that the engine raises.

    Where no engine runs in this process it stands still, and waiting for it is sleeping.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    @property
    def count(self) -> int:
        """To be read before looking, and given to ``wait``: what moves in between is not missed."""
        return self._count

    def notify(self) -> None:
        """Something moved."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def wait(self, seen: int, seconds: float) -> None:
        """Returns as soon as something has moved since ``seen``, at the latest after ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: self._count != seen, seconds)
