"""The engine's fetch and the one that a site does itself: both go by the same rules."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from packhorse.agent.background import ask
from packhorse.agent.background.fetch import FetchFailed
from packhorse.agent.background.fetch import fetch as fetch_at_site
from packhorse.domain.dataurl import DataUrl
from packhorse.http import client, sockets
from packhorse.http.client import Http
from packhorse.staging import fetch as engines
from packhorse.staging.checksums import Expected
from packhorse.staging.data import NotFetched, Trouble
from packhorse.staging.sources import Source, refuse
from tests.fixtures.oddserver import Authority, odd_server, reply
from tests.fixtures.proxy import ForwardProxy, forward_proxy
from tests.fixtures.webserver import WebServer, web_server

DATA = b"reads" * 1000
SECRET = "hunter2"


class Failed(Exception):
    """Either's failure."""


def by_the_engine(url: str, folder: Path, headers: dict[str, str]) -> bytes:
    http = Http()
    try:
        source = Source(url, headers, is_plain=True)
        place = url.partition("://")[2].partition("/")[0]
        found = engines.fetch(
            http, DataUrl("http", place, "/x", url), source, folder / "x", lambda *_: None, threading.Event()
        )
        return found.path.read_bytes()
    except NotFetched as error:
        raise Failed(error.message) from None
    finally:
        http.close()


def at_the_site(url: str, folder: Path, headers: dict[str, str]) -> bytes:
    try:
        fetch_at_site({"url": url, "path": str(folder / "x"), "headers": headers}, lambda _: None)
        return (folder / "x").read_bytes()
    except FetchFailed as error:
        raise Failed(error.msg) from None


Fetching = Callable[..., bytes]


@pytest.fixture(params=[by_the_engine, at_the_site])
def fetch(request: pytest.FixtureRequest, tmp_path: Path) -> Fetching:
    def fetching(url: str, **headers: str) -> bytes:
        return request.param(url, tmp_path, headers)

    return fetching


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        server.files["/x"] = DATA
        yield server


@pytest.fixture
def proxy(web: WebServer) -> Iterator[ForwardProxy]:
    with forward_proxy({"data.test:80": web.host}) as server:
        yield server


def why(fetch: Fetching, url: str, **headers: str) -> str:
    with pytest.raises(Failed) as failed:
        fetch(url, **headers)
    assert SECRET not in str(failed.value)
    return str(failed.value)


def sends_on(places: dict[str, str], code: int = 302) -> Callable[[BaseHTTPRequestHandler], bool]:
    """Redirects by path."""

    def fault(request: BaseHTTPRequestHandler) -> bool:
        if request.path not in places:
            return False
        request.send_response(code)
        request.send_header("Location", places[request.path])
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    return fault


def test_through_a_proxy_and_loopback_never(
    fetch: Fetching, web: WebServer, proxy: ForwardProxy, environment: Any
) -> None:
    environment.setenv("http_proxy", f"http://{proxy.address}")
    assert fetch("http://data.test/x") == DATA and proxy.asked == ["GET http://data.test/x"]
    environment.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetch(web.url("/x")) == DATA
    assert "the proxy http://127.0.0.1:1, which http_proxy names, does not work" in why(
        fetch, "http://data.test/x"
    ).replace("The", "the")
    environment.setenv("NO_PROXY", ".test")
    assert "http_proxy" not in why(fetch, "http://data.test/x")
    environment.setenv("http_proxy", f"gopher://alice:{SECRET}@p")
    environment.delenv("NO_PROXY")
    assert "he setting http_proxy cannot be used" in why(fetch, "http://data.test/x")


def test_a_redirect_chooses_its_proxy_anew(
    fetch: Fetching, web: WebServer, proxy: ForwardProxy, environment: Any
) -> None:
    environment.setenv("http_proxy", f"http://{proxy.address}")
    web.fault = sends_on({"/away": web.url("/x")})
    assert fetch("http://data.test/away") == DATA and proxy.asked == ["GET http://data.test/away"]


