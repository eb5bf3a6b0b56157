"""URLs that outputs are delivered to: ``s3://bucket/key``, ``file:///path``, ``shock://host``. Pure."""

from __future__ import annotations

from urllib.parse import quote

from packhorse.domain.dataurl import parse_url

SCHEMES = ("s3", "shock", "file")


def output_problem(url: str) -> str | None:
    """Why nothing can be delivered to a URL, as the end of a sentence; None when something can."""
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme not in SCHEMES:
        return f"outputs cannot be delivered to '{url[:200]}'. Known are s3://, shock:// and file://."
    if scheme == "file":
        path = file_target(url)
        if not path.startswith("/") or ".." in path.split("/") or not path.isprintable():
            return f"the URL '{url[:200]}' names no absolute path without '..'."
        return None
    try:
        parse_url(_example(url, scheme))
    except ValueError as error:
        return str(error)
    return None


def below(prefix: str, *parts: str) -> str:
    """The URL of an output below ``prefix``: ``prefix/RUN/INDEX/PATH``; a Shock server has no folders."""
    if prefix.lower().startswith("shock://"):
        return prefix
    if prefix.lower().startswith("s3://"):
        parts = tuple(quote(part) for part in parts)
    return "/".join([prefix.rstrip("/"), *parts])


def file_target(url: str) -> str:
    """The path of a ``file://`` URL."""
    return url[len("file://") :]


def shock_host(url: str) -> str:
    """The host of a ``shock://`` URL that a new node is to be made at."""
    return url[len("shock://") :].partition("/")[0]


def _example(url: str, scheme: str) -> str:
    """A URL of the same kind that names something, since a prefix may end with its bucket, and a node has no id yet."""
    if scheme == "shock":
        return (
            f"shock://{shock_host(url)}/node/new" if url[len("shock://") :].partition("/")[2].strip("/") in ("", "node") else url + "/new"
        )
    return url.rstrip("/") + "/x"
