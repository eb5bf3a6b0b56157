"""One at a time, and nobody waits for long while others come again and again."""

from __future__ import annotations

import threading
import time
from collections import deque

_PATIENCE_S = 0.05  # who has waited that long is next; before, whoever comes first, which costs no change of threads


class _Waiter:
    """Somebody who waits for their turn: ``told`` when to look again, or that it is theirs."""

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.told = threading.Semaphore(0)
        self.has_turn = False


class Turns:
    """A lock. Python's own goes to any who ask at the right moment: who gives it back and asks again has it for as long
    as they like, and others wait for seconds.
    """

    def __init__(self) -> None:
        self._inner = threading.Lock()
        self._taken = False
        self._waiting: deque[_Waiter] = deque()

    def acquire(self, timeout: float) -> bool:
        """Whether it is the caller's turn, after at most ``timeout`` seconds."""
        me: _Waiter | None = None
        give_up = time.monotonic() + timeout
        while True:
            with self._inner:
                if me is not None and me.has_turn:
                    return True
                left_s = give_up - time.monotonic()
                if not self._taken or left_s <= 0:
                    if me is not None:
                        self._waiting.remove(me)
                    if self._taken:
                        return False
                    self._taken = True
                    return True
                if me is None:
                    me = _Waiter()
                    self._waiting.append(me)
            me.told.acquire(timeout=left_s)

    def release(self) -> None:
        """Ends the caller's turn."""
        with self._inner:
            first = self._waiting[0] if self._waiting else None
            if first is not None and time.monotonic() - first.since > _PATIENCE_S:
                self._waiting.popleft()
                first.has_turn = True
            else:
                self._taken = False
        if first is not None:
            first.told.release()
