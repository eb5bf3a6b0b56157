"""URLs of data: which there are, what they name, and what is wrong with one. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = ("http", "https", "s3", "shock")
MAX_URL = 2000

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_BUCKET = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_NODE = re.compile(r"^[A-Za-z0-9-]{1,64}$")
_UNSAFE_NAME = re.compile(r"[^A-Za-z0-9._+=,@%-]")
#: Query parameters that give access to whoever has the URL.
_SECRETS = frozenset(
    {
        "access_token",
        "api_key",
        "apikey",
        "awsaccesskeyid",
        "key",
        "oauth_token",
        "password",
        "sig",
        "signature",
        "token",
    }
    | {"x-amz-credential", "x-amz-security-token", "x-amz-signature", "x-goog-signature"}
)


@dataclass(frozen=True, slots=True)
class DataUrl:
    """A URL of data, taken apart.

    ``location`` is what is fetched; ``sha256`` what its content must have, in hexadecimal.
    """

    scheme: str
    host: str
    """Host with port; the bucket, for S3."""
    path: str
    """With the query, as written; the key, for S3; the id of the node, for Shock."""
    location: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The name that a file of this URL gets: the last part of the path, without what a shell or a runtime could
        mistake.
        """
        path = self.path if self.scheme == "s3" else unquote(self.path.partition("?")[0])
        return safe_name(path.rstrip("/").rpartition("/")[2]) or "data"


def safe_name(text: str) -> str:
    """``text`` as the name of a file that neither a shell nor a runtime mistakes; may be empty."""
    return _UNSAFE_NAME.sub("_", text).lstrip(".-")[-100:].lstrip(".-")


def is_url(text: str) -> bool:
    """Whether ``text`` is a URL of data to be fetched, rightly or wrongly made. Paths and ``file://`` are not."""
    found = _SCHEME.match(text)
    return found is not None and found[1].lower() not in ("file", "task")


def parse_url(url: str) -> DataUrl:
    """Takes a URL apart that ``url_problem`` finds nothing wrong with; raises ValueError with the problem."""
    scheme_match = _SCHEME.match(url)
    if scheme_match is None:
        raise ValueError(f"'{_shown(url)}' is not a URL.")
    scheme = scheme_match[1].lower()
    if scheme not in SCHEMES:
        raise ValueError(
            f"the URL '{_shown(url)}' has a scheme that cannot be fetched here. Known are {', '.join(SCHEMES)} and"
            " file."
        )
    if len(url) > MAX_URL:
        raise ValueError(f"the URL '{_shown(url)}' is {len(url):,} characters long; the limit is {MAX_URL:,}.")
    if not url.isprintable() or " " in url or not url.isascii():
        raise ValueError(f"the URL '{_shown(url)}' has characters that must be percent-encoded.")
    location, _, fragment = url.partition("#")
    sha256 = _expected(url, fragment)
    try:
        parts = urlsplit(location)
        parts.port  # noqa: B018 (raises for a port that is none)
    except ValueError as error:
        raise ValueError(f"the URL '{_shown(url)}' cannot be read: {error}.") from None
    if "@" in parts.netloc:
        raise ValueError(
            f"the URL '{_shown(url)}' carries a name or a password, which would be stored; leave them out."
        )
    if not parts.netloc or not (parts.hostname or ""):
        what = "bucket" if scheme == "s3" else "host"
        raise ValueError(f"the URL '{_shown(url)}' names no {what}.")
    if {".", ".."} & set(unquote(parts.path).split("/")):
        raise ValueError(f"the URL '{_shown(url)}' has '.' or '..' in its path; write it without.")
    if secret := next(
        (name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if name.lower() in _SECRETS), None
    ):
        raise ValueError(
            f"the URL '{_shown(url)}' carries a secret ('{secret}'), which would be stored; "
            "use its s3:// form, and give Packhorse a key of its own."
        )
    return _of_scheme(url, scheme, parts.netloc, parts.path, parts.query, location, sha256)


def url_problem(url: str) -> str | None:
    """What is wrong with a URL of data, as the end of a sentence; None when nothing is."""
    try:
        parse_url(url)
    except ValueError as error:
        return str(error)
    return None


def is_below(url: str, prefix: str) -> bool:
    """Whether a URL that ``parse_url`` takes lies below ``prefix``, another one: same scheme and host, and its path up
    to a '/'.
    """
    one, other = parse_url(url), prefix.partition("://")
    host, _, path = other[2].partition("/")
    if (one.scheme, one.host.lower()) != (other[0].lower(), host.lower()):
        return False
    wanted, own = "/" + path.strip("/"), "/" + one.path.split("?")[0].lstrip("/")
    return wanted == "/" or own == wanted or own.startswith(wanted + "/")


def _of_scheme(url: str, scheme: str, host: str, path: str, query: str, location: str, sha256: str | None) -> DataUrl:
    if scheme == "s3":
        key = unquote(path).lstrip("/")
        if not _BUCKET.match(host):
            raise ValueError(f"the URL '{_shown(url)}' names no bucket: '{host[:70]}' cannot be one.")
        if query:
            raise ValueError(
                f"the URL '{_shown(url)}' has a query, which S3 does not have; percent-encode a '?' of a key."
            )
        if not key or key.endswith("/"):
            raise ValueError(f"the URL '{_shown(url)}' names no object: give bucket and key.")
        return DataUrl(scheme, host, key, location, sha256)
    if scheme == "shock":
        folder, _, node = path.strip("/").partition("/")
        if folder != "node" or not _NODE.match(node) or query:
            raise ValueError(f"the URL '{_shown(url)}' names no node of Shock; it is written shock://HOST/node/ID.")
        return DataUrl(scheme, host, node, location, sha256)
    return DataUrl(scheme, host, f"{path or '/'}{'?' + query if query else ''}", location, sha256)


def _expected(url: str, fragment: str) -> str | None:
    """The SHA-256 of ``#sha256=…``; any other fragment is refused, since it would be ignored in silence."""
    if not fragment:
        return None
    kind, _, value = fragment.partition("=")
    if kind != "sha256" or not _SHA256.match(value.lower()):
        raise ValueError(f"the URL '{_shown(url)}' has a fragment that is not '#sha256=' and 64 hexadecimal digits.")
    return value.lower()


def _shown(url: str) -> str:
    """A URL as it may be shown: without user and password, without the values of its query, not endless."""
    hidden = re.sub(r"://[^/?#]*@", "://…@", url)
    return re.sub(r"=[^&#]*", "=…", hidden)[:200] if "?" in hidden else hidden[:200]


def is_data(url: Any, content: str | None = None) -> bool:
    """Whether an input is fetched by URL."""
    return content is None and url is not None and is_url(str(url))
