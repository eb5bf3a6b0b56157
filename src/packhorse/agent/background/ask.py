"""One GET of a file: through the proxy that the environment names or directly, redirects followed, every wait with an
end.
"""

import http.client
import os
import re
import socket
import ssl
import threading
import time
from email.utils import mktime_tz, parsedate_tz
from functools import partial
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from .network import SOCKS, BadSetting, is_inside, names_inside, origin, proxy_for, tls_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Sequence, Tuple

    from .network import Proxy

CONNECT_S = 10.0
WAIT_S = 60.0  # for the next bytes, and for the headers of an answer from the last byte asked
LEAST_BYTES = 60 * 1024  # that come in WAIT_S, or it is no transfer any more
HOPS = 5
AFTER_S = 120.0  # a server that says Retry-After is waited for, if not longer than this,
TIMES = 3  # and no more often
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_MOVED = (301, 302, 303, 307, 308)
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_SAFE = "%/:=&?~#+!$,;'@()*[]"
_INSIDE = "it is inside the site's own network, where URLs of users do not lead"


class FetchFailed(Exception):
    """A file that was not fetched.

    `kind`: `away` (try again), `wrong` (not what was promised) or `refused`; `msg` names no URL.
    """

    def __init__(self, kind: str, msg: str) -> None:
        Exception.__init__(self, msg)
        self.kind = kind
        self.msg = msg


class Answer:
    """A server's answer and its connection. `read` gives the body in pieces, as they come."""

    def __init__(self, connection: http.client.HTTPConnection, guard: "Guard") -> None:
        self._connection, self._guard = connection, guard
        self.response = connection.getresponse()
        guard.came(LEAST_BYTES)
        self.status, self.reason, self.headers = self.response.status, self.response.reason, self.response.headers

    def read(self, size: int) -> bytes:
        """At least a byte; none at the end. Raises OSError, HTTPException and ValueError."""
        try:
            piece = self.response.read1(size)
        except (http.client.HTTPException, OSError, ValueError):  # ValueError: the guard has closed it
            if not self._guard.is_late:
                raise
            piece = b""
        if not piece and self._guard.is_late:
            raise OSError("too slow")
        self._guard.came(len(piece))
        return piece

    def close(self) -> None:
        """Ends the connection."""
        self._guard.end()
        self.response.close()
        self._connection.close()


class Guard:
    """Ends a connection over which too little comes.

    A limit for each read alone would let a server send a byte a minute.
    """

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.is_late = False
        self._connection, self._over = connection, threading.Event()
        self._bytes, self._deadline = 0, time.monotonic() + WAIT_S
        threading.Thread(target=self._watch, daemon=True).start()

    def came(self, size: int) -> None:
        """So many bytes more."""
        self._bytes += size
        if self._bytes >= LEAST_BYTES:
            self._bytes, self._deadline = 0, time.monotonic() + WAIT_S

    def end(self) -> None:
        """Nothing is to be watched any more."""
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, WAIT_S / 4)):
            if time.monotonic() > self._deadline:
                self.is_late = True
                try:
                    self._connection.sock.shutdown(socket.SHUT_RDWR)
                except (OSError, AttributeError, ValueError):
                    pass  # it is not open, or not any more
                return


def ask(
    url: str, headers: "Dict[str, str]", secrets: "Dict[str, str]", opened: "Optional[Sequence[str]]" = None
) -> Answer:
    """The answer to a GET, after redirects; one that is no success is FetchFailed, but 416.

    `secrets` are headers for this server alone. Unless `opened` is None, nothing inside the site's own network is asked
    but what lies in these networks.
    """
    for _ in range(TIMES):
        answer = _follow(url, headers, secrets, opened)
        after_s = retry_after(answer)
        if after_s is None or after_s > AFTER_S:
            break
        answer.close()
        time.sleep(after_s)
    else:
        answer = _follow(url, headers, secrets, opened)
    if not 200 <= answer.status < 300 and answer.status != 416:
        answer.close()
        raise FetchFailed(
            "away" if answer.status in _PASSING else "refused", "the server says %d %s" % (answer.status, answer.reason)
        )
    return answer


def retry_after(answer: Answer) -> "Optional[float]":
    """Seconds after which a server that is busy (429, 503) wants to be asked again; None where it does not say."""
    text = str(answer.headers.get("Retry-After") or "").strip()
    if answer.status not in (429, 503) or not text:
        return None
    if re.match(r"[0-9]{1,9}\Z", text):
        return float(text)
    when = parsedate_tz(text)
    try:
        return None if when is None else max(0.0, mktime_tz(when) - time.time())
    except (ValueError, OverflowError):
        return None


def _follow(
    url: str, headers: "Dict[str, str]", secrets: "Dict[str, str]", opened: "Optional[Sequence[str]]"
) -> Answer:
    seen = []
    for _ in range(HOPS + 1):
        seen.append(url)
        answer = _get(url, dict(headers, **secrets), opened)
        location = answer.headers.get("Location")
        if answer.status not in _MOVED or not location:
            return answer
        answer.close()
        url, before = _onward(url, location), origin(url)
        if url in seen:
            raise FetchFailed("refused", "the server sends us on in a circle")
        now = origin(url)
        if now != before:
            if secrets and (before[0], now[0]) == ("https", "http"):
                raise FetchFailed("refused", "the server sends us on to one without TLS, and we carry credentials")
            secrets = {}
    raise FetchFailed("refused", "the server sends us on and on")


