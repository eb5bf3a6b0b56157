"""Data on its way to a site: what is known of it, what is asked, and what has become of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from packhorse.domain.errors import Unavailable
from packhorse.http.errors import Stopped
from packhorse.sites import cache
from packhorse.sites.base import SiteUnreachable
from packhorse.sites.site import Site
from packhorse.staging.checksums import Sums
from packhorse.staging.data import NotFetched, Trouble
from packhorse.store.data import DataKey

_log = structlog.get_logger("packhorse.data")


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

    ``kept_bytes`` is what it takes in the cache, None where it is not there; ``fetched`` is None where nothing came.
    """

    sha256: str
    path: str
    kept_bytes: int | None = None
    fetched: Sums | None = None
    etag: str | None = None
    last_modified: str | None = None


@dataclass
class Job:
    """Data on its way. Its thread writes the fields of progress, and ``brought`` or ``failed`` before ``over``."""

    data_id: int
    url: str
    version: str
    known: Known | None = None
    bytes_done: int = 0
    size: int | None = None
    complete: bool = False
    brought: Brought | None = None
    failed: NotFetched | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    is_again: bool = False
    """Somebody has begun it before, and may have left something."""
    unwanted: bool = False
    """It is stopped for good."""
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def key(self) -> DataKey:
        """What it brings."""
        return DataKey(self.url, self.version)


def start(site: Site, job: Job, bring: Callable[[Job], Brought], wake: threading.Event) -> None:
    """Carries a job out in a thread of its own; ``job.over`` is set at the end, and ``wake``."""

    def work() -> None:
        _work(site, job, bring)
        job.over.set()
        wake.set()

    threading.Thread(target=work, name=f"data-{job.data_id}", daemon=True).start()


def _work(site: Site, job: Job, bring: Callable[[Job], Brought]) -> None:
    try:
        job.brought = bring(job)
    except Stopped:
        pass
    except NotFetched as failure:
        job.failed = failure
    except SiteUnreachable as error:
        job.failed = NotFetched(Trouble.SITE, error.message)
    except Unavailable as error:
        job.failed = NotFetched(Trouble.AWAY, error.message)
    except cache.NotUnpacked as error:
        job.failed = NotFetched(Trouble.WRONG, str(error))
    except OSError as error:
        job.failed = NotFetched(Trouble.AWAY, f"It cannot be kept at '{site.name}': {error.strerror or error}.")
    except Exception as error:  # a bug of ours: said loudly, and the others go on
        _log.exception("not_brought", site=site.name, data=job.data_id)
        job.failed = NotFetched(
            Trouble.AWAY, f"Packhorse failed to bring it ({type(error).__name__}); its log says more."
        )