def test_a_proxy_that_wants_to_know_who_asks(fetch: Fetching, web: WebServer, environment: Any) -> None:
    with forward_proxy({"data.test:80": web.host}, f"alice:{SECRET}@") as proxy:
        environment.setenv("http_proxy", f"http://alice:{SECRET}%40@{proxy.address}")
        assert fetch("http://data.test/x") == DATA
        assert all(SECRET not in str(headers) and "Proxy-Authorization" not in headers for headers in web.headers)
        environment.setenv("http_proxy", f"http://alice:{SECRET}@{proxy.address}")
        said = why(fetch, "http://data.test/x")
        assert (
            f"he proxy http://{proxy.address}, which http_proxy names, wants a name and a password" in said
            and "407" in said
        )


def test_https_goes_through_a_tunnel(fetch: Fetching, environment: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    answer = reply(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(DATA), DATA))
    with (
        odd_server(answer, authority.server("data.test")) as there,
        forward_proxy({"data.test:443": there}, f"al:{SECRET}") as proxy,
    ):
        environment.setenv("https_proxy", f"http://al:{SECRET}@{proxy.address}")
        said = why(fetch, "https://data.test/x")
        assert "certificate" in said and "is not to be trusted" in said
        environment.setenv("SSL_CERT_FILE", str(authority.file))
        assert fetch("https://data.test/x") == DATA
        assert proxy.asked[-1] == "CONNECT data.test:443"
        assert "he proxy " in why(fetch, "https://other.test/") and "502" in why(fetch, "https://other.test/")
        environment.setenv("https_proxy", f"http://{proxy.address}")
        assert "which https_proxy names, wants a name and a password" in why(fetch, "https://data.test/x")
        environment.setenv("SSL_CERT_FILE", "/nowhere")
        assert "he setting SSL_CERT_FILE cannot be used: there is no file /nowhere" in why(fetch, "https://data.test/x")


def test_proxies_that_a_site_cannot_use_are_told(environment: Any, tmp_path: Path) -> None:
    for proxy, url, words in (
        ("socks5://p", "http://data.test/x", "speaks SOCKS"),
        ("https://p", "https://data.test/x", "spoken to with TLS"),
    ):
        environment.setenv("all_proxy", proxy)
        with pytest.raises(Failed, match=f"the proxy {proxy}:[0-9]+, which all_proxy names, .*{words}"):
            at_the_site(url, tmp_path, {})


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(fetch: Fetching, web: WebServer, code: int) -> None:
    web.fault = sends_on({"/a": "/b", "/b": "c/../d", "/c/../d": "//127.0.0.1/", "/d": f"{web.url('/x')}#part"}, code)
    assert fetch(web.url("/a")) == DATA


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({"/a": "/b", "/b": "/a"}, "in a circle"),
        ({"/a": "/a"}, "in a circle"),
        ({f"/{'a' * count}": f"/{'a' * (count + 1)}" for count in range(1, 9)}, "on and on"),
        ({"/a": "file:///etc/passwd"}, "no web server"),
        ({"/a": "ftp://x/"}, "no web server"),
        ({"/a": "http://[/"}, "no web server"),
        ({"/a": ""}, "says 302"),
    ],
)
def test_redirects_that_lead_nowhere(fetch: Fetching, web: WebServer, places: dict[str, str], words: str) -> None:
    web.fault = sends_on(places)
    assert words in why(fetch, web.url("/a"))
    assert len(web.headers) < 8


def test_credentials_go_to_nobody_else(fetch: Fetching, web: WebServer) -> None:
    with web_server() as other:
        other.files["/x"] = DATA
        web.fault = sends_on({"/same": "/x", "/other": other.url("/x"), "/named": f"http://a:{SECRET}@{other.host}/x"})
        for path, count in (("/same", 2), ("/other", 1), ("/named", 1)):
            web.headers.clear()
            assert fetch(web.url(path), Authorization=f"OAuth {SECRET}") == DATA
            assert sum(SECRET in str(headers) for headers in web.headers) == count
        assert other.headers and not any(
            SECRET in str(headers) or "Authorization" in headers for headers in other.headers
        )


