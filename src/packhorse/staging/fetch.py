"""Brings the bytes of a URL into a file: streaming, resumed where an earlier try stopped, checked against everything
that is known.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import httpx2

from packhorse.domain.dataurl import DataUrl
from packhorse.domain.ourselves import make_private_folder
from packhorse.http.client import Http
from packhorse.http.errors import Stopped
from packhorse.staging.checksums import Summing, Sums, check
from packhorse.staging.data import NotFetched, Trouble
from packhorse.staging.sources import Source, asking, refuse

_PIECE = 1 << 20
_STREAM = 1 << 16


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file whose bytes have all come, and are what they should be.

    ``source`` with what the server said along with the bytes.
    """

    path: Path
    sums: Sums
    source: Source


def fetch(
    client: Http,
    url: DataUrl,
    source: Source,
    part: Path,
    report: Callable[[int, int | None], None],
    stop: threading.Event,
) -> Fetched:
    """Fetches ``source`` into ``part``, to whose name a tag of the version is added.

    ``report`` is told (bytes done, bytes in all).

    Raises NotFetched; or Stopped, and then what is there of the file stays for the next one.
    """
    make_private_folder(part.parent)
    with _own_file(part.with_name(f"{part.name}-{version_tag(source)}")) as (file, path):
        summing = Summing()
        if _can_resume(source):
            _sum_what_is_there(file, summing, stop)
        else:
            file.truncate(0)
        try:
            source = _stream(client, url, source, file, summing, report, stop)
            file.flush()
            sums = summing.sums()
            check(sums, source.expected, source.who)
            if url.sha256 is not None and sums.sha256 != url.sha256:
                raise NotFetched(Trouble.WRONG, f"Its SHA-256 is {sums.sha256}, and the URL says {url.sha256}.")
        except NotFetched as failure:
            if failure.trouble is not Trouble.AWAY:
                path.unlink(missing_ok=True)
            raise
    return Fetched(path, sums, source)


def _stream(
    client: Http,
    url: DataUrl,
    source: Source,
    file: BinaryIO,
    summing: Summing,
    report: Callable[..., None],
    stop: threading.Event,
) -> Source:
    """Adds what is missing to ``file``; returns ``source`` with what the answer said."""
    have = summing.size
    if have and have == source.expected.size:
        return source
    headers = {**source.headers, **_request_headers(source, have)}
    with (
        asking(),
        client.stream("GET", source.request_url, headers=headers, stop=stop, trusted=source.trusted) as answer,
    ):
        if have and not _goes_on(answer, source, have):
            if answer.status_code in (206, 412, 416):  # it is another file by now: from the beginning, next time
                file.truncate(0)
                raise NotFetched(Trouble.AWAY, f"{url.host} has another file by now.")
            refuse(answer, url.host)
            summing.restart()
            file.truncate(0)
        refuse(answer, url.host)
        total, source = _told(answer, source, summing.size)
        report(summing.size, total)
        for piece in answer.iter_raw(_STREAM):
            file.write(piece)
            summing.add(piece)
            report(summing.size, total)
            if stop.is_set():
                raise Stopped
            if total is not None and summing.size > total:
                raise NotFetched(
                    Trouble.WRONG, f"{url.host} sends more than the {total:,} bytes that it has spoken of."
                )
    if total is not None and summing.size < total:
        raise NotFetched(Trouble.AWAY, f"{url.host} broke off after {summing.size:,} of {total:,} bytes.")
    return source


def _request_headers(source: Source, have: int) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    if have:
        headers["Range"] = f"bytes={have}-"
        if source.if_range is not None:
            headers["If-Range"] = source.if_range
    return headers


def _goes_on(answer: httpx2.Response, source: Source, have: int) -> bool:
    """Whether the answer is the rest of what we have.

    Not every server knows If-Range, so the ETag is looked at as well.
    """
    if answer.status_code != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        return False
    etag = answer.headers.get("ETag")
    return source.if_range is None or source.etag is None or etag in (None, source.etag)


def _told(answer: httpx2.Response, source: Source, have: int) -> tuple[int | None, Source]:
    """(size of the whole file, if the answer tells; ``source`` with what else it tells)."""
    length = answer.headers.get("Content-Length", "")
    is_as_it_is = "Content-Encoding" not in answer.headers
    total = have + int(length) if length.isdecimal() and is_as_it_is else source.expected.size
    if not source.is_plain:
        return total, source
    etag, modified = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
    return total, replace(source, etag=etag, last_modified=modified, expected=replace(source.expected, size=total))


def _can_resume(source: Source) -> bool:
    """Only what is certainly the same file: a strong ETag, or a date with a size."""
    if source.etag is not None:
        return not source.etag.startswith("W/")
    return source.last_modified is not None and source.expected.size is not None


def version_tag(source: Source) -> str:
    """Tells what is fetched now from what was fetched of another version."""
    return hashlib.sha256(f"{source.etag}\0{source.last_modified}\0{source.expected.size}".encode()).hexdigest()[:12]


@contextmanager
def _own_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """The file, locked; one of our own where an engine that was taken for dead still writes the other."""
    with open(path, "ab+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            own = path.with_name(f"{path.name}.{os.getpid()}")
        else:
            yield file, path
            return
    with open(own, "wb+") as file:
        yield file, own


def _sum_what_is_there(file: BinaryIO, summing: Summing, stop: threading.Event) -> None:
    """The checksums of what an earlier try left."""
    file.seek(0)
    while piece := file.read(_PIECE):
        summing.add(piece)
        if stop.is_set():
            raise Stopped
