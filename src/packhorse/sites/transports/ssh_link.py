"""Keeps one SSH connection to a site: opened when needed, opened again when lost, left alone for a while when that
fails.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncssh

from packhorse.domain.backoff import BackOff
from packhorse.sites.base import SiteUnreachable
from packhorse.sites.transports.ssh_files import open_files
from packhorse.sites.transports.ssh_options import SshOptions
from packhorse.sites.transports.ssh_reasons import Reason, why_unreachable
from packhorse.sites.transports.ssh_way import Hop, Way

T = TypeVar("T")

_CLOSE_S = 2.0
#: A connection that ends sooner counts as a failed try, or a site that takes us in and throws us out would be asked
#: without end.
_PROVEN_S = 10.0

_starting = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The process's one loop for SSH, in a daemon thread of its own."""
    global _loop
    with _starting:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="packhorse-ssh", daemon=True).start()
        return _loop


@dataclass(frozen=True, slots=True)
class Session:
    """A connection that was opened, with its file service. It is never mended, only replaced."""

    way: Way
    connection: asyncssh.SSHClientConnection
    sftp: asyncssh.SFTPClient
    opened_at: float

    @property
    def is_up(self) -> bool:
        """Whether nobody has ended it yet."""
        return not self.connection.is_closed()


class SshLink:
    """Hands out the one Session of a site. All but ``wait_for`` runs on the background loop."""

    def __init__(self, options: SshOptions, monotonic: Callable[[], float]) -> None:
        self.options = options
        self._monotonic = monotonic
        self.channels = asyncio.Semaphore(options.max_channels - 1)  # one is for files
        self._connecting = asyncio.Lock()
        self._session: Session | None = None
        self._back_off = BackOff()
        self._reason = Reason(f"{options.host} is not reached.", "")
        self._closed = False
        self._loop = background_loop()

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs ``work`` on the loop, from any other thread."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # of no effect unless it is our own waiting that was interrupted
            raise

    async def session(self) -> Session:
        """The session, opened if need be. Raises SiteUnreachable, at once while it is not to be tried."""
        if self._session is not None and self._session.is_up:
            return self._session
        async with self._connecting:
            if self._session is not None and self._session.is_up:
                return self._session
            if self._session is not None:
                self.lose(self._session, Reason(f"{self._session.way.hop} ended the connection.", ""))
            if self._closed:
                raise SiteUnreachable(f"The connection to {self.options.host} was closed.")
            if wait_s := self._back_off.wait_s(self._monotonic()):
                raise self._unreachable(wait_s)
            session = await self._open()
            if self._closed:  # meanwhile
                session.way.abort()
                raise SiteUnreachable(f"The connection to {self.options.host} was closed.")
            self._session = session
            return session

    async def _open(self) -> Session:
        way = Way(self.options, Hop(self.options.host, self.options.port or 22))
        timeout_s = self.options.connect_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                connection = await way.open()
                sftp = await open_files(connection)
        except Exception as error:
            way.abort()
            self._reason = why_unreachable(error, way.hop, timeout_s)
            wait_s = self._back_off.failed(self._monotonic(), patience=self._reason.patience)
            raise self._unreachable(wait_s) from None
        except BaseException:
            way.abort()
            raise
        return Session(way, connection, sftp, self._monotonic())

    def lose(self, session: Session, reason: Reason, *, is_sick: bool = False) -> SiteUnreachable:
        """Gives ``session`` up; the error to raise.

        Another thread may have done so before. ``is_sick``: a new one may be no better.
        """
        session.way.abort()
        if self._session is session:
            self._session = None
            now = self._monotonic()
            if now - session.opened_at >= _PROVEN_S and not is_sick:
                self._back_off.succeeded()
            else:
                self._reason = reason
                self._back_off.failed(now)
        return SiteUnreachable(reason.what, hint=reason.hint)

    def _unreachable(self, wait_s: float) -> SiteUnreachable:
        return SiteUnreachable(
            f"{self._reason.what} It is tried again in {max(1, round(wait_s))} s.", hint=self._reason.hint
        )

    async def close(self) -> None:
        """Ends the connection for good."""
        self._closed = True
        session, self._session = self._session, None
        if session is None:
            return
        for connection in reversed(session.way.connections):
            connection.close()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await session.connection.wait_closed()
        except TimeoutError:
            session.way.abort()
