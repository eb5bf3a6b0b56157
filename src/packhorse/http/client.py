"""Asks servers: redirects, ``Retry-After``, sizes, and every failure as a ``NotReached``."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import httpx2

from packhorse.agent.background.network import BadSetting
from packhorse.http.errors import Fault, NotReached, Stopped
from packhorse.http.reach import Reach
from packhorse.http.reasons import explain, host_of
from packhorse.http.sockets import Watch
from packhorse.http.transport import ANSWER_S, Transport

MAX_DOCUMENT = 16 << 20
"""Bytes of a small document, unpacked."""
MAX_AFTER_S = 3600.0
"""The longest Retry-After that is heeded."""
TOTAL_S = 120.0
"""For a small document, from the connection to its last byte."""
_CONNECT_S = 10.0
_HOPS = 5
#: Not sent to another scheme, host or port than they were meant for.
_SECRET = ("authorization", "authentication", "cookie", "proxy-authorization", "x-auth-token", "x-amz-security-token")

for _name in ("httpx2", "httpcore2"):  # they log URLs, which may be signed, and at DEBUG all headers
    logging.getLogger(_name).setLevel(logging.WARNING)

Check = Callable[[httpx2.Request], None]
"""Called before each request, and before each that a redirect leads to; may raise."""


class Http:
    """A client that keeps its connections for a moment, and no cookies. May be used by several threads.

    ``timeout_s`` is for each wait for a server's next bytes. ``stop``, once it is set, ends every wait with Stopped.
    ``transport`` is for tests. ``reach`` says where requests may lead that are not ``trusted``.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_S,
        check: Check | None = None,
        stop: threading.Event | None = None,
        transport: httpx2.BaseTransport | None = None,
        environ: Mapping[str, str] = os.environ,
        reach: Reach | None = None,
    ) -> None:
        self._timeout_s, self._check, self._stop, self._reach = timeout_s, check, stop, reach
        named = {"User-Agent": "packhorse", "Accept-Encoding": "identity", **(headers or {})}
        self._client = httpx2.Client(headers=named, transport=transport or Transport(environ), trust_env=False)
        self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))

    def close(self) -> None:
        """Ends its connections."""
        self._client.close()

    @contextmanager
    def stream(
        self,
        method: str,
        url: str,
        *,
        timeout_s: float | None = None,
        total_s: float | None = None,
        stop: threading.Event | None = None,
        patience_s: float = 0.0,
        trusted: bool = False,
        **options: Any,
    ) -> Iterator[httpx2.Response]:
        """The answer, whatever its status, to be read within the block.

        Raises NotReached and Stopped, also while it is read.

        ``patience_s``: how long, in all, a server that says ``Retry-After`` is waited for. ``trusted``: the
        configuration names its server, which may be in our own network. ``options`` are those of httpx2.
        """
        stop = stop or self._stop
        waits_s = timeout_s if timeout_s is not None else self._timeout_s
        watch = Watch(waits_s, total_s, stop)
        request: httpx2.Request | None = None
        try:
            limits = httpx2.Timeout(waits_s, connect=min(_CONNECT_S, waits_s))
            known = {"watch": watch, "reach": None if trusted else self._reach}
            request = self._client.build_request(method, url, timeout=limits, extensions=known, **options)
            response = self._patiently(request, watch, patience_s, stop)
            request = response.request
            watch.answered()
            try:
                yield response
            finally:
                response.close()
        except (httpx2.HTTPError, httpx2.InvalidURL, BadSetting) as error:
            with suppress(AttributeError, RuntimeError):  # it knows better, after a redirect; not all of them do
                request = error.request  # type: ignore[union-attr]
            raise explain(error, request, watch) from None

    def ask(
        self, method: str, url: str, *, limit: int = MAX_DOCUMENT, total_s: float | None = TOTAL_S, **options: Any
    ) -> httpx2.Response:
        """The answer, whatever its status, with its body of at most ``limit`` bytes. Raises NotReached and Stopped."""
        with self.stream(method, url, total_s=total_s, **options) as response:
            body = read(response, limit)
            headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _OF_THE_BODY]
            return httpx2.Response(response.status_code, headers=headers, content=body, request=response.request)

    def _patiently(
        self, request: httpx2.Request, watch: Watch, patience_s: float, stop: threading.Event | None
    ) -> httpx2.Response:
        give_up = time.monotonic() + patience_s
        while True:
            response = self._follow(request, watch)
            after_s = retry_after(response)
            if not patience_s or after_s is None or time.monotonic() + after_s > give_up:
                return response
            response.close()
            if (stop or threading.Event()).wait(max(after_s, 0.1)):
                raise Stopped
            watch.sent()

    def _follow(self, request: httpx2.Request, watch: Watch) -> httpx2.Response:
        """Sends it, and goes where it is sent on to."""
        seen = set()
        for _ in range(_HOPS + 1):
            if self._check is not None:
                self._check(request)
            watch.host, watch.handshakes = "", 0
            response = self._client.send(request, stream=True, follow_redirects=False, auth=None)
            if not (response.has_redirect_location and response.headers["Location"].strip()):
                return response
            response.close()
            seen.add((request.method, str(request.url)))
            host = host_of(request.url)
            request = _onward(request, response)
            if (request.method, str(request.url)) in seen:
                raise NotReached(Fault.REDIRECT, f"{host} sends us on in a circle", sent=True)
        raise NotReached(
            Fault.REDIRECT, f"{host} sends us on and on", f"More than {_HOPS} redirects are not followed.", sent=True
        )


