"""Takes a file of this machine to a URL, and makes sure that what is there is what was sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from packhorse.domain.outputurl import as_text, file_target, shock_host
from packhorse.http.client import Http
from packhorse.staging.checksums import Expected, Sums, check
from packhorse.staging.data import NotFetched, Trouble
from packhorse.staging.folders import put_file
from packhorse.staging.sources import Sources, asking, refuse, shock_data

_KEY_BYTES = 1024


def deliver(client: Http, sources: Sources, path: Path, sums: Sums, url: str, mode: int) -> str:
    """Takes ``path``, whose checksums are ``sums``, to ``url``; returns the URL where it is then. Raises NotFetched.

    Where the target has modes, it gets those of ``mode``.
    """
    scheme = url.partition("://")[0].lower()
    if scheme == "s3":
        _to_s3(sources, path, sums, url)
        return url
    if scheme == "shock":
        return _to_shock(client, sources, path, sums, shock_host(url))
    put_file(path, sums, Path(file_target(url)), mode)
    return url


def _to_s3(sources: Sources, path: Path, sums: Sums, url: str) -> None:
    bucket, _, quoted = url[len("s3://") :].partition("/")
    key = unquote(quoted)
    if (length := len(key.encode())) > _KEY_BYTES:
        raise NotFetched(Trouble.REFUSED, f"its key would have {length:,} bytes, and S3 takes at most {_KEY_BYTES:,}.")
    sources.s3.upload(path, bucket, key, sums.sha256)
    there = sources.s3.look(bucket, key)
    check(sums, Expected(there.size, there.sha256, there.crc64nvme), "S3 has")


def _to_shock(client: Http, sources: Sources, path: Path, sums: Sums, host: str) -> str:
    base, headers = sources.shock(host)
    with path.open("rb") as file, asking():
        sent: dict[str, Any] = {"headers": headers, "files": {"upload": (as_text(path.name), file)}}
        trusted = sources.is_configured(host)
        answer = client.ask("POST", f"{base}/node", total_s=None, trusted=trusted, **sent)
    refuse(answer, host)
    node = shock_data(answer, host)
    file_there = node.get("file") or {}
    check(sums, Expected(file_there.get("size"), md5=(file_there.get("checksum") or {}).get("md5")), "Shock has")
    return f"shock://{host}/node/{node['id']}"
