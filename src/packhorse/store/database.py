"""Opens the database and gives out transactions. SQLite and PostgreSQL behave alike behind this module."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from packhorse.domain.errors import InvalidRequest, NotAllowed, Unavailable
from packhorse.domain.ourselves import keep_private, make_private_folder
from packhorse.store.turns import Turns

_BUSY_TIMEOUT_S = 30
_HINT = "Nothing that was accepted is lost; try again."
_FULL = ("disk is full", "No space left on device", "Disk quota exceeded")
_BROKEN = "disk I/O error"  # of SQLite, also where there is no room for its index, which whoever opens it needs
_INDEX = 65_536  # bytes, at least
_FULL_HINT = "Make room there, then try again. Nothing that was accepted is lost."


_USED_AT = "packhorse_used_at"  # of a connection of the pool: when, monotonic
_SURELY_ALIVE_S = 2.0
_PLENTY = 1_000_000_000  # bytes: nobody needs to look closer
_PAGE = 4096
_MARGIN = 4  # a batch in the log, and in the database; and the removal of the whole, likewise
_LEAST = 4_000_000  # bytes that stay free for what others write meanwhile: states, and an agent with its journals


class NoRoom(Unavailable):
    """The disk of the database is full."""


class Database:
    """A store at ``url`` (SQLAlchemy form: ``sqlite:////path/file`` or ``postgresql+psycopg://user@host/name``)."""

    def __init__(self, url: str) -> None:
        try:
            self.url = sa.make_url(url)
            self.url.get_dialect()
        except sa.exc.ArgumentError:  # it is not repeated, for it may hold a password
            hint = "It is like sqlite:////path/file or postgresql+psycopg://user@host/name."
            raise InvalidRequest("The URL of the database is not one of SQLite or PostgreSQL.", hint=hint) from None
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            if self.url.database and self.url.database != ":memory:" and not self.url.database.startswith("file:"):
                _keep_private(Path(self.url.database))
            self.engine = sa.create_engine(self.url, connect_args={"timeout": _BUSY_TIMEOUT_S})
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = sa.create_engine(self.url, pool_size=10, connect_args={"connect_timeout": 10})
            event.listen(self.engine, "checkin", _note_use)
            event.listen(self.engine, "checkout", self._ask_if_alive)
        self._writer = self.engine.execution_options(packhorse_write=True)
        self._turn = Turns()
        self._counting = threading.Lock()
        self._writes = 0
        self._own = threading.local()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that may write: all of it is durable at the end, or none.

        Raises Unavailable when the database is away.
        """
        try:
            with self._turn_to_write(), self._translated():
                try:
                    with self._writer.begin() as connection:
                        yield connection
                finally:  # after the commit: what is counted can be seen
                    with self._counting:
                        self._writes += 1
                    self._own.writes = getattr(self._own, "writes", 0) + 1
        except NoRoom:  # what was written before that is still in the log, and takes everybody's room
            self.cut_log()
            raise

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the store."""
        with self._translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read_through(self) -> Iterator[sa.Connection]:
        """As ``read``, for much that is read once: SQLite's memory for pages of it is given back."""
        with self.read() as connection:
            yield connection
            if self.is_sqlite:
                connection.exec_driver_sql("PRAGMA shrink_memory")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            if any(words in reason for words in _FULL) or (_BROKEN in reason and self._is_disk_full()):
                where = f" {self.url.database}" if self.is_sqlite else ""
                raise NoRoom(f"There is no room in the database{where}: {reason}.", hint=_FULL_HINT) from error
            raise Unavailable(f"The database does not answer: {reason}.", hint=_HINT) from error

    def _is_disk_full(self) -> bool:
        if not self.is_sqlite or not self.url.database:
            return False
        try:
            return _free_bytes(Path(self.url.database).parent) < _INDEX
        except OSError:
            return False

    def writes_of_others(self) -> int:
        """Write transactions so far of this process's other threads: who has seen a number knows whether they have
        written since.
        """
        with self._counting:
            return self._writes - int(getattr(self._own, "writes", 0))

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        """SQLite has one writer at a time, and others look again after a pause: those of this process know when it is
        their turn.
        """
        if not self.is_sqlite:
            yield
            return
        if not self._turn.acquire(timeout=_BUSY_TIMEOUT_S):
            raise Unavailable("The database does not answer: database is locked.", hint=_HINT)
        try:
            yield
        finally:
            self._turn.release()

    def require_room(self, more: int) -> None:
        """Whoever writes much, in several transactions of about ``more`` bytes, stops while there is still room to
        remove it, and for the engine to go on: SQLite's log needs as much room again in the database's file before it
        can be cut.

        Raises NoRoom.
        """
        if not self.is_sqlite or not self.url.database or not (file := Path(self.url.database)).exists():
            return
        if _free_bytes(file) > _PLENTY:
            return
        pending = self.move_log()
        log = Path(f"{file}-wal")
        again = log.stat().st_size if not pending and log.exists() else 0  # the log begins anew in its own room
        free = _free_bytes(file)
        if free + again < pending + max(_MARGIN * more, _LEAST):
            left = f"its disk is full but for {free / 1e6:.1f} MB, less than it takes to write them"
            raise NoRoom(f"There is no room in the database {file}: {left}.", hint=_FULL_HINT)

    def move_log(self) -> int:
        """Takes what SQLite's log holds into the database's file, as far as that needs no wait for anybody; returns how
        many bytes are still to be taken. When none are, the log begins anew where it is.
        """
        frames = done = 0
        if self.is_sqlite:
            with suppress(sqlite3.Error), self._translated(), self.engine.connect() as connection:
                _, frames, done = connection.connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return max(0, frames - done) * _PAGE

    def cut_log(self) -> None:
        """Takes what SQLite's log holds into the database's file, as far as that is possible now, and gives the log's
        room back.
        """
        if self.is_sqlite:
            with suppress(sqlite3.Error), self.engine.connect() as connection:
                connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _ask_if_alive(self, connection: Any, record: Any, _proxy: Any) -> None:
        """A connection that nobody has used for a while may be dead, and is then replaced. To ask each time takes a
        tenth of a submission.
        """
        if time.monotonic() - record.info.get(_USED_AT, 0.0) < _SURELY_ALIVE_S:
            return
        try:
            is_alive = self.engine.dialect.do_ping(connection)
        except self.engine.dialect.loaded_dbapi.Error:
            is_alive = False
        if not is_alive:
            raise sa.exc.DisconnectionError("The connection is dead.")

    def answers(self) -> bool:
        """Whether it can be read now."""
        try:
            with self.read() as connection:
                connection.exec_driver_sql("SELECT 1")
        except Unavailable:
            return False
        return True

    def close(self) -> None:
        """Gives every connection back."""
        self.engine.dispose()


def _note_use(_connection: Any, record: Any) -> None:
    record.info[_USED_AT] = time.monotonic()


def _free_bytes(file: Path) -> int:
    """What is left on the disk of a file."""
    status = os.statvfs(file)
    return status.f_bavail * status.f_frsize


def _keep_private(file: Path) -> None:
    """SQLite gives its log and its index the rights of the database, which is its owner's alone. Raises NotAllowed."""
    try:
        make_private_folder(file.parent)
        keep_private(file)
        for beside in (Path(f"{file}-wal"), Path(f"{file}-shm")):
            if beside.exists():
                keep_private(beside)
    except OSError as error:
        hint = "Set PACKHORSE_HOME to a folder where you may write, or name another database."
        raise NotAllowed(f"The database {file} cannot be written: {error.strerror}.", hint=hint) from None


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite
    cursor = connection.cursor()
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")  # an accepted run outlives a power cut
    cursor.execute("PRAGMA cache_size = -32000")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Changes the mode of a new file.

    Who comes at that moment is told at once that it is locked: SQLite does not wait then.
    """
    give_up = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
        time.sleep(0.01)


def _begin_sqlite(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("packhorse_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
