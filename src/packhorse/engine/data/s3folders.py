"""Brings all that lies below a prefix of S3 as one folder: its objects one after the other into an archive, which a
site unpacks as it does reference data.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from urllib.parse import quote

from packhorse.domain.dataurl import DataUrl, parse_url
from packhorse.domain.ourselves import make_private_folder
from packhorse.engine.data.job import Job
from packhorse.http.client import Http
from packhorse.http.errors import Stopped
from packhorse.staging.checksums import Sums, sum_up
from packhorse.staging.data import NotFetched, Trouble
from packhorse.staging.fetch import fetch
from packhorse.staging.sources import Sources

MAX_OBJECTS = 100_000


def bring_s3_folder(client: Http, sources: Sources, url: DataUrl, archive: Path, job: Job) -> Sums:
    """Fetches the objects below ``url`` into ``archive``; returns its checksums. Raises NotFetched, Stopped."""
    prefix = f"{url.path}/"
    number_of_files = 0
    make_private_folder(archive.parent)
    job.bytes_done = 0
    with tarfile.open(archive, "w") as tar:
        for number, key in enumerate(sources.s3.keys(url.host, prefix)):
            if job.stop.is_set():
                raise Stopped
            if number >= MAX_OBJECTS:
                raise NotFetched(Trouble.REFUSED, f"There are more than {MAX_OBJECTS:,} objects below it.")
            name = key.removeprefix(prefix)
            if name and not name.endswith("/"):  # else it stands for a folder
                job.bytes_done += _add(client, sources, tar, _object(url.host, key), name, archive, job)
                number_of_files += 1
    if not number_of_files:
        raise NotFetched(Trouble.REFUSED, f"There is nothing below it in the bucket '{url.host}'.")
    return sum_up(archive)


def _object(bucket: str, key: str) -> DataUrl:
    try:
        return parse_url(f"s3://{bucket}/{quote(key)}")
    except ValueError:
        raise NotFetched(
            Trouble.REFUSED, f"The object '{key[:100]}' below it has a name that no file can have."
        ) from None


def _add(client: Http, sources: Sources, tar: tarfile.TarFile, url: DataUrl, name: str, archive: Path, job: Job) -> int:
    """Adds one object; returns how many bytes it has."""
    part = archive.with_name(f"{archive.name}.part")
    fetched = fetch(client, url, sources.look(url, job.stop), part, lambda *_: None, job.stop)
    try:
        member = tarfile.TarInfo(name)
        member.size = fetched.sums.size
        with fetched.path.open("rb") as file:
            tar.addfile(member, file)
    finally:
        fetched.path.unlink(missing_ok=True)
    return fetched.sums.size
