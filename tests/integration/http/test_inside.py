"""URLs of users do not lead into the server's own network: by number, by name, by redirect, by a name that changes its
address, through a proxy; fetched by the engine, or by a site itself. Servers that the configuration names are reached.

What stands for the internet is 127.0.0.1, which is opened; what is inside is 127.0.0.2, the same server.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from packhorse.agent.background.fetch import FetchFailed
from packhorse.agent.background.fetch import fetch as fetch_at_site
from packhorse.domain.dataurl import DataUrl
from packhorse.domain.images import ImageError, ImageFailure, parse_reference
from packhorse.http.client import Http
from packhorse.http.errors import Fault, NotReached
from packhorse.http.reach import Reach
from packhorse.staging import fetch as engines
from packhorse.staging.data import NotFetched, Trouble
from packhorse.staging.registry import RegistryClient
from packhorse.staging.registry_http import RegistryOptions
from packhorse.staging.sources import Source

OPENED = ("127.0.0.1/32",)
DATA = b"x" * 100


class Web:
    """One server on all addresses of loopback, which counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.sends_to: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.server_address_of(), self.path))
                location = outer.sends_to.get(self.path)
                self.send_response(302 if location else 200)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "0" if location else str(len(DATA)))
                self.end_headers()
                if not location:
                    self.wfile.write(DATA)

            def server_address_of(self) -> str:
                return str(self.connection.getsockname()[0])

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.inner = ThreadingHTTPServer(("127.0.0.2", self.port), Handler)
        for server in (self.server, self.inner):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def url(self, host: str, path: str = "/x") -> str:
        return f"http://{host}:{self.port}{path}"

    def was_asked_inside(self) -> bool:
        return any(address != "127.0.0.1" for address, _ in self.asked)

    def stop(self) -> None:
        for server in (self.server, self.inner):
            server.shutdown()
            server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    yield made
    made.stop()


def by_the_engine(url: str, folder: Path, opened: tuple[str, ...] = OPENED) -> bytes:
    http = Http(reach=Reach(opened))
    try:
        source = Source(url, {}, is_plain=True)
        place = DataUrl("http", "host", "/x", url)
        return engines.fetch(http, place, source, folder / "x", lambda *_: None, threading.Event()).path.read_bytes()
    except NotFetched as error:
        assert error.trouble is Trouble.REFUSED, "trying it again is of no use"
        raise PermissionError(error.message) from None
    finally:
        http.close()


def at_the_site(url: str, folder: Path, opened: tuple[str, ...] = OPENED) -> bytes:
    try:
        fetch_at_site({"url": url, "path": str(folder / "x"), "opened": list(opened)}, lambda _: None)
        return (folder / "x").read_bytes()
    except FetchFailed as error:
        assert error.kind == "refused"
        raise PermissionError(error.msg) from None


Fetching = Callable[..., bytes]
both = pytest.mark.parametrize("fetch", [by_the_engine, at_the_site])


