"""URLs that outputs are delivered to: ``s3://bucket/key``, ``file:///path``, ``shock://host``. Pure."""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote_to_bytes

from packhorse.domain.dataurl import parse_url

SCHEMES = ("s3", "shock", "file")
_BYTE = re.compile("[\udc80-\udcff]")  # of a name, that is not UTF-8 (PEP 383)


def output_problem(url: str) -> str | None:
    """Why nothing can be delivered to a URL, as the end of a sentence; None when something can."""
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme not in SCHEMES:
        return f"outputs cannot be delivered to '{url[:200]}'. Known are s3://, shock:// and file://."
    if scheme == "file":
        path = file_target(url)
        if (
            not path.startswith("/")
            or ".." in path.split("/")
            or any(character < " " or character == "\x7f" for character in path)
        ):
            return f"the URL '{url[:200]}' names no absolute path without '..'."
        return None
    try:
        parse_url(_example(url, scheme))
    except ValueError as error:
        return str(error)
    return None


def below(prefix: str, *parts: str) -> str:
    """The URL of an output below ``prefix``: ``prefix/RUN/INDEX/PATH``; a Shock server has no folders.

    Names of files are bytes, and percent-encoded as such. Those of S3 are text: there, what is not UTF-8 is a ``%XX``
    of the key itself.
    """
    scheme = prefix.partition("://")[0].lower()
    if scheme == "shock":
        return prefix
    encoded = (quote(as_text(part)) if scheme == "s3" else quote(os.fsencode(part)) for part in parts)
    return "/".join([prefix.rstrip("/"), *encoded])


def as_text(name: str) -> str:
    """The name of a file as text: ``%XX`` for each byte that is not UTF-8."""
    return _BYTE.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", name)


def has_folders(url: str) -> bool:
    """Whether there are folders where ``url`` points to, with modes, which may be empty."""
    return url.lower().startswith("file://")


def file_target(url: str) -> str:
    """The path of a ``file://`` URL, or a path as it is."""
    if not url.lower().startswith("file://"):
        return url
    return os.fsdecode(unquote_to_bytes(os.fsencode(url[len("file://") :])))


def shock_host(url: str) -> str:
    """The host of a ``shock://`` URL that a new node is to be made at."""
    return url[len("shock://") :].partition("/")[0]


def _example(url: str, scheme: str) -> str:
    """A URL of the same kind that names something, since a prefix may end with its bucket, and a node has no id yet."""
    if scheme == "shock":
        return (
            f"shock://{shock_host(url)}/node/new"
            if url[len("shock://") :].partition("/")[2].strip("/") in ("", "node")
            else url + "/new"
        )
    return url.rstrip("/") + "/x"
