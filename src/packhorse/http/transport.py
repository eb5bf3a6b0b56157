"""How a request goes out: through the proxy that the environment names for it, or directly, with the certificates that
it names.
"""

from __future__ import annotations

import importlib.util
import os
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import httpcore2
import httpx2

from packhorse.agent.background.network import SOCKS, BadSetting, Proxy, proxy_for, tls_context
from packhorse.http.reach import Reach
from packhorse.http.sockets import Sockets, Watch

_KEPT_S = 3.0  # idle; servers, ours too, end idle connections after 5 s, and a request must not meet that end
ANSWER_S = 60.0


class Transport(httpx2.BaseTransport):
    """Connections to servers, kept for a moment.

    May be used by several threads. Raises httpx2's errors, and BadSetting.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._pools: dict[tuple[object, ...], httpcore2.ConnectionPool] = {}
        self._making = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends it; the body of the answer is read as it is asked for."""
        url = request.url
        watch: Watch = request.extensions.get("watch") or Watch(ANSWER_S)
        try:
            proxy = request.extensions["proxy"] = proxy_for(str(url), self._environ)
        except BadSetting:
            raise
        except ValueError:
            raise httpx2.UnsupportedProtocol("no URL of the web") from None
        reach: Reach | None = request.extensions.get("reach")
        if reach is not None and proxy is not None:
            reach.check_name(url.host)
        pool = self._pool(proxy, url.scheme, reach)
        core = httpcore2.Request(
            request.method, httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw, content=request.stream, extensions=request.extensions,
        )  # fmt: skip
        with _as_httpx2(), watch.applied():
            answer = pool.handle_request(core)
        if proxy is not None and url.scheme == "http" and answer.status == 407:
            answer.close()
            raise httpx2.ProxyError("407 Proxy Authentication Required")
        return httpx2.Response(
            answer.status, headers=answer.headers, stream=_Body(answer, watch), extensions=answer.extensions
        )

    def close(self) -> None:
        """Ends all connections."""
        with self._making:
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()

    def _pool(self, proxy: Proxy | None, scheme: str, reach: Reach | None) -> httpcore2.ConnectionPool:
        way: tuple[object, ...] = (scheme, reach)  # a connection that one may have is none for the other
        if proxy is not None:
            way += (proxy.scheme, proxy.host, proxy.port, proxy.login)
        with self._making:
            if way not in self._pools:
                self._pools[way] = self._make_pool(proxy, scheme, reach)
            return self._pools[way]

    def _make_pool(self, proxy: Proxy | None, scheme: str, reach: Reach | None) -> httpcore2.ConnectionPool:
        tls = self._context() if "https" in (scheme, proxy.scheme if proxy is not None else "") else None
        if proxy is not None and proxy.scheme in SOCKS:
            return _socks_pool(proxy, tls)
        if proxy is None:
            return httpcore2.ConnectionPool(
                tls, max_connections=100, keepalive_expiry=_KEPT_S, network_backend=Sockets(reach)
            )
        return httpcore2.HTTPProxy(
            httpcore2.URL(scheme=proxy.scheme, host=proxy.host, port=proxy.port, target="/"),
            proxy_auth=proxy.login,
            ssl_context=tls,
            proxy_ssl_context=tls if proxy.scheme == "https" else None,
            max_connections=100,
            keepalive_expiry=_KEPT_S,
            network_backend=Sockets(),
        )

    def _context(self) -> ssl.SSLContext:
        """Made when it is first needed: reading all certificates takes as long as a small request."""
        if self._tls is None:
            self._tls = tls_context(self._environ)
        return self._tls


def _socks_pool(proxy: Proxy, tls: ssl.SSLContext | None) -> httpcore2.ConnectionPool:
    """The proxy is given names, not numbers, whichever way SOCKS is written."""
    if importlib.util.find_spec("socksio") is None:
        raise BadSetting(proxy.variable, "SOCKS needs one more package: pip install 'packhorse[socks]'")
    return httpcore2.SOCKSProxy(
        httpcore2.URL(scheme="socks5", host=proxy.host, port=proxy.port, target="/"),
        proxy_auth=proxy.login,
        ssl_context=tls,
        max_connections=100,
        keepalive_expiry=_KEPT_S,
        network_backend=Sockets(),
    )


class _Body(httpx2.SyncByteStream):
    """An answer's body, read under the limits of its request."""

    def __init__(self, answer: httpcore2.Response, watch: Watch) -> None:
        self._answer, self._watch = answer, watch

    def __iter__(self) -> Iterator[bytes]:
        stream = self._answer.stream
        assert isinstance(stream, Iterable)
        pieces = iter(stream)
        while True:
            with (
                _as_httpx2(),
                self._watch.applied(),
            ):  # not around the yield: meanwhile the thread may ask for something else
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def close(self) -> None:
        self._answer.close()


@contextmanager
def _as_httpx2() -> Iterator[None]:
    """httpcore2's errors as those of the same names that httpx2 has."""
    try:
        yield
    except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.ProxyError) as error:
        raise getattr(httpx2, type(error).__name__)(str(error)) from error
