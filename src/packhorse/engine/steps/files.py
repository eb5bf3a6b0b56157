"""Inputs that are brought to a site as something else than a plain URL: files of the engine's machine, and folders."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from packhorse.domain.app import Session
from packhorse.domain.dataurl import MAX_URL
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.outputurl import file_target
from packhorse.engine.containers import must_copy
from packhorse.sites.site import Site
from packhorse.store.data import DataKey

_GONE = "gone"
#: How versions of folders of S3 begin.
FOLDER = "folder:"


def is_brought(site: Site, session: Session, path: str, *, in_image: bool) -> bool:
    """Whether a site is brought a file; else tasks use it where it lies."""
    return not site.transport.is_local or (in_image and must_copy(site, session, path))


def file_key(path: str) -> DataKey:
    """A file as it is now: who brings it later finds out whether it has changed. Raises InvalidRequest."""
    url = url_of(path)
    if len(url) > MAX_URL:
        raise InvalidRequest(
            f"The path '{path[:200]}…' is too long for a file that is brought to a site.",
            hint=f"As a URL it has {len(url):,} characters, and the limit is {MAX_URL:,}; put it into another folder.",
        )
    try:
        return DataKey(url, version_of(Path(path).stat()))
    except OSError:  # it was there a moment ago
        return DataKey(url, _GONE)


def folder_key(url: str, run_id: str) -> DataKey:
    """All that lies below a prefix of S3, as it is when a run's tasks first need it: another run fetches it anew."""
    return DataKey(url.rstrip("/"), f"{FOLDER}{run_id}")


def url_of(path: str) -> str:
    """What a file is called among what is brought."""
    return f"file://{quote(os.fsencode(path))}"


def version_of(status: os.stat_result) -> str:
    """What tells a file from itself as it was before: size in bytes, and time of its last change in nanoseconds."""
    return f"{status.st_size}-{status.st_mtime_ns}"


def path_of(url: str) -> str:
    """The path that ``file_key`` was given."""
    return file_target(url)


def as_now(files: dict[str, str]) -> dict[str, str]:
    """Versions of files, by URL, as they are now."""
    return dict(file_key(path_of(url)) for url in files)
