"""Takes a file of this machine to a URL, and makes sure that what is there is what was sent."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from packhorse.domain.dataurl import parse_url
from packhorse.domain.outputurl import file_target, shock_host
from packhorse.http.client import Http
from packhorse.staging.checksums import Expected, Summing, Sums, check
from packhorse.staging.data import NotFetched, Trouble
from packhorse.staging.sources import Sources, asking, refuse, shock_data

_PIECE = 1 << 20


def sum_up(path: Path) -> Sums:
    """Size and checksums of a file."""
    summing = Summing()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            summing.add(piece)
    return summing.sums()


def deliver(client: Http, sources: Sources, path: Path, sums: Sums, url: str) -> str:
    """Takes ``path``, whose checksums are ``sums``, to ``url``; returns the URL where it is then. Raises NotFetched."""
    scheme = url.partition("://")[0].lower()
    if scheme == "s3":
        _to_s3(sources, path, sums, url)
        return url
    if scheme == "shock":
        return _to_shock(client, sources, path, sums, shock_host(url))
    _to_file(path, sums, Path(file_target(url)))
    return url


def _to_s3(sources: Sources, path: Path, sums: Sums, url: str) -> None:
    target = parse_url(url)
    sources.s3.upload(path, target.host, target.path, sums.sha256)
    there = sources.s3.look(target.host, target.path)
    check(sums, Expected(there.size, there.sha256, there.crc64nvme), "S3 has")


def _to_shock(client: Http, sources: Sources, path: Path, sums: Sums, host: str) -> str:
    base, headers = sources.shock(host)
    with path.open("rb") as file, asking():
        answer = client.ask("POST", f"{base}/node", headers=headers, files={"upload": (path.name, file)}, total_s=None)
    refuse(answer, host)
    node = shock_data(answer, host)
    file_there = node.get("file") or {}
    check(sums, Expected(file_there.get("size"), md5=(file_there.get("checksum") or {}).get("md5")), "Shock has")
    return f"shock://{host}/node/{node['id']}"


def _to_file(path: Path, sums: Sums, target: Path) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, part)
        check(sum_up(part), Expected(sums.size, sums.sha256), "it was")
        part.replace(target)
    except OSError as error:
        raise NotFetched(Trouble.AWAY, f"{target} cannot be written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
