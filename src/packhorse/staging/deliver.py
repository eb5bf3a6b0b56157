"""Takes a file of this machine to a URL, and makes sure that what is there is what was sent."""

from __future__ import annotations

import errno
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

from packhorse.domain.outputurl import as_text, file_target, shock_host
from packhorse.http.client import Http
from packhorse.staging.checksums import Expected, Summing, Sums, check
from packhorse.staging.data import NotFetched, Trouble
from packhorse.staging.sources import Sources, asking, refuse, shock_data

_PIECE = 1 << 20
_MODE = 0o777
_KEY_BYTES = 1024
_NEVER = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.ELOOP})


def sum_up(path: Path) -> Sums:
    """Size and checksums of a file."""
    summing = Summing()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            summing.add(piece)
    return summing.sums()


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
    _to_file(path, sums, Path(file_target(url)), mode)
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
        answer = client.ask(
            "POST", f"{base}/node", headers=headers, files={"upload": (as_text(path.name), file)}, total_s=None
        )
    refuse(answer, host)
    node = shock_data(answer, host)
    file_there = node.get("file") or {}
    check(sums, Expected(file_there.get("size"), md5=(file_there.get("checksum") or {}).get("md5")), "Shock has")
    return f"shock://{host}/node/{node['id']}"


def _to_file(path: Path, sums: Sums, target: Path, mode: int) -> None:
    part = target.with_name(f".{secrets.token_hex(8)}.part")  # no longer than the target's own name may be
    with _telling(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, part)
            check(sum_up(part), Expected(sums.size, sums.sha256), "it was")
            part.chmod(mode & _MODE)
            part.replace(target)
        finally:
            with suppress(OSError):  # what went wrong before says more
                part.unlink(missing_ok=True)


def make_folders(folders: Sequence[tuple[str, int]], target: Path) -> None:
    """Makes folders of ``target``, by relative name, with their modes; "" is itself. Raises NotFetched."""
    with _telling(target):
        for name, _ in sorted(folders):
            (target / name).mkdir(parents=True, exist_ok=True)
        for name, mode in sorted(folders, reverse=True):
            (target / name).chmod(mode & _MODE)


@contextmanager
def _telling(target: Path) -> Iterator[None]:
    """Turns what the system says into NotFetched that names what is not there; a name that it does not take will not
    pass.
    """
    try:
        yield
    except OSError as error:
        trouble = Trouble.REFUSED if error.errno in _NEVER else Trouble.AWAY
        raise NotFetched(trouble, f"{as_text(str(target))} cannot be written: {error.strerror}.") from None
