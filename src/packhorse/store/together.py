"""Small writes that come at the same moment share a transaction: one flush of the disk makes all of them durable."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import sqlalchemy as sa

from packhorse.domain.errors import Unavailable
from packhorse.store.database import Database

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_AT_ONCE = 500  # writes in one transaction, unless they are large: others wait for no more
_SIZE_AT_ONCE = 2000


class _Caller:
    """Who waits for ``left`` writes. ``told`` is free once they are done, or once it is the caller who writes."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.writes = False
        self.told = threading.Lock()
        self.told.acquire()


class _Write(Generic[Item, Answer]):
    """One write, and what came of it: ``answer`` once it is durable, or ``error``."""

    def __init__(self, item: Item, caller: _Caller) -> None:
        self.item = item
        self.caller = caller
        self.answer: Answer | None = None
        self.error: BaseException | None = None

    def take(self, answer: Answer | Exception) -> None:
        """What was said of it."""
        if isinstance(answer, Exception):
            self.error = answer
        else:
            self.answer = answer


class Together(Generic[Item, Answer]):
    """Whoever comes while another writes waits, and then one of them writes for all who wait by then. The others are
    told when it is done, each by a lock of their own: with one lock for all, each had to have it once before the next
    could write.

    ``write`` writes several items, and returns an answer or a refusal for each, at its position. It must be quick, and
    may run in another caller's thread. Where it raises, all that it wrote is undone, and each item is written alone:
    then it raises for that one only. ``size`` of an item is the number of rows, about.
    """

    def __init__(
        self,
        database: Database,
        write: Callable[[sa.Connection, Sequence[Item]], Sequence[Answer | Exception]],
        size: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        self._database = database
        self._work = write
        self._size = size
        self._lock = threading.Lock()
        self._is_writing = False  # somebody writes, or was told to
        self._waiting: deque[_Write[Item, Answer]] = deque()

    def write(self, item: Item) -> Answer:
        """The answer, once it is durable. What is raised for it undoes its own statements only."""
        answer = self.write_many([item])[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def write_many(self, items: Sequence[Item]) -> list[Answer | BaseException]:
        """By position: the answer, once it is durable, or what was raised."""
        if not items:
            return []
        caller = _Caller(len(items))
        mine: list[_Write[Item, Answer]] = [_Write(item, caller) for item in items]
        with self._lock:
            self._waiting.extend(mine)
            caller.writes, self._is_writing = not self._is_writing, True
        if not caller.writes:
            caller.told.acquire()
        if caller.writes:
            try:
                while caller.left:
                    self._write(self._next())
            finally:
                self._let_next_write()
        return [one.answer if one.error is None else one.error for one in mine]  # type: ignore[misc]  # it was done

    def _let_next_write(self) -> None:
        with self._lock:
            following = self._waiting[0].caller if self._waiting else None
            if following is None:
                self._is_writing = False
            else:
                following.writes = True
        if following is not None:
            following.told.release()

    def _next(self) -> list[_Write[Item, Answer]]:
        """Those that are written in one transaction."""
        some: list[_Write[Item, Answer]] = []
        size = 0
        while self._waiting and len(some) < _AT_ONCE:
            size += self._size(self._waiting[0].item)
            if some and size > _SIZE_AT_ONCE:
                break
            some.append(self._waiting.popleft())
        return some

    def _write(self, some: Sequence[_Write[Item, Answer]]) -> None:
        """In one transaction; where what is written refuses, each alone within a savepoint of a second one."""
        try:
            try:
                with self._database.write() as connection:
                    answers = self._work(connection, [one.item for one in some])
                for one, answer in zip(some, answers, strict=True):
                    one.take(answer)
            except Unavailable:  # the database itself: nobody's can go on
                raise
            except Exception as error:
                if len(some) == 1:
                    some[0].take(error)
                    return
                with self._database.write() as connection:
                    for one in some:
                        self._write_alone(connection, one)
        except BaseException as error:  # none of them is durable
            for one in some:
                one.error = one.error or error
        finally:
            for one in some:
                one.caller.left -= 1
                if not one.caller.left and not one.caller.writes:
                    one.caller.told.release()

    def _write_alone(self, connection: sa.Connection, one: _Write[Item, Answer]) -> None:
        try:
            with connection.begin_nested():
                (answer,) = self._work(connection, [one.item])
        except (sa.exc.OperationalError, sa.exc.InterfaceError):
            raise
        except Exception as error:
            answer = error
        one.take(answer)
