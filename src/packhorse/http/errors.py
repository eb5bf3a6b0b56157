"""Why a server did not give an answer that can be used."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """What went wrong, by what one does about it."""

    SETTING = "setting"
    """A variable of the environment (a proxy, certificates) cannot be used."""
    PROXY = "proxy"
    """The proxy does not answer, or refuses."""
    NAME = "name"
    """The host's name does not resolve."""
    CONNECT = "connect"
    """Nobody listens there, or there is no way."""
    CERTIFICATE = "certificate"
    """The server's certificate is not to be trusted."""
    TLS = "tls"
    """TLS was spoken to a server without it, or the other way round."""
    LATE = "late"
    """It took longer than it may."""
    CUT = "cut"
    """The connection ended in the middle."""
    GARBLED = "garbled"
    """What came is not HTTP, or not as long or as packed as it said."""
    REDIRECT = "redirect"
    """It sends us in a circle, too far, or where we do not go."""
    LARGE = "large"
    """The answer is larger than any that makes sense."""
    URL = "url"
    """What was to be asked for is no URL of the web."""
    INSIDE = "inside"
    """It is in our own network, where those who asked are not let."""


#: These stay as they are until somebody does something about them: trying again does not help.
LASTING = frozenset({Fault.REDIRECT, Fault.LARGE, Fault.URL, Fault.INSIDE})

#: Answers of servers that are busy or have a fault of their own for now: the same request may go well later.
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class NotReached(Exception):
    """No usable answer.

    ``what`` is a clause without a full stop that names the host; ``hint`` a sentence, or empty. Neither holds secrets.

    ``sent``: the request may have reached the server, which may have done what was asked.
    """

    def __init__(self, fault: Fault, what: str, hint: str = "", *, sent: bool = False) -> None:
        super().__init__(what)
        self.fault, self.what, self.hint, self.sent = fault, what, hint, sent


class Stopped(Exception):
    """The event that was given to stop a transfer is set."""
