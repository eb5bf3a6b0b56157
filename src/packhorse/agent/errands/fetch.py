"""Fetches a file by http(s) at a site: resumed where an earlier try stopped, checked, and in its place only when it is whole."""

import hashlib
import http.client
import os
import ssl
import urllib.error
import urllib.request

from .crc64 import crc64nvme

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

_PIECE = 1 << 20
_TIMEOUT_S = 60.0
_PASSING = (408, 425, 429, 500, 502, 503, 504)


class FetchFailed(Exception):
    """A file that was not fetched. `kind`: `away` (try again), `wrong` (not what was promised) or `refused`; `msg` names no URL."""

    def __init__(self, kind: str, msg: str) -> None:
        Exception.__init__(self, msg)
        self.kind = kind
        self.msg = msg


def fetch(step: "Dict[str, Any]", progress: "Callable[[int], None]") -> "Dict[str, Any]":
    """Fetch `url` to `path`; returns size, sha256 and crc64nvme (if it was asked for), in hexadecimal.

    `progress` is told the bytes that are there. `size`, `sha256`, `crc64nvme` are what it must be, `headers` are sent along,
    `etag` is what the source must still be. A URL may hold a secret: it is repeated nowhere.
    """
    path = str(step["path"])
    part = path + ".part"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        sums = _Sums(bool(step.get("crc64nvme")))
        with open(part, "ab+") as file:
            _sum_part(file, sums)
            _download(step, file, sums, progress)
            file.flush()
            os.fsync(file.fileno())
        found = sums.found()
        for name in ("size", "sha256", "crc64nvme"):
            if step.get(name) is not None and found.get(name) != step[name]:
                os.unlink(part)
                raise FetchFailed("wrong", "its %s is %s, and should be %s" % (name, found.get(name), step[name]))
        os.replace(part, path)
    except OSError as error:
        raise FetchFailed("away", "it cannot be kept: %s" % (error.strerror or type(error).__name__)) from None
    return found


class _Sums:
    """Checksums of bytes as they pass."""

    def __init__(self, with_crc: bool) -> None:
        self._with_crc = with_crc
        self.restart()

    def restart(self) -> None:
        self._sha256 = hashlib.sha256()
        self._crc = 0
        self.size = 0

    def add(self, data: bytes) -> None:
        self._sha256.update(data)
        if self._with_crc:
            self._crc = crc64nvme(data, self._crc)
        self.size += len(data)

    def found(self) -> "Dict[str, Any]":
        crc = {"crc64nvme": "%016x" % self._crc} if self._with_crc else {}
        return dict(crc, size=self.size, sha256=self._sha256.hexdigest())


def _sum_part(file: "Any", sums: _Sums) -> None:
    """What an earlier try left."""
    file.seek(0)
    while True:
        piece = file.read(_PIECE)
        if not piece:
            return
        sums.add(piece)


def _download(step: "Dict[str, Any]", file: "Any", sums: _Sums, progress: "Callable[[int], None]") -> None:
    """Add what is missing to `file`."""
    have = sums.size
    if have and have == step.get("size"):
        return
    answer = _ask(step, have)
    if answer is None:  # the server has less than we have: begin anew
        have = 0
        sums.restart()
        file.truncate(0)
        answer = _ask(step, 0)
    if answer is None:
        raise FetchFailed("away", "the server does not give the file")
    with answer:
        if have and not str(answer.headers.get("Content-Range", "")).startswith("bytes %d-" % have):
            sums.restart()
            file.truncate(0)
        length = answer.headers.get("Content-Length")
        total = sums.size + int(length) if length is not None and length.isdecimal() else None
        progress(sums.size)
        while True:
            try:
                piece = answer.read1(_PIECE)
            except (http.client.HTTPException, OSError) as error:
                raise FetchFailed("away", "the server broke off after %d bytes (%s)" % (sums.size, type(error).__name__)) from None
            if not piece:
                break
            file.write(piece)
            sums.add(piece)
            progress(sums.size)
    if total is not None and sums.size < total:
        raise FetchFailed("away", "the server broke off after %d of %d bytes" % (sums.size, total))


def _ask(step: "Dict[str, Any]", have: int) -> "Optional[Any]":
    """The server's answer; None where there is nothing behind `have`."""
    headers = dict(step.get("headers") or {}, **{"Accept-Encoding": "identity"})
    if have:
        headers["Range"] = "bytes=%d-" % have
        if step.get("etag"):
            headers["If-Range"] = step["etag"]
    url = str(step["url"])
    if not url.lower().startswith(("http://", "https://")):
        raise FetchFailed("refused", "only http and https are fetched here")
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            return None
        kind = "away" if error.code in _PASSING else "refused"
        raise FetchFailed(kind, "the server says %d %s" % (error.code, error.reason)) from None
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None)
        raise FetchFailed("away", "the server does not answer (%s)" % (reason or type(error).__name__)) from None
