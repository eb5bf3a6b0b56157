"""Where the bytes of a URL are: one look at its server, and then a plain HTTP request, whatever the scheme.

Credentials are used here and in ``s3`` only. What they make (a presigned URL, a header) lives in a ``Source``, never
stored or logged.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from packhorse.domain.config import DataConfig
from packhorse.domain.dataurl import DataUrl, safe_name
from packhorse.domain.ourselves import expanded
from packhorse.http.client import Http, retry_after
from packhorse.http.errors import LASTING, PASSING_STATUS, Fault, NotReached
from packhorse.http.reasons import through
from packhorse.staging.checksums import Expected
from packhorse.staging.data import NotFetched, Trouble
from packhorse.staging.s3 import S3

_NO_HEAD = frozenset({400, 403, 405, 501})  # servers that serve GET only; if it is refused as well, the GET will say so
_PASSES = (Fault.NAME, Fault.CONNECT, Fault.LATE, Fault.CUT)


@dataclass(frozen=True, slots=True)
class Source:
    """What to ask for, and what the server said of it.

    ``etag`` and ``last_modified`` tell whether it is still the same.
    """

    request_url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    name: str = "data"
    etag: str | None = None
    last_modified: str | None = None
    if_range: str | None = None
    """What the server may be given as If-Range, so that it goes on with the same file only."""
    expected: Expected = field(default_factory=Expected)
    who: str = "its server says"
    is_plain: bool = False
    """Nothing but the answers of a web server tells of it."""
    trusted: bool = False
    """Its server is one that the configuration names, and may be in our own network."""

    def is_still(self, etag: str | None, last_modified: str | None, size: int | None) -> bool:
        """Whether it is what it was when it was fetched. Without anything to tell by, it is not."""
        if self.expected.size is not None and size is not None and self.expected.size != size:
            return False
        if self.etag is not None or etag is not None:
            return self.etag == etag
        return self.last_modified is not None and self.last_modified == last_modified and self.expected.size == size


class Sources:
    """Looks at URLs, with the credentials of ``[data]``."""

    def __init__(self, config: DataConfig, client: Http) -> None:
        self._config = config
        self._client = client
        self.s3 = S3(config)

    def look(self, url: DataUrl, stop: threading.Event | None = None) -> Source:
        """Where its bytes are now. Raises NotFetched, and Stopped once ``stop`` is set."""
        match url.scheme:
            case "s3":
                return self._look_s3(url)
            case "shock":
                return self._look_shock(url, stop)
        return self._look_http(url, stop)

    def _look_http(self, url: DataUrl, stop: threading.Event | None) -> Source:
        with asking(), self._client.stream("HEAD", url.location, stop=stop) as answer:
            pass
        if answer.status_code in _NO_HEAD:
            return Source(url.location, name=url.name, is_plain=True)
        refuse(answer, url.host)
        length = answer.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() and "Content-Encoding" not in answer.headers else None
        etag, modified = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
        return Source(url.location, {}, url.name, etag, modified, etag or modified, Expected(size=size), is_plain=True)

    def _look_s3(self, url: DataUrl) -> Source:
        found = self.s3.look(url.host, url.path)
        request_url = self.s3.presigned(url.host, url.path)
        expected = Expected(size=found.size, sha256=found.sha256, crc64nvme=found.crc64nvme)
        etag, modified = found.etag, found.last_modified
        return Source(request_url, {}, url.name, etag, modified, etag, expected, "S3 says", trusted=True)

    def _look_shock(self, url: DataUrl, stop: threading.Event | None) -> Source:
        base, headers = self.shock(url.host)
        trusted = self.is_configured(url.host)
        with asking():
            answer = self._client.ask("GET", f"{base}/node/{url.path}", headers=headers, stop=stop, trusted=trusted)
        refuse(answer, url.host)
        node = shock_data(answer, url.host)
        file = node.get("file") or {}
        md5 = (file.get("checksum") or {}).get("md5")
        if not md5:
            raise NotFetched(Trouble.REFUSED, f"The node at {url.host} has no file.")
        name = safe_name(str(file.get("name") or "")) or url.name
        expected = Expected(size=int(file["size"]), md5=str(md5).lower())
        location = f"{base}/node/{url.path}?download"
        return Source(location, headers, name, etag=str(md5), expected=expected, who="Shock says", trusted=trusted)

    def is_configured(self, host: str) -> bool:
        """Whether a Shock server is one that the configuration names."""
        return host in self._config.shock

    def shock(self, host: str) -> tuple[str, dict[str, str]]:
        """Base URL and headers for a Shock server. A token goes to the hosts only that the configuration names."""
        known = self._config.shock.get(host)
        if known is None:
            return f"https://{host}", {}
        headers = {"Authorization": f"OAuth {secret(known.token_file)}"} if known.token_file is not None else {}
        return (known.url or f"https://{host}").rstrip("/"), headers


def secret(path: Any) -> str:
    """What a file with a secret holds. Raises NotFetched that names the file."""
    try:
        return str(expanded(Path(path)).read_text(encoding="utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise NotFetched(
            Trouble.AWAY, f"The file {path}, which the configuration names, cannot be read: {reason}."
        ) from None


def shock_data(answer: httpx2.Response, host: str) -> dict[str, Any]:
    """The ``data`` of a Shock answer. Raises NotFetched where it is none."""
    try:
        found = answer.json()["data"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        found = None
    if not isinstance(found, dict):
        raise NotFetched(Trouble.AWAY, f"{host} did not answer as Shock does.")
    return found


@contextmanager
def asking() -> Iterator[None]:
    """Turns what goes wrong on the way to a server into NotFetched."""
    try:
        yield
    except NotReached as error:
        trouble = Trouble.REFUSED if error.fault in LASTING else Trouble.AWAY
        what = f"{error.what[0].upper()}{error.what[1:]}" if error.what.startswith("the ") else error.what
        hint = "" if error.fault in _PASSES else f" {error.hint}"  # what is tried again needs no advice to do so
        raise NotFetched(trouble, f"{what}.{hint}".rstrip()) from None


def refuse(answer: httpx2.Response, host: str) -> None:
    """Raises NotFetched unless the answer is a success."""
    code = answer.status_code
    if answer.is_success:
        return
    where, way = urlsplit(str(answer.url)).netloc or host, through(answer.request)
    if code in PASSING_STATUS:
        raise NotFetched(
            Trouble.AWAY, f"{where} says {code} {answer.reason_phrase}{way}.", after_s=retry_after(answer) or 0.0
        )
    why = {
        401: "it asks for credentials that Packhorse does not have",
        403: "access is refused",
        404: "there is no such file",
        410: "it is gone",
    }
    said = why.get(code, answer.reason_phrase)
    raise NotFetched(Trouble.REFUSED, f"{where} says {code}: {said}{way}.")
