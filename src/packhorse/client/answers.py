"""What a server's answers mean to its client: refusals, and answers of something that is no Packhorse server; and which
URLs may be one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from packhorse.domain.errors import (
    Conflict,
    InvalidManifest,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    PackhorseError,
    Problem,
    TooLarge,
    TooMany,
    TooSlow,
    Unavailable,
)

_ERRORS = {
    kind.code: kind
    for kind in (
        Conflict,
        InvalidManifest,
        InvalidRequest,
        NotAllowed,
        NotAuthenticated,
        NotFound,
        TooLarge,
        TooMany,
        TooSlow,
        Unavailable,
    )
}


def server_url(url: str) -> str:
    """A server's URL without a '/' at its end. Raises InvalidRequest, which repeats no password."""
    example = "It is like https://packhorse.example.org, or http://127.0.0.1:8765; PACKHORSE_URL names it."
    text = url.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise InvalidRequest("The URL of the server cannot be read.", hint=example) from None
    if "@" in text:
        raise InvalidRequest(
            "The URL of the server holds a name or a password.",
            hint="Leave it out; the token goes into PACKHORSE_TOKEN.",
        )
    if (
        parts.scheme.lower() not in ("http", "https")
        or not parts.hostname
        or port == 0
        or not text.isprintable()
        or " " in text
    ):
        raise InvalidRequest(f"'{ascii(text[:100])[1:-1]}' is not the URL of a server.", hint=example)
    if parts.query or parts.fragment:
        raise InvalidRequest(
            f"The URL of the server, '{ascii(text[:100])[1:-1]}', goes on after its path.", hint=example
        )
    return text.rstrip("/#?")


def refusal(url: str, response: Any, body: bytes) -> PackhorseError:
    """The server's refusal as the exception that it was there."""
    try:
        return refusal_of(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return other_server(url, response)


def refusal_of(error: Mapping[str, Any]) -> PackhorseError:
    """The exception that a refusal was (``api.errors``).

    Raises KeyError, TypeError, AttributeError where it is none.
    """
    problems = [Problem(problem["where"], problem["what"], problem["hint"]) for problem in error.get("problems", [])]
    kind = _ERRORS.get(error["code"], PackhorseError)
    return kind(str(error["message"]), hint=str(error.get("hint", "")), problems=problems)


def other_server(url: str, response: Any) -> Unavailable:
    """Something answers, and it is not Packhorse: a web page, another service, a proxy before a server that is away."""
    from packhorse.http.reasons import through  # slow to import

    status = response.status_code
    what = " with a web page" if "html" in response.headers.get("Content-Type", "") else ""
    message = f"The server at {url} does not answer as Packhorse does (HTTP {status}{what}){through(response.request)}."
    if status in (502, 503, 504):
        return Unavailable(message, hint="What stands before it may not reach it now. Try again later.")
    return Unavailable(message, hint="Is PACKHORSE_URL a Packhorse server, of a version like this one?")