def _onward(url: str, location: str) -> str:
    """Where a redirect leads; without a name and password."""
    try:
        parts = urlsplit(urljoin(url, quote(location.strip().encode("latin-1", "replace"), safe=_SAFE)))
        url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
        origin(url)
    except ValueError:
        raise FetchFailed("refused", "the server sends us on to what is no web server") from None
    return url


def _get(url: str, headers: "Dict[str, str]", opened: "Optional[Sequence[str]]") -> Answer:
    """The answer to one request, whatever its status."""
    try:
        proxy = proxy_for(url, os.environ)
    except BadSetting as error:
        raise FetchFailed("away", str(error)) from None
    except ValueError as error:
        raise FetchFailed("refused", str(error)) from None
    connection = _connection(url, proxy)
    parts = urlsplit(url)
    if opened is not None and proxy is None:
        connection._create_connection = partial(_connect_outside, opened)  # type: ignore[attr-defined]
    elif opened is not None and names_inside(parts.hostname or "", opened):
        raise FetchFailed("refused", _INSIDE)
    target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    headers = dict(headers, Host=parts.netloc, Connection="close")
    headers["User-Agent"] = "packhorse"
    if proxy is not None and parts.scheme.lower() == "http":
        target = urlunsplit(("http", parts.netloc, parts.path or "/", parts.query, ""))
        if proxy.authorization is not None:
            headers["Proxy-Authorization"] = proxy.authorization
    guard, answer = Guard(connection), None
    try:
        _connect(connection, proxy)
        connection.request("GET", target, headers=headers)
        answer = Answer(connection, guard)
    except (
        http.client.HTTPException,
        OSError,
        ValueError,
    ) as error:  # ValueError: a read from what the guard has closed
        raise FetchFailed(
            "away", "the server does not answer%s" % (" in time" if guard.is_late else _why(error))
        ) from None
    finally:
        if answer is None:
            guard.end()
            connection.close()
    if answer.status == 407 and proxy is not None:
        answer.close()
        raise FetchFailed(
            "away", "%s wants a name and a password, or refuses those that it was given (407)" % proxy.shown
        )
    return answer


def _connection(url: str, proxy: "Optional[Proxy]") -> "http.client.HTTPConnection":
    """Not yet open."""
    scheme, host, port = origin(url)
    tls = scheme == "https" or (proxy is not None and proxy.scheme == "https")
    if proxy is not None and proxy.scheme in SOCKS:
        raise FetchFailed("away", "%s speaks SOCKS, and here only http:// and https:// proxies are known" % proxy.shown)
    if scheme == "https" and proxy is not None and proxy.scheme == "https":
        raise FetchFailed(
            "away", "%s is spoken to with TLS, and here https goes through http:// proxies only" % proxy.shown
        )
    place = (host, port) if proxy is None else (proxy.host, proxy.port)
    if not tls:
        return http.client.HTTPConnection(place[0], place[1], timeout=CONNECT_S)
    try:
        context = tls_context(os.environ)
    except BadSetting as error:
        raise FetchFailed("away", str(error)) from None
    connection = http.client.HTTPSConnection(place[0], place[1], timeout=CONNECT_S, context=context)
    if scheme == "https" and proxy is not None:
        given = {} if proxy.authorization is None else {"Proxy-Authorization": proxy.authorization}
        connection.set_tunnel(host, port, headers=given)
    return connection


def _connect(connection: http.client.HTTPConnection, proxy: "Optional[Proxy]") -> None:
    """Opens it. What fails between here and the proxy is told as the proxy's."""
    try:
        connection.connect()
    except (ssl.SSLError, ssl.CertificateError) as error:
        said = str(getattr(error, "verify_message", "") or "")
        if said or "CERTIFICATE" in str(error) or isinstance(error, ssl.CertificateError):
            raise FetchFailed(
                "away", "the server's certificate is not to be trusted (%s)" % (said or "it cannot be verified")
            ) from None
        raise
    except (http.client.HTTPException, OSError) as error:
        if proxy is None:
            raise
        said = str(error)
        if "407" in said:
            raise FetchFailed(
                "away", "%s wants a name and a password, or refuses those that it was given (407)" % proxy.shown
            ) from None
        if said.startswith("Tunnel connection failed: "):
            raise FetchFailed("away", "%s does not let us through (%s)" % (proxy.shown, said[26:90])) from None
        raise FetchFailed("away", "%s does not work%s" % (proxy.shown, _why(error))) from None
    connection.sock.settimeout(WAIT_S)


def _connect_outside(
    opened: "Sequence[str]", address: "Tuple[str, int]", timeout: "Any" = None, source_address: "Any" = None
) -> socket.socket:
    """A connection to one of a host's addresses that is not inside: what is connected to is what was looked at."""
    entries = socket.getaddrinfo(address[0], address[1], 0, socket.SOCK_STREAM)
    found = [(str(entry[4][0]), address[1]) for entry in entries]
    outside = [place for place in found if not is_inside(place[0], opened)]
    if not outside:
        raise FetchFailed("refused", _INSIDE)
    for place in outside[:-1]:
        try:
            return socket.create_connection(place, timeout, source_address)
        except OSError:
            pass
    return socket.create_connection(outside[-1], timeout, source_address)


def _why(error: Exception) -> str:
    """In brackets; without anything that a server said."""
    if isinstance(error, socket.timeout):
        return " (nothing came in time)"
    if isinstance(error, ssl.SSLError):
        reason = str(error.reason or "")
        return " (it does not speak TLS)" if reason in _NO_TLS else " (TLS: %s)" % (reason or "broken off")
    return " (%s)" % (getattr(error, "strerror", None) or type(error).__name__)
