"""Tells those who wait for runs when these have moved: one thread, there while anybody waits, looks at the store for
all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from packhorse.domain.errors import Unavailable
from packhorse.engine.notifier import Notifier
from packhorse.store.database import Database
from packhorse.store.runs import RunProgress, progress_of

_LOOK_S = 0.1  # between two looks, when no engine in this process tells us sooner that something moved
_log = structlog.get_logger("packhorse.waiting")


@dataclass(frozen=True, eq=False, slots=True)
class _Waiter:
    run_seq: int
    seen_done: int
    tell: Callable[[], None]


class RunWaiters:
    """However many wait, and for however many runs, a look costs one query; nobody who waits holds a thread or a
    connection for it.
    """

    def __init__(self, database: Database, notifier: Notifier) -> None:
        self._database = database
        self._notifier = notifier
        self._lock = threading.Lock()
        self._waiters: set[_Waiter] = set()
        self._has_thread = False

    @contextmanager
    def waiting(self, run_seq: int, seen_done: int, tell: Callable[[], None]) -> Iterator[None]:
        """Meanwhile ``tell`` is called, in some other thread, once the run has ended or more than ``seen_done`` of its
        tasks are done.

        It is called too when the store cannot be asked. What moved before is for the caller to look at, after this has
        begun.
        """
        waiter = _Waiter(run_seq, seen_done, tell)
        with self._lock:
            self._waiters.add(waiter)
            if not self._has_thread:
                threading.Thread(target=self._work, name="packhorse-waiting", daemon=True).start()
                self._has_thread = True
        try:
            yield
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def _work(self) -> None:
        seen = self._notifier.count
        while True:
            with self._lock:
                waiters = list(self._waiters)
                self._has_thread = bool(waiters)
            if not waiters:
                return
            for waiter in self._to_tell(waiters):
                with self._lock:
                    self._waiters.discard(waiter)
                waiter.tell()
            self._notifier.wait(seen, _LOOK_S)
            seen = self._notifier.count

    def _to_tell(self, waiters: list[_Waiter]) -> list[_Waiter]:
        try:
            with self._database.read() as connection:
                progress = progress_of(connection, {waiter.run_seq for waiter in waiters})
        except Unavailable:
            return waiters
        except Exception:  # they look for themselves
            _log.exception("not_looked")
            return waiters
        gone = RunProgress(0, ended=True)
        told = [(waiter, progress.get(waiter.run_seq, gone)) for waiter in waiters]
        return [waiter for waiter, run in told if run.ended or run.done > waiter.seen_done]
