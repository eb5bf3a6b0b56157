"""Small writes that come at the same moment share a transaction: one flush of the disk makes all of them durable."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from packhorse.store.database import Database

T = TypeVar("T")
_AT_ONCE = 200  # writes in one transaction: others wait for no more


class _Write(Generic[T]):
    """One write: its work, and what came of it once ``done``."""

    def __init__(self, work: Callable[[sa.Connection], T]) -> None:
        self.work = work
        self.done = False
        self.value: T | None = None
        self.error: BaseException | None = None


class Together:
    """Whoever comes while another writes waits, and then writes for all who wait by then."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()
        self._waiting: deque[_Write[Any]] = deque()

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """What ``work`` returns, once it is durable. What it raises undoes its own statements only.

        It must be quick, and may run in another caller's thread.
        """
        mine = _Write(work)
        self._waiting.append(mine)
        with self._turn:
            while not mine.done:
                self._write([self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))])
        if mine.error is not None:
            raise mine.error
        return mine.value  # type: ignore[return-value]  # it was done

    def _write(self, some: list[_Write[Any]]) -> None:
        try:
            with self._database.write() as connection:
                for one in some:
                    self._do(connection, one, alone=len(some) == 1)
        except BaseException as error:  # none of them is durable
            for one in some:
                one.error = one.error or error
        for one in some:
            one.done = True

    @staticmethod
    def _do(connection: sa.Connection, one: _Write[Any], *, alone: bool) -> None:
        if alone:
            one.value = one.work(connection)
            return
        try:
            with connection.begin_nested():
                one.value = one.work(connection)
        except (sa.exc.OperationalError, sa.exc.InterfaceError):  # of the database itself: nobody's can go on
            raise
        except Exception as error:
            one.error = error
