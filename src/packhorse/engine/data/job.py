"""A URL on its way to a site: what is known of it, what is asked, and what has become of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from packhorse.staging.checksums import Sums
from packhorse.staging.data import NotFetched
from packhorse.staging.sources import Source


@dataclass(frozen=True, slots=True)
class Known:
    """What is at the site of a URL, as it was fetched last."""

    etag: str | None
    last_modified: str | None
    size: int | None
    sha256: str
    path: str


@dataclass(frozen=True, slots=True)
class Brought:
    """What is there now.

    ``kept_bytes`` is what it takes in the cache; ``fetched`` is None where it was there already.
    """

    sha256: str
    path: str
    source: Source
    kept_bytes: int
    fetched: Sums | None


@dataclass
class Job:
    """A URL on its way. Its thread writes the fields of progress, and ``brought`` or ``failed`` before ``over``."""

    data_id: int
    url: str
    version: str
    known: Known | None
    bytes_done: int = 0
    size: int | None = None
    complete: bool = False
    brought: Brought | None = None
    failed: NotFetched | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    unwanted: bool = False
    """It is stopped for good."""
    over: threading.Event = field(default_factory=threading.Event)
