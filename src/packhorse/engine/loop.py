"""A part of the engine that takes one step after the other in a thread of its own, whatever is away meanwhile."""

from __future__ import annotations

import threading

import structlog

from packhorse.domain.errors import Conflict, Unavailable
from packhorse.engine.clock import Clock

TICK_S = (0.02, 0.1)  # between two ticks while things move: shortest and longest
TROUBLE_S = (0.2, 5.0)  # back-off while the database or a site is away
_REST = 3.0  # that many times as long as a tick took, so that one that costs more finds more to do at once, and leaves tasks the cores
_IDLE_S = 0.5  # when nothing moves; a submission in this process wakes us at once
_SLOWER = 1.3

_log = structlog.get_logger("packhorse.engine")


class Loop:
    """Ticks quickly while things move and ever more slowly while they do not.

    ``superseded``: another engine leads; ``tell`` is set then.
    """

    def __init__(self, name: str, clock: Clock, tell: threading.Event) -> None:
        self.name = name
        self.superseded = False
        self._clock = clock
        self._tell = tell
        self._wake = threading.Event()
        self._trouble_s = TROUBLE_S[0]

    def wake(self) -> None:
        """Something was submitted or canceled: do not wait for the next tick."""
        self._wake.set()

    def run(self, ending: threading.Event) -> None:
        """Works until ``ending``, or until another engine has taken over. Whatever is away meanwhile is tried again."""
        self.superseded = False
        recovered = False
        while not ending.is_set():
            try:
                if not recovered:
                    self.recover()
                    recovered = True
                self._work(ending)
                self.leave()
                return
            except Conflict as error:
                _log.warning("superseded", loop=self.name, reason=str(error))
                self.superseded = True
                self._tell.set()
                return
            except (Unavailable, OSError) as error:
                _log.warning("waiting", loop=self.name, reason=str(error), retry_s=self._trouble_s)
            except Exception:  # a bug of ours must not end the night's work: say it loudly, and go on
                _log.exception("engine_failed", loop=self.name, retry_s=self._trouble_s)
            self._pause(self._trouble_s)
            self._trouble_s = min(TROUBLE_S[1], self._trouble_s * 2)

    def recover(self) -> None:
        """After a start: does what an interrupted step left undone."""

    def tick(self, monotonic: float) -> bool:
        """One step; whether anything moved."""
        raise NotImplementedError

    def leave(self) -> None:
        """Before the end: leaves things such that nothing waits for us."""

    def _work(self, ending: threading.Event) -> None:
        idle_s = TICK_S[0]
        while not ending.is_set():
            began = self._clock.monotonic()
            moved = self.tick(began)
            self._trouble_s = TROUBLE_S[0]
            if moved:
                idle_s = TICK_S[0]
                self._pause(min(TICK_S[1], max(TICK_S[0], _REST * (self._clock.monotonic() - began))))
            else:
                idle_s = TICK_S[0] if self._pause(idle_s) else min(_IDLE_S, idle_s * _SLOWER)

    def _pause(self, seconds: float) -> bool:
        """Waits; True when woken."""
        woken = self._wake.wait(seconds)
        self._wake.clear()
        return woken
