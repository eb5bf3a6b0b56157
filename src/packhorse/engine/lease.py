"""Holds the right to be the engine of a store, or waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from packhorse.store import leases
from packhorse.store.database import Database

NAME = "engine"


class Lease:
    """The engine's lease on one store. ``epoch`` is None while somebody else holds it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._holder = leases.this_process()
        self._seen: leases.LeaseView | None = None
        self._seen_at = 0.0
        self._beaten_at = 0.0
        self.epoch: int | None = None

    def try_take(self) -> bool:
        """Takes the lease if nobody holds it, or its holder is dead, or has been silent for ``TTL_S`` of our own clock.

        To be called again and again.
        """
        with self._database.read() as connection:
            now = leases.view(connection, NAME)
        if self._seen != now:
            self._seen, self._seen_at = now, time.monotonic()
        silent = time.monotonic() - self._seen_at >= leases.TTL_S
        if now.holder is not None and not silent and not leases.holder_is_dead(now.holder):
            return False
        with self._database.write() as connection:
            self.epoch = leases.take(connection, NAME, now, self._holder)
        self._beaten_at = time.monotonic()
        return self.epoch is not None

    def holder(self) -> str | None:
        """Who holds it, as far as we have seen."""
        return self._seen.holder if self._seen else None

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A write transaction that fails if another engine has taken over; keeps the lease alive on the way."""
        if self.epoch is None:
            raise RuntimeError("the lease is not held")
        due = time.monotonic() - self._beaten_at >= leases.BEAT_S
        with self._database.write() as connection:
            leases.assert_held(connection, NAME, self.epoch, beat=due)
            yield connection
        if due:
            self._beaten_at = time.monotonic()

    def check(self) -> None:
        """Raises Conflict if another engine has taken over: to be asked before a site is told what to do."""
        with self._database.read() as connection:
            if leases.view(connection, NAME).epoch != self.epoch:
                raise leases.superseded(NAME)

    def keep(self) -> None:
        """Shows that we live, when no other transaction did."""
        if time.monotonic() - self._beaten_at >= leases.BEAT_S:
            with self.write():
                pass

    def release(self) -> None:
        """Lets the next one take it at once."""
        if self.epoch is not None:
            with self._database.write() as connection:
                leases.release(connection, NAME, self.epoch)
            self.epoch = None