def test_credentials_do_not_go_where_there_is_no_tls(
    fetch: Fetching, web: WebServer, environment: Any, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    environment.setenv("SSL_CERT_FILE", str(authority.file))
    moved = f"HTTP/1.1 302 Found\r\nLocation: {web.url('/x')}\r\nContent-Length: 0\r\n\r\n"
    with odd_server(reply(moved), authority.server("127.0.0.1")) as there:
        assert "no TLS" in why(fetch, f"https://{there}/x", Authorization=SECRET).replace("without TLS", "no TLS")
        assert not web.headers
        assert fetch(f"https://{there}/x") == DATA


@pytest.mark.parametrize("names", [("other.test",), ("127.0.0.1",)])
def test_certificates_that_do_not_fit(fetch: Fetching, environment: Any, tmp_path: Path, names: tuple[str]) -> None:
    authority = Authority(tmp_path)
    environment.setenv("SSL_CERT_FILE", str(authority.file))
    with odd_server(
        reply("HTTP/1.1 204 None\r\n\r\n"), authority.server(*names, days=1 if names[0] == "other.test" else -1)
    ) as there:
        said = why(fetch, f"https://{there}/x")
        assert "not to be trusted" in said and ("mismatch" in said or "expired" in said)


def test_tls_where_there_is_none_and_the_other_way_round(fetch: Fetching, web: WebServer, tmp_path: Path) -> None:
    said = why(fetch, f"https://{web.host}/x")
    assert "does not speak TLS" in said
    with odd_server(reply(""), Authority(tmp_path).server("127.0.0.1")) as there:
        why(fetch, f"http://{there}/x")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 100_000,
    ],
)
def test_answers_that_are_none(fetch: Fetching, text: str) -> None:
    with odd_server(reply(text)) as there:
        assert len(why(fetch, f"http://{there}/x")) < 300


def test_retry_after_is_heeded_within_bounds(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site's fetch waits by itself; the engine's says when, and the queue waits."""
    said = iter(["0", formatdate(time.time() - 9, usegmt=True), "1000", "soon"])

    def busy(request: BaseHTTPRequestHandler) -> bool:
        text = next(said, None)
        if text is None:
            return False
        request.send_response(503)
        request.send_header("Retry-After", text)
        request.end_headers()
        return True

    web.fault = busy
    with pytest.raises(Failed, match="the server says 503"):
        at_the_site(web.url("/x"), tmp_path, {})
    assert len(web.headers) == 3, "a wait of 1000 s is the engine's to decide about"
    with pytest.raises(Failed, match="the server says 503"):
        at_the_site(web.url("/x"), tmp_path, {})
    assert at_the_site(web.url("/x"), tmp_path, {}) == DATA
    said = iter(["7"])
    http = Http()
    with pytest.raises(NotFetched) as failed, http.stream("GET", web.url("/x")) as answer:
        refuse(answer, "x")
    assert failed.value.after_s == 7
    said = iter(["0", "0"])
    assert http.ask("GET", web.url("/x"), patience_s=5).content == DATA
    http.close()


def test_more_than_was_spoken_of_is_not_taken(tmp_path: Path) -> None:
    """Whatever else comes: a server cannot fill the disk."""
    more = threading.Event()

    def answering(connection: Any, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not more.is_set():
            connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    with odd_server(answering) as there:
        url, http = f"http://{there}/x", Http()
        with pytest.raises(FetchFailed, match="and should be 5") as failed:
            fetch_at_site({"url": url, "path": str(tmp_path / "x"), "size": 5}, lambda _: None)
        assert failed.value.kind == "wrong"
        source = Source(url, expected=Expected(size=5))
        with pytest.raises(NotFetched, match="sends more than the 5 bytes") as refused:
            engines.fetch(
                http, DataUrl("http", there, "/x", url), source, tmp_path / "y", lambda *_: None, threading.Event()
            )
        assert refused.value.trouble is Trouble.WRONG and list(tmp_path.iterdir()) == []
        more.set()
        http.close()


def trickle(head: bytes, piece: bytes) -> Callable[[Any, bytes], None]:
    def answering(connection: Any, _: bytes) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(0.03)

    return answering


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),  # no end of the headers
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", b"y"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"y"),  # a chunk's own words
    ],
)
def test_a_server_that_sends_a_byte_now_and_then_is_not_waited_for(
    fetch: Fetching, head: bytes, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "WAIT_S", 0.4)
    monkeypatch.setattr(sockets, "SLOW_S", 0.4)
    monkeypatch.setattr(client, "ANSWER_S", 0.4)
    monkeypatch.setattr(
        client.Http.__init__, "__kwdefaults__", {**client.Http.__init__.__kwdefaults__, "timeout_s": 0.4}
    )
    began = time.monotonic()
    with odd_server(trickle(head, piece)) as there:
        said = why(fetch, f"http://{there}/x")
    assert time.monotonic() - began < 10 and ("in time" in said or "slow" in said)
