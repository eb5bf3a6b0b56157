"""A part of the engine that takes one step after the other in a thread of its own, whatever is away meanwhile."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import structlog

from packhorse.domain.backoff import BackOff
from packhorse.domain.errors import Conflict, Unavailable
from packhorse.engine.change import Change
from packhorse.engine.clock import Clock
from packhorse.engine.lease import Lease
from packhorse.engine.notifier import Notifier
from packhorse.http.errors import Stopped
from packhorse.sites.site import Site
from packhorse.store.database import Database

TICK_S = (0.02, 0.25)  # between two ticks while things move: at first, and when they have moved for a second or more
TROUBLE_S = (0.2, 5.0)  # back-off while the database or a site is away
_REST = (
    3  # times as long as a tick took, at most: one that costs more finds more to do at once, and leaves tasks the cores
)
_REST_OF_WOKEN = 2  # the same, where somebody wakes us: hundreds submit in a second, and need the processor for that
_LONGEST_REST_S = 0.1
IDLE_S = 0.5  # when nothing moves; a submission in this process wakes us at once
# what moves all the time is looked at less and less often, too: a tick costs much the same however much it finds
_SLOWER = 1.3

_log = structlog.get_logger("packhorse.engine")


class Loop:
    """Ticks quickly when something begins to move, and ever more slowly the longer it goes on, or does not.

    ``superseded``: another engine leads; ``tell`` is set then. ``site``: the only one that it is for, if there is one.
    ``soon_s``: in how many seconds somebody is to be told something that is not there yet, as far as that can be
    foreseen.
    """

    wakes_for = Change(0)
    """What it is woken for. Whatever else changes, it sees at its next look."""

    def __init__(self, name: str, clock: Clock, tell: threading.Event, site: str | None = None) -> None:
        self.name = name
        self.site = site
        self.superseded = False
        self.soon_s = math.inf
        self._clock = clock
        self._tell = tell
        self._wake = threading.Event()
        self.begun = threading.Event()
        """It has taken its first step, or cannot."""
        self._trouble = BackOff(*TROUBLE_S)

    def wake(self) -> None:
        """Something was submitted or canceled: do not wait for the next tick."""
        self._wake.set()

    def end(self) -> None:
        """The event that was given to ``run`` is set: do not wait for anything more."""
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
            except Stopped:
                continue  # it was waiting for somebody far away when the end was said
            except Conflict as error:
                _log.warning("superseded", loop=self.name, reason=str(error))
                self.superseded = True
                self._tell.set()
                return
            except (Unavailable, OSError) as error:
                retry_s = self._trouble.failed(self._clock.monotonic())
                _log.warning("waiting", loop=self.name, reason=str(error), retry_s=retry_s)
            except Exception:  # a bug of ours must not end the night's work: say it loudly, and go on
                retry_s = self._trouble.failed(self._clock.monotonic())
                _log.exception("engine_failed", loop=self.name, retry_s=retry_s)
            self.begun.set()
            self._pause(retry_s)

    def recover(self) -> None:
        """After a start: does what an interrupted step left undone."""

    def tick(self, monotonic: float) -> bool:
        """One step; whether anything moved."""
        raise NotImplementedError

    def leave(self) -> None:
        """Before the end: leaves things such that nothing waits for us."""

    def idle_s(self) -> float:
        """The longest pause while nothing moves, in seconds: what would wake us has come after it at the latest."""
        return IDLE_S

    def _work(self, ending: threading.Event) -> None:
        moving_s = idle_s = TICK_S[0]
        in_a_row = 0  # ticks in which something moved; a first one is likely to be followed by more soon
        while not ending.is_set():
            began = self._clock.monotonic()
            moved = self.tick(began)
            self.begun.set()
            self._trouble.succeeded()
            ended = self._clock.monotonic()
            in_a_row = in_a_row + 1 if moved else 0
            if moved:
                rest_s = min(in_a_row, _REST) * (ended - began)
                pause_s = max(moving_s, min(rest_s, _LONGEST_REST_S))
                woken = self._pause(max(TICK_S[0], min(pause_s, self.soon_s)))
                idle_s, moving_s = TICK_S[0], min(TICK_S[1], moving_s * _SLOWER)
            else:
                woken = self._pause(idle_s)
                idle_s, moving_s = min(self.idle_s(), idle_s * _SLOWER), TICK_S[0]
            if woken:
                moving_s = idle_s = TICK_S[0]
                in_a_row = 0
                rest_s = min(_REST_OF_WOKEN * (ended - began), _LONGEST_REST_S)
                ending.wait(max(0.0, rest_s - (self._clock.monotonic() - ended)))

    def _pause(self, seconds: float) -> bool:
        """Waits; True when woken."""
        woken = self._wake.wait(seconds)
        self._wake.clear()
        return woken


@dataclass(frozen=True, slots=True)
class AtSite:
    """What all loops of one site are given. ``tell`` is set when another engine leads."""

    site: Site
    database: Database
    lease: Lease
    clock: Clock
    notifier: Notifier
    tell: threading.Event


class LoopOfSite(Loop):
    """A loop that is for one site; ``part``, in its name, says for what there."""

    def __init__(self, at: AtSite, part: str = "") -> None:
        super().__init__(f"{at.site.name} {part}".rstrip(), at.clock, at.tell, at.site.name)
        self._site = at.site
        self._database = at.database
        self._lease = at.lease
        self._notifier = at.notifier
