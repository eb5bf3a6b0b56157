"""The fetch that a site does itself (agent/background/fetch.py), against a real web server."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from awscrt import checksums

from packhorse.agent.background.fetch import FetchFailed, fetch
from tests.fixtures.webserver import WebServer

from .rooms import DATA, OTHER, sha

CRC = f"{checksums.crc64nvme(DATA, 0):016x}"


def step(web: WebServer, tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"url": web.url("/x"), "path": str(tmp_path / "cache" / "x"), **more}


def failing(wanted: dict[str, Any]) -> FetchFailed:
    with pytest.raises(FetchFailed) as failed:
        fetch(wanted, lambda _: None)
    return failed.value


def answering(code: int) -> Callable[[BaseHTTPRequestHandler], bool]:
    def fault(request: BaseHTTPRequestHandler) -> bool:
        request.send_error(code)
        return True

    return fault


def test_a_file_comes_whole_and_is_checked(web: WebServer, tmp_path: Path) -> None:
    web.files["/x"] = DATA
    told: list[int] = []
    wanted = step(web, tmp_path, size=len(DATA), sha256=sha(DATA), crc64nvme=CRC, headers={"X-Test": "yes"})
    assert fetch(wanted, told.append) == {"size": len(DATA), "sha256": sha(DATA), "crc64nvme": CRC}
    assert (tmp_path / "cache" / "x").read_bytes() == DATA
    assert told == sorted(told) and told[-1] == len(DATA)
    assert web.headers[-1]["X-Test"] == "yes"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["x"]


def test_it_goes_on_where_it_broke_off(web: WebServer, tmp_path: Path) -> None:
    web.files["/x"] = DATA
    web.break_at = 1_500_000
    failed = failing(step(web, tmp_path))
    assert failed.kind == "away" and "broke off after" in failed.msg
    assert not (tmp_path / "cache" / "x").exists()
    web.break_at = None
    assert fetch(step(web, tmp_path), lambda _: None)["sha256"] == sha(DATA)
    assert 1_000_000 < int(web.headers[-1]["Range"].removeprefix("bytes=").rstrip("-")) <= 1_500_000


def test_it_begins_anew_when_the_file_is_another_or_shorter(web: WebServer, tmp_path: Path) -> None:
    for data in (OTHER, OTHER[:1000]):
        web.files["/x"] = DATA
        web.break_at = 1_500_000
        failing(step(web, tmp_path, etag='"one"'))
        web.break_at, web.files["/x"] = None, data
        assert fetch(step(web, tmp_path, etag='"another"'), lambda _: None)["sha256"] == sha(data)


@pytest.mark.parametrize("promise", [{"size": 5}, {"sha256": sha(OTHER)}, {"crc64nvme": "0" * 16}])
def test_what_is_not_as_promised_is_thrown_away(web: WebServer, tmp_path: Path, promise: dict[str, Any]) -> None:
    web.files["/x"] = DATA
    failed = failing(step(web, tmp_path, **promise))
    assert failed.kind == "wrong" and f"should be {next(iter(promise.values()))}" in failed.msg
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("code", "kind"), [(404, "refused"), (403, "refused"), (503, "away"), (429, "away"), (500, "away")]
)
def test_how_refusals_are_told_apart(web: WebServer, tmp_path: Path, code: int, kind: str) -> None:
    web.fault = answering(code)
    failed = failing(step(web, tmp_path))
    assert failed.kind == kind and f"the server says {code}" in failed.msg


def test_nobody_there_and_no_room(web: WebServer, tmp_path: Path) -> None:
    web.files["/x"] = DATA
    web.stop()
    failed = failing(step(web, tmp_path))
    assert failed.kind == "away" and "does not answer" in failed.msg
    (tmp_path / "cache" / "x.part").unlink()
    web.start()
    (tmp_path / "cache").rmdir()
    (tmp_path / "cache").write_text("a file where a folder is to be")
    failed = failing(step(web, tmp_path))
    assert failed.kind == "away" and "it cannot be kept" in failed.msg


def test_only_the_web_is_fetched_and_no_secret_is_told(tmp_path: Path, web: WebServer) -> None:
    assert failing({"url": "file:///etc/passwd", "path": str(tmp_path / "x")}).kind == "refused"
    web.fault = answering(403)
    assert "secret" not in failing({"url": web.url("/x?X-Amz-Signature=secret"), "path": str(tmp_path / "x")}).msg
