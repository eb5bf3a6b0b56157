"""How long a server waits for a client: for the head of a request, and until it has taken a part of its answer.

The server itself has a limit only for a connection on which nothing comes between two requests: a client that sends a
byte every few seconds would keep its connection for ever, and so would one that reads nothing. Bodies have limits of
their own (``bodies``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_S = 20.0  # from the connection, or the first byte after an answer, to the end of a request's headers
TAKEN_S = 60.0  # in which a client takes a part of its answer, some 64 kB
_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # which of two it is, is found out
    """HTTP on one connection, for ``uvicorn.Config(http=...)``."""

    _head: asyncio.TimerHandle | None = None
    _taken: asyncio.TimerHandle | None = None
    _has_begun = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._head = self._later(HEAD_S, self._head_is_late)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        self._has_begun = True
        super().data_received(data)
        if self.cycle is not before:  # a request has come
            self._stop_head()
        elif self._head is None and (before is None or before.response_complete):
            self._head = self._later(HEAD_S, self._head_is_late)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._taken is None:
            self._taken = self._later(TAKEN_S, self._nothing_is_taken)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_taken()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head()
        self._stop_taken()
        super().connection_lost(exc)

    def _stop_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _stop_taken(self) -> None:
        if self._taken is not None:
            self._taken.cancel()
            self._taken = None

    def _later(self, seconds: float, call: Callable[[], Any]) -> asyncio.TimerHandle:
        timer: asyncio.TimerHandle = self.loop.call_later(seconds, call)
        return timer

    def _head_is_late(self) -> None:
        if self.transport.is_closing():
            return
        if self._has_begun:
            self.transport.write(_LATE)
        self.transport.close()

    def _nothing_is_taken(self) -> None:
        self.transport.abort()  # to close it would wait for what is not taken
