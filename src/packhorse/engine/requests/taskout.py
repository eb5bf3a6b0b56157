"""Reads a task's stdout and stderr out of its agent's log, also while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from packhorse.domain.errors import InvalidRequest, NotFound, PackhorseError
from packhorse.domain.states import TERMINAL
from packhorse.domain.text import holdable
from packhorse.domain.views import LogPart
from packhorse.sites.site import Site, site_named
from packhorse.store.database import Database
from packhorse.store.tasks import attempts_of, log_chunks_of

_STREAMS = {"stdout": "out", "stderr": "err"}
MAX_PART = 8 << 20


def read_log(
    database: Database, sites: Mapping[str, Site], task: Any, stream: str, offset: int, limit: int, attempt: int | None
) -> LogPart:
    """At most ``limit`` bytes from ``offset`` of one stream of one attempt (the last one if None).

    ``task`` is the task's row.
    """
    if stream not in _STREAMS:
        raise InvalidRequest(f"'{stream[:60]}' is not a log.", hint="Logs are 'stdout' and 'stderr'.")
    if offset < 0 or limit < 1:
        raise InvalidRequest("A log is read from an offset of 0 or more, at least one byte at a time.")
    if attempt is not None and not 1 <= attempt <= max(task.attempt, 1):
        raise NotFound(f"The task has no attempt {attempt}; its last one is {task.attempt}.")
    number = task.attempt if attempt is None else attempt
    with database.read() as connection:
        over = any(row.attempt == number for row in attempts_of(connection, task.id)) or task.state in TERMINAL
        chunks = log_chunks_of(connection, task.id, number, _STREAMS[stream])
    whole = sum(chunk.length for chunk in chunks)
    data = _span(sites, chunks, offset, min(limit, MAX_PART))
    following = min(offset, whole) + len(data)
    return LogPart(data, following, over and following >= whole)


def read_tail(
    database: Database,
    sites: Mapping[str, Site],
    task: Any,
    stream: str,
    attempt: int,
    begin: int,
    end: int | None,
    most: int,
) -> str:
    """The last ``most`` bytes, as text, of what one stream of an attempt has from ``begin`` to ``end`` (None: to its
    end). Empty where its site is not configured any more, or does not answer.
    """
    with database.read() as connection:
        chunks = log_chunks_of(connection, task.id, attempt, _STREAMS[stream])
    whole = sum(chunk.length for chunk in chunks)
    end = whole if end is None else min(end, whole)
    begin = max(begin, end - most)
    try:
        return holdable(_span(sites, chunks, begin, end - begin).decode("utf-8", "replace"))
    except (PackhorseError, OSError):
        return ""


def _span(sites: Mapping[str, Site], chunks: Sequence[Any], offset: int, length: int) -> bytes:
    """At most ``length`` bytes from ``offset`` of the chunks together."""
    data = bytearray()
    position = 0
    for chunk in chunks:
        skip = max(0, offset - position)
        position += chunk.length
        wanted = min(chunk.length - skip, length - len(data))
        if wanted > 0:
            site = site_named(sites, chunk.site)
            data += _read(site, f"{site.spool(chunk.allocation)}/log/{chunk.agent}.log", chunk.start + skip, wanted)
    return bytes(data)


def _read(site: Site, path: str, start: int, length: int) -> bytes:
    try:
        return site.transport.read(path, start, length)
    except FileNotFoundError:
        return b""
