"""Fetches a file by http(s) at a site: resumed where an earlier try stopped, checked, and in its place only when it is
whole.
"""

import hashlib
import http.client
import os
import re

from .ask import Answer, FetchFailed, ask
from .crc64 import crc64nvme

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

_PIECE = 1 << 20


def fetch(step: "Dict[str, Any]", progress: "Callable[[int], None]") -> "Dict[str, Any]":
    """Fetch `url` to `path`; returns size, sha256 and crc64nvme (if it was asked for), in hexadecimal.

    `progress` is told the bytes that are there. `size`, `sha256`, `crc64nvme` are what it must be, `headers` go to this
    server alone, `etag` is what the source must still be, `opened` what of the site's own network may be asked
    (all of it if it is not there). A URL may hold a secret: it is repeated nowhere.
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
    try:
        if have and (
            answer.status != 206 or not str(answer.headers.get("Content-Range", "")).startswith("bytes %d-" % have)
        ):
            sums.restart()
            file.truncate(0)
        length = answer.headers.get("Content-Length")
        total = sums.size + int(length) if length is not None and re.match("[0-9]{1,18}$", length) else None
        progress(sums.size)
        while True:
            try:
                piece = answer.read(_PIECE)
            except (http.client.HTTPException, OSError, ValueError) as error:
                raise FetchFailed(
                    "away", "the server broke off after %d bytes (%s)" % (sums.size, _short(error))
                ) from None
            if not piece:
                break
            file.write(piece)
            sums.add(piece)
            progress(sums.size)
            if step.get("size") is not None and sums.size > step["size"]:
                return  # whatever else comes: it is not what was promised
    finally:
        answer.close()
    if total is not None and sums.size < total:
        raise FetchFailed("away", "the server broke off after %d of %d bytes" % (sums.size, total))


def _ask(step: "Dict[str, Any]", have: int) -> "Optional[Answer]":
    """The server's answer; None where there is nothing behind `have`."""
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = "bytes=%d-" % have
        if step.get("etag"):
            headers["If-Range"] = step["etag"]
    answer = ask(str(step["url"]), headers, dict(step.get("headers") or {}), step.get("opened"))
    if answer.status != 416:
        return answer
    answer.close()
    if have:
        return None
    raise FetchFailed("refused", "the server says 416 %s" % answer.reason)


def _short(error: Exception) -> str:
    return "too slow" if str(error) == "too slow" else type(error).__name__
