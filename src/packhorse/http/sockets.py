"""Connections with limits that no server can stretch: every wait ends in time, and ends early where somebody says stop.

httpx2's own limits are for each read and each write: a server that sends a byte a minute would be waited for without
end.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore2

from packhorse.http.errors import Stopped
from packhorse.http.reach import Reach

_SLICE_S = 0.25  # so soon a stop is heard
_WRITE = 1 << 16
SLOW_S = 60.0
"""Waited for, in all, before a rate is judged."""
LEAST_BYTES = 60 * 1024
"""Fewer than these in SLOW_S of waiting is no transfer any more."""


class Watch:
    """The limits of one request, and how far its connection got.

    ``answer_s``: from the last byte that was sent to the end of the answer's headers. ``total_s``: for all of it, the
    body included.
    """

    def __init__(self, answer_s: float, total_s: float | None = None, stop: threading.Event | None = None) -> None:
        self._answer_s, self._stop = answer_s, stop
        self._last = None if total_s is None else time.monotonic() + total_s
        self._answer_by: float | None = time.monotonic() + answer_s
        self._waited_s, self._bytes = 0.0, 0
        self.is_answered = False
        self.host = ""
        """Who was connected to for this request; empty where a connection was there already."""
        self.handshakes = 0
        """TLS handshakes begun."""

    def sent(self) -> None:
        """Bytes went out: the answer has its time from now on."""
        if self._answer_by is not None:
            self._answer_by = time.monotonic() + self._answer_s

    def answered(self) -> None:
        """The headers are there; what follows may take as long as it moves."""
        self._answer_by, self.is_answered = None, True

    def left_s(self, timeout: float | None) -> float:
        """How long may be waited now, at most ``timeout``; 0 or less when it is over."""
        now = time.monotonic()
        ends = [end - now for end in (self._answer_by, self._last) if end is not None]
        return min([*ends, SLOW_S if timeout is None else timeout])

    def wait(self, read: Callable[[float], bytes], timeout: float | None) -> bytes:
        """What ``read`` gives, which is called with slices of the time that there is."""
        began = time.monotonic()
        while True:
            if self._stop is not None and self._stop.is_set():
                raise Stopped
            left = self.left_s(None if timeout is None else timeout - (time.monotonic() - began))
            if left <= 0:
                raise httpcore2.ReadTimeout("The read operation timed out")
            try:
                data = read(left if self._stop is None else min(left, _SLICE_S))
            except httpcore2.ReadTimeout:
                continue
            self._judge(time.monotonic() - began, len(data))
            return data

    def _judge(self, waited_s: float, size: int) -> None:
        self._waited_s += waited_s
        self._bytes += size
        if self._waited_s >= SLOW_S:
            if self._bytes < LEAST_BYTES:
                raise httpcore2.ReadTimeout("The transfer is too slow")
            self._waited_s, self._bytes = 0.0, 0

    @contextmanager
    def applied(self) -> Iterator[None]:
        """What this thread does with connections meanwhile has these limits."""
        before = getattr(_now, "watch", None)
        _now.watch = self
        try:
            yield
        finally:
            _now.watch = before


_now = threading.local()


def _watch() -> Watch:
    watch: Watch = getattr(_now, "watch", None) or Watch(SLOW_S)
    return watch


class Sockets(httpcore2.NetworkBackend):
    """Connects. A host with several addresses has one limit for all of them. ``reach`` says which are allowed."""

    def __init__(self, reach: Reach | None = None) -> None:
        self._inner = httpcore2.SyncBackend()
        self._reach = reach

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        watch = _watch()
        watch.host = host
        give_up = time.monotonic() + watch.left_s(timeout)
        try:
            found = list(
                dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            )
        except (OSError, UnicodeError) as error:  # a name with an empty or too long part is a UnicodeError
            raise httpcore2.ConnectError(f"name resolution: {error}") from error
        if self._reach is not None:
            found = self._reach.outside(host, found)
        for number, address in enumerate(found, 1):
            left = (give_up - time.monotonic()) / (len(found) - number + 1)
            try:
                return _Stream(self._inner.connect_tcp(address, port, max(left, 0.1), local_address, socket_options))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if number == len(found):
                    raise
        raise httpcore2.ConnectError("name resolution: no address")


class _Stream(httpcore2.NetworkStream):
    """A connection whose waits are those of the request that uses it."""

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return _watch().wait(lambda slice_s: self._inner.read(max_bytes, slice_s), timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        watch, view = _watch(), memoryview(buffer)
        for start in range(0, len(view), _WRITE):
            left = watch.left_s(timeout)
            if left <= 0:
                raise httpcore2.WriteTimeout("The write operation timed out")
            self._inner.write(view[start : start + _WRITE], left)  # type: ignore[arg-type]  # it takes any buffer
            watch.sent()

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        watch = _watch()
        watch.handshakes += 1
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, max(watch.left_s(timeout), 0.1)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