def only_at(url: str) -> Check:
    """A check that lets nothing go to another scheme, host or port than those of ``url``."""

    def check(request: httpx2.Request) -> None:
        if request.url.origin != httpx2.URL(url).origin:
            place = f"{request.url.scheme}://{host_of(request.url)}"
            raise NotReached(
                Fault.REDIRECT, f"it sends us on to {place}", f"If that is right, name {place} instead.", sent=True
            )

    return check


_HOST = re.compile(r"[A-Za-z0-9._:-]+\Z")  # what is left of one that is none has '%'
_OF_THE_BODY = (b"content-encoding", b"content-length", b"transfer-encoding")


def _onward(request: httpx2.Request, response: httpx2.Response) -> httpx2.Request:
    """The request that a redirect asks for; without secrets where it goes to somebody else."""
    host, onward = host_of(request.url), response.next_request
    if (
        onward is None
        or onward.url.scheme not in ("http", "https")
        or not _HOST.match(onward.url.raw_host.decode("ascii"))
    ):
        raise NotReached(Fault.REDIRECT, f"{host} sends us on to what is no web server", sent=True)
    place = f"{onward.url.scheme}://{host_of(onward.url)}"
    is_same = onward.url.origin == request.url.origin
    if onward.url.userinfo:
        onward.url = onward.url.copy_with(username=None, password=None)
    if request.method not in ("GET", "HEAD") and (onward.method != request.method or not is_same):
        hint = f"If that is right, name {place} instead."
        raise NotReached(
            Fault.REDIRECT, f"{host} sends us on to {place}, and a {request.method} is not sent there", hint, sent=True
        )
    if not is_same:
        carried = [name for name in _SECRET if name in request.headers]
        if carried and (request.url.scheme, onward.url.scheme) == ("https", "http"):
            raise NotReached(
                Fault.REDIRECT, f"{host} sends us on to {place}, which has no TLS, and we carry credentials", sent=True
            )
        for name in carried:
            onward.headers.pop(name, None)
    return onward


def read(response: httpx2.Response, limit: int = MAX_DOCUMENT) -> bytes:
    """The body, unpacked; NotReached for one of more than ``limit`` bytes."""
    found = bytearray()
    for piece in response.iter_bytes(1 << 16):
        found += piece
        if len(found) > limit:
            raise NotReached(
                Fault.LARGE,
                f"{host_of(response.url)} sends more than {limit:,} bytes where that makes no sense",
                sent=True,
            )
    return bytes(found)


def lines(response: httpx2.Response, limit: int = MAX_DOCUMENT) -> Iterator[bytes]:
    """The lines of a body, unpacked, as they arrive; only LF ends one.

    NotReached for one of more than ``limit`` bytes.
    """
    rest = bytearray()
    for piece in response.iter_bytes():
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            yield bytes(rest + piece[start:end])
            rest.clear()
            start = end + 1
        rest += piece[start:]
        if len(rest) > limit:
            raise NotReached(
                Fault.LARGE, f"{host_of(response.url)} sends a line of more than {limit:,} bytes", sent=True
            )
    if rest:
        yield bytes(rest)


def retry_after(response: httpx2.Response) -> float | None:
    """Seconds after which a server that is busy (429, 503) wants to be asked again, at most MAX_AFTER_S; None where it
    does not say.
    """
    text = response.headers.get("Retry-After", "").strip()
    if response.status_code not in (429, 503) or not text:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), MAX_AFTER_S) if len(text) <= 12 else MAX_AFTER_S
    try:
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
        return min(max((when - datetime.now(UTC)).total_seconds(), 0.0), MAX_AFTER_S)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