class Names:
    """Names and their addresses, one list for each time that they are asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **known: list[list[str]]) -> None:
        self.known, self.asked = known, 0
        real = socket.getaddrinfo

        def look_up(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
            if host not in self.known:
                return real(host, port, *rest, **options)
            self.asked += 1
            lists = self.known[host]
            addresses = lists.pop(0) if len(lists) > 1 else lists[0]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)


@both
def test_what_is_open_is_fetched(fetch: Fetching, web: Web, tmp_path: Path) -> None:
    assert fetch(web.url("127.0.0.1"), tmp_path) == DATA
    assert fetch(web.url("127.0.0.2", "/y"), tmp_path / "all", ("127.0.0.0/8",)) == DATA


@both
@pytest.mark.parametrize("host", ["127.0.0.2", "127.2", "0x7f000002", "2130706434", "[::ffff:127.0.0.2]", "[::1]"])
def test_by_number_however_it_is_written(fetch: Fetching, host: str, web: Web, tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="own network"):
        fetch(web.url(host), tmp_path)
    assert web.asked == []


@both
def test_by_name(fetch: Fetching, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, inside=[["127.0.0.2"]], metadata=[["169.254.169.254", "10.0.0.1", "fe80::1%1"]])
    for name in ("inside", "metadata", "localhost"):
        with pytest.raises(PermissionError, match="own network"):
            fetch(web.url(name), tmp_path, () if name == "localhost" else OPENED)
    assert web.asked == []


@both
def test_by_redirect(fetch: Fetching, web: Web, tmp_path: Path) -> None:
    web.sends_to = {"/x": web.url("127.0.0.1", "/y"), "/y": web.url("127.0.0.2", "/secret")}
    with pytest.raises(PermissionError, match="own network"):
        fetch(web.url("127.0.0.1"), tmp_path)
    assert web.asked == [("127.0.0.1", "/x"), ("127.0.0.1", "/y")]


@both
def test_by_a_name_that_changes_its_address(
    fetch: Fetching, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is looked at is what is connected to: it is looked up once for each connection."""
    names = Names(monkeypatch, rebinding=[["127.0.0.1"], ["127.0.0.2"]])
    assert fetch(web.url("rebinding"), tmp_path) == DATA
    assert names.asked == 1
    with pytest.raises(PermissionError, match="own network"):
        fetch(web.url("rebinding", "/y"), tmp_path / "again")
    assert not web.was_asked_inside()


@both
def test_of_several_addresses_only_those_outside_are_tried(
    fetch: Fetching, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, mixed=[["127.0.0.2", "127.0.0.1"]])
    assert fetch(web.url("mixed"), tmp_path) == DATA
    assert not web.was_asked_inside()


@both
def test_through_a_proxy_by_number(fetch: Fetching, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", web.url("127.0.0.1", ""))
    for host in ("10.1.2.3", "169.254.169.254", "100.64.0.1", "[fd00::1]"):
        with pytest.raises(PermissionError, match="own network"):
            fetch(web.url(host), tmp_path)
    assert web.asked == []


def test_servers_of_the_configuration_are_reached_over_connections_of_their_own(web: Web) -> None:
    """And what was connected to for them is nobody else's."""
    http = Http(reach=Reach(OPENED))
    try:
        assert http.ask("GET", web.url("127.0.0.2"), trusted=True).content == DATA
        with pytest.raises(NotReached) as refused:
            http.ask("GET", web.url("127.0.0.2"))
        assert refused.value.fault is Fault.INSIDE and not refused.value.sent
        assert http.ask("GET", web.url("127.0.0.2"), trusted=True).content == DATA
    finally:
        http.close()


def test_registries_inside_are_those_of_the_configuration(web: Web) -> None:
    image = parse_reference(f"127.0.0.2:{web.port}/lab/tool:1")
    with RegistryClient(RegistryOptions(reach=Reach(OPENED))) as client, pytest.raises(ImageError) as refused:
        client.resolve(image)
    assert refused.value.kind is ImageFailure.DENIED and "own network" in str(refused.value)
    assert web.asked == []
    with (
        RegistryClient(RegistryOptions(insecure=(f"127.0.0.2:{web.port}",), reach=Reach(OPENED))) as client,
        pytest.raises(ImageError),
    ):
        client.resolve(image)
    assert web.was_asked_inside()


def test_a_registry_outside_sends_nobody_inside(web: Web) -> None:
    """Its redirects, and the token server that it names."""
    web.sends_to = {"/v2/lab/tool/manifests/1": web.url("127.0.0.2", "/secret")}
    outside = f"127.0.0.1:{web.port}"
    options = RegistryOptions(insecure=(f"127.0.0.2:{web.port}",), reach=Reach(OPENED))
    # spoken to in the clear, but not trusted: as with TLS, for which this server has no certificate
    client = RegistryClient(options)
    reference = parse_reference(f"{outside}/lab/tool:1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RegistryOptions, "tls", lambda *_: False)
        patch.setattr("packhorse.staging.registry_http.RegistryHttp._check_scheme", lambda *_: None)
        client = RegistryClient(options)
        with pytest.raises(ImageError) as refused:
            client.resolve(reference)
    client.close()
    assert "own network" in str(refused.value)
    assert not web.was_asked_inside()
