"""What an error of the network means, in words, and whose fault it is: the server's, the proxy's, or that of a setting
here.
"""

from __future__ import annotations

import re

import httpx2

from packhorse.agent.background.network import BadSetting, Proxy
from packhorse.http.errors import Fault, NotReached
from packhorse.http.sockets import Watch

_UNVERIFIED = re.compile(r"certificate verify failed: (.*?) \(_ssl", re.DOTALL)
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)


def explain(error: Exception, request: httpx2.Request | None, watch: Watch) -> NotReached:
    """The error as one sentence about a host. ``request`` is the one that failed."""
    if isinstance(error, BadSetting):
        return NotReached(Fault.SETTING, str(error), f"Mend or unset {error.variable}.")
    if request is None or isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return NotReached(
            Fault.URL, "what is asked for is no URL of the web", "It is like https://host.example.org/path."
        )
    proxy: Proxy | None = request.extensions.get("proxy")
    if proxy is not None and _is_the_proxys(error, request, proxy, watch):
        return _of_the_proxy(error, proxy, request)
    found = _of_the_server(error, host_of(request.url))
    if found.fault is Fault.CUT and request.url.scheme == "http" and not watch.is_answered:
        found.hint = "Is it running? If it speaks TLS, its URL begins with https://."
    found.sent = not isinstance(error, _NEVER_SENT)
    found.what += through(request)
    return found


def through(request: httpx2.Request) -> str:
    """' (asked through the proxy …)', for an answer that may be the proxy's own; empty without one."""
    proxy: Proxy | None = request.extensions.get("proxy")
    return f" (asked through {proxy.shown.removesuffix(',')})" if proxy is not None else ""


def host_of(url: httpx2.URL) -> str:
    """Host, and the port where it is said; never a name or password."""
    return url.netloc.decode("ascii", "replace")


def _is_the_proxys(error: Exception, request: httpx2.Request, proxy: Proxy, watch: Watch) -> bool:
    if isinstance(error, httpx2.ProxyError):
        return True
    if not watch.host:  # the connection was there already, and had got through
        return False
    own = 1 if proxy.scheme == "https" else 0  # handshakes with the proxy itself
    if request.url.scheme == "https":
        return watch.handshakes <= own
    return isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)


def _of_the_proxy(error: Exception, proxy: Proxy, request: httpx2.Request) -> NotReached:
    words = str(error)
    host = host_of(request.url)
    direct = f"To ask {request.url.host} directly, add it to NO_PROXY."
    if isinstance(error, httpx2.ProxyError) and words.startswith("407"):
        what = "wants a name and a password, or refuses those that it was given (407)"
        hint = (
            f"Put them into {proxy.variable}, as http://NAME:PASSWORD@{proxy.address}, with special characters"
            f" percent-encoded. {direct}"
        )
    elif isinstance(error, httpx2.ProxyError):
        what, hint = f"does not let us through to {host} ({_clean(words)})", f"Ask who runs it. {direct}"
    else:
        why = _of_the_server(error, "it").what.removeprefix("it ")
        what, hint = (
            f"does not work: it {why}" if not why.startswith("the ") else f"does not work: {why}",
            f"Mend {proxy.variable}. {direct}",
        )
    return NotReached(Fault.PROXY, f"{proxy.shown} {what}", hint)


def _of_the_server(error: Exception, host: str) -> NotReached:
    words = str(error)
    again = "Try again later; if it stays so, check the network, and the name of the host."
    if isinstance(error, httpx2.TimeoutException):
        what = "sends too slowly" if "slow" in words else "does not answer in time"
        return NotReached(Fault.LATE, f"{host} {what}", again)
    if "CERTIFICATE_VERIFY_FAILED" in words:
        return _untrusted(words, host)
    if "SSL" in words or "TLS" in words:
        if any(sign in words for sign in _NO_TLS):
            return NotReached(
                Fault.TLS, f"{host} does not speak TLS", "If it is meant to be without, its URL begins with http://."
            )
        return NotReached(
            Fault.TLS, f"{host} and this machine do not agree on TLS ({_clean(words)})", "Ask who runs it."
        )
    if isinstance(error, httpx2.ConnectError):
        if "name resolution" in words or "Name or service" in words:
            return NotReached(Fault.NAME, f"the name '{host}' does not resolve", "Check the name, and the network.")
        return NotReached(
            Fault.CONNECT,
            f"{host} {'refuses connections' if 'refused' in words else f'is not reached ({_clean(words)})'}",
            again,
        )
    if isinstance(error, httpx2.DecodingError) or (
        isinstance(error, httpx2.RemoteProtocolError) and not _is_cut(words)
    ):
        return NotReached(
            Fault.GARBLED,
            f"{host} does not answer as a web server does",
            "If it speaks TLS, its URL begins with https://.",
        )
    return NotReached(Fault.CUT, f"{host} broke off", again)


def _is_cut(words: str) -> bool:
    return "disconnected" in words or "peer closed" in words or "closed connection" in words


def _untrusted(words: str, host: str) -> NotReached:
    found = _UNVERIFIED.search(words)
    why = found[1] if found else "it cannot be verified"
    hint = "If its authority is your own, name its certificates in SSL_CERT_FILE."
    if "mismatch" in why or "not valid for" in why:
        hint = "Use the name that the certificate has."
    elif "expired" in why or "not yet valid" in why:
        hint = "Who runs it has to renew the certificate; or is the clock of this machine wrong?"
    return NotReached(Fault.CERTIFICATE, f"the certificate of {host} is not to be trusted: {_clean(why)}", hint)


def _clean(words: str) -> str:
    """Another's words, in one line, printable, and not too many; without what stands in brackets about our own
    source.
    """
    words = re.sub(r"\(_ssl\.c:\d+\)|^\[(Errno|SSL)[^\]]*\]", "", words)
    return " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())[:100].rstrip(".")
