"""The client of a server, where what answers is far away, half there, or no Packhorse."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from packhorse.client import backends
from packhorse.client.backends import HttpBackend
from packhorse.client.crates import unpack_crate
from packhorse.domain.errors import InvalidRequest, NotFound, PackhorseError, Unavailable
from packhorse.domain.run import AppRun
from packhorse.http import sockets
from packhorse.http.client import Http
from packhorse.http.errors import NotReached, Stopped
from tests.fixtures.oddserver import Authority, odd_server, reply
from tests.fixtures.proxy import forward_proxy
from tests.fixtures.socks import socks_proxy
from tests.fixtures.webserver import web_server

TOKEN = "ph-hunter2"
RUN = {
    "id": "r-1",
    "name": "",
    "app": "a",
    "user": "u",
    "state": "RUNNING",
    "counts": {},
    "submitted_at": 1.0,
    "tags": {},
}


@pytest.fixture(autouse=True)
def again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost answer is asked for again without a pause."""
    monkeypatch.setattr(backends, "_AGAIN_S", (0.0,))


def http(status: str, body: str | bytes = "", *headers: str) -> bytes:
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + data


def ok(document: Any) -> bytes:
    return http("200 OK", json.dumps(document), "Content-Type: application/json")


class Scripted:
    """Gives these answers, one to a request, the last one for ever; remembers the requests."""

    def __init__(self, *answers: bytes) -> None:
        self.answers, self.heard = list(answers), list[bytes]()

    def __call__(self, connection: Any, head: bytes) -> None:
        while b"chunked" not in head and (size := head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            if len(head.partition(b"\r\n\r\n")[2]) >= int(size):
                break
            head += connection.recv(1 << 16)
        self.heard.append(head)
        connection.sendall(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


@pytest.fixture
def backend() -> Iterator[Callable[[str], HttpBackend]]:
    made: list[HttpBackend] = []

    def make(url: str) -> HttpBackend:
        made.append(HttpBackend(url, TOKEN))
        return made[-1]

    yield make
    for one in made:
        one.close()


def why(ask: Callable[[], object], kind: type[PackhorseError] = Unavailable) -> str:
    with pytest.raises(kind) as refused:
        ask()
    assert TOKEN not in str(refused.value) and "hunter2" not in str(refused.value) and refused.value.hint
    return str(refused.value)


def test_a_server_on_this_machine_is_reached_whatever_the_proxies_are(backend: Any, environment: Any) -> None:
    environment.setenv("http_proxy", "http://127.0.0.1:1")
    environment.setenv("all_proxy", "nonsense://")
    environment.setenv("SSL_CERT_FILE", "/nowhere")
    with odd_server(reply(ok([]))) as there:
        assert backend(f"http://{there}").apps() == [] and backend(f"http://{there}/a/prefix/").apps() == []


def test_a_web_page_of_something_else_is_no_report_and_an_archive_that_was_cut_off_no_crate(
    backend: Any, tmp_path: Path
) -> None:
    page = http("200 OK", "<html>Sign in</html>", "Content-Type: text/html")
    with odd_server(Scripted(page)) as there:
        said = why(partial(backend(f"http://{there}").report, "r-1"))
        assert "does not answer as Packhorse does" in said
        said = why(partial(unpack_crate, partial(backend(f"http://{there}").crate, "r-1"), tmp_path / "crate"))
        assert "does not answer as Packhorse does" in said
    with odd_server(Scripted(http("200 OK", b"PK\x03\x04half", "Content-Type: application/zip"))) as there:
        said = why(partial(unpack_crate, partial(backend(f"http://{there}").crate, "r-1"), tmp_path / "crate"))
        assert "cut off on its way" in said
    assert not (tmp_path / "crate").exists()


def test_a_proxy_that_does_not_work_is_named_with_its_variable(backend: Any, environment: Any) -> None:
    environment.setenv("http_proxy", "http://al:hunter2@127.0.0.1:1")
    said = why(backend("http://packhorse.test").apps)
    assert (
        "the proxy http://127.0.0.1:1, which http_proxy names, does not work: it refuses connections" in said
        and "NO_PROXY" in said
    )
    with forward_proxy({}) as proxy:
        environment.setenv("https_proxy", f"http://{proxy.address}")
        assert f"http://{proxy.address}, which https_proxy names, does not let us through" in why(
            backend("https://packhorse.test").apps
        )
    with odd_server(reply("garbage\r\n\r\n")) as there:
        environment.setenv("https_proxy", f"http://{there}")
        assert f"the proxy http://{there}, which https_proxy names" in why(backend("https://packhorse.test").apps)
    with odd_server(reply(http("200 OK", "<html>Log in to this network"))) as there:
        environment.setenv("http_proxy", f"http://{there}")
        assert f"(HTTP 200) (asked through the proxy http://{there}, which http_proxy names)" in why(
            backend("http://packhorse.test").apps
        )
    environment.setenv("https_proxy", "socks4://127.0.0.1:1")
    assert "the setting https_proxy cannot be used" in why(backend("https://packhorse.test").apps, InvalidRequest)


def test_through_a_proxy_with_tls(backend: Any, environment: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    environment.setenv("SSL_CERT_FILE", str(authority.file))
    with (
        odd_server(reply(ok([]))) as plain,
        odd_server(reply(ok([])), authority.server("packhorse.test")) as tls,
        forward_proxy(
            {"packhorse.test:80": plain, "packhorse.test:443": tls}, tls=authority.server("127.0.0.1")
        ) as proxy,
    ):
        environment.setenv("all_proxy", f"https://{proxy.address}")
        assert backend("http://packhorse.test").apps() == backend("https://packhorse.test").apps() == []
        assert proxy.asked == ["GET http://packhorse.test/api/v1/apps", "CONNECT packhorse.test:443"]
        environment.delenv("SSL_CERT_FILE")
        assert "he proxy" in why(backend("https://packhorse.test").apps) and "certificate" in why(
            backend("http://packhorse.test").apps
        )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            http("200 OK", "<html>Welcome to nginx!", "Content-Type: text/html"),
            "as Packhorse does (HTTP 200 with a web page)",
        ),
        (ok({"message": "hello"}), "as Packhorse does (HTTP 200)"),
        (ok(None), "as Packhorse does"),
        (ok([{"name": 1}]), "as Packhorse does"),
        (http("204 No Content"), "as Packhorse does (HTTP 204)"),
        (http("404 Not Found", '{"detail": "Not Found"}'), "as Packhorse does (HTTP 404)"),
        (http("404 Not Found", '{"error": "no such page"}'), "as Packhorse does (HTTP 404)"),
        (http("404 Not Found", '{"error": {"code": "not_found"}}'), "as Packhorse does (HTTP 404)"),
        (http("404 Not Found", '{"error": {"code": [], "message": ""}}'), "as Packhorse does (HTTP 404)"),
        (http("404 Not Found", "[" * 100_000), "as Packhorse does (HTTP 404)"),
        (http("502 Bad Gateway", "<html>"), "What stands before it may not reach it now"),
        (http("401 Unauthorized", "", "WWW-Authenticate: Basic"), "as Packhorse does (HTTP 401)"),
        (http("304 Not Modified"), "as Packhorse does (HTTP 304)"),
        (b"", "broke off"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "broke off. Is it running? If it speaks TLS, its URL begins with https://"),
        (
            b"SSH-2.0-OpenSSH_9.6\r\n\r\nProtocol mismatch.\r\n\r\n",
            "as a web server does. If it speaks TLS, its URL begins with https://",
        ),
        (http("200 OK", "[")[:-1], "broke off"),
        (http("200 OK", "no gzip", "Content-Encoding: gzip"), "as a web server does"),
    ],
)
def test_what_answers_is_no_packhorse(backend: Any, answer: bytes, words: str) -> None:
    with odd_server(reply(answer)) as there:
        said = why(backend(f"http://{there}").apps)
        assert words in said and there in said and len(said) < 400


def test_a_refusal_of_packhorse_stays_one(backend: Any) -> None:
    with odd_server(
        reply(http("404 Not Found", '{"error": {"code": "not_found", "message": "No run x.", "hint": "See runs."}}'))
    ) as there:
        assert why(lambda: backend(f"http://{there}").run("x"), NotFound) == "No run x. See runs."


def test_tls_and_no_tls(backend: Any, environment: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with odd_server(reply(ok([])), authority.server("127.0.0.1")) as there:
        said = why(backend(f"https://{there}").apps)
        assert "is not to be trusted" in said and "name its certificates in SSL_CERT_FILE" in said
        assert "https://" in why(backend(f"http://{there}").apps).partition(there)[2]
        environment.setenv("SSL_CERT_FILE", str(authority.file))
        assert backend(f"https://{there}").apps() == []
        environment.setenv("SSL_CERT_FILE", str(tmp_path))
        assert "the setting SSL_CERT_FILE cannot be used" in why(backend(f"https://{there}").apps, InvalidRequest)
    environment.delenv("SSL_CERT_FILE")
    with web_server() as plain:
        assert "does not speak TLS. If it is meant to be without, its URL begins with http://" in why(
            backend(f"https://{plain.host}").apps
        )


def test_a_server_that_has_moved_is_told_and_gets_no_token(backend: Any) -> None:
    with odd_server(new := Scripted(ok([]))) as there:
        for moved in (f"http://{there}/api/v1/apps", f"https://{there}/api/v1/apps"):
            with odd_server(reply(http("301 Moved", "", f"Location: {moved}"))) as old:
                said = why(backend(f"http://{old}").apps)
                assert moved.rpartition("/api")[0] in said and "PACKHORSE_URL" in said
                assert "POST is not sent" in why(lambda: backend(f"http://{old}").submit(AppRun(app="a")))
        assert new.heard == []


def test_a_redirect_at_the_same_server_is_followed_with_the_body(backend: Any) -> None:
    with odd_server(server := Scripted(http("307 Temporary", "", "Location: /there"), ok({"items": 1}))) as there:
        why(lambda: backend(f"http://{there}").submit(AppRun(app="a"), [{"i": 1}, {"i": 2}]))
    assert server.heard[1].startswith(b"POST /there ") and server.heard[1].endswith(b'{"i":1}\n{"i":2}\n')
    assert all(f"Bearer {TOKEN}".encode() in head for head in server.heard)


def test_retry_after_is_heeded_while_that_makes_sense(backend: Any) -> None:
    busy = http("429 Too Many Requests", "", "Retry-After: 0")
    with odd_server(server := Scripted(busy, busy, ok([]))) as there:
        assert backend(f"http://{there}").apps() == [] and len(server.heard) == 3
    with odd_server(server := Scripted(http("503 Busy", "", "Retry-After: 1000"))) as there:
        why(backend(f"http://{there}").apps)
        assert len(server.heard) == 1


def test_an_answer_without_an_end_fills_no_memory(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_MAX_ANSWER", 1 << 20)

    def endless(connection: Any, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"[" * 65536)

    bomb = http("200 OK", gzip.compress(b" " * (64 << 20)), "Content-Encoding: gzip")
    for answering in (endless, reply(bomb)):
        with odd_server(answering) as there:
            assert "sends more than 1,048,576 bytes" in why(backend(f"http://{there}").apps)
            assert "sends a line of more than 1,048,576 bytes" in why(
                lambda: list(backend(f"http://{there}").results("r-1"))
            )


def test_results_are_lines_that_only_lf_ends(backend: Any) -> None:
    rows = [{"result": "a\u2028b\u0085c\x0bd"}, {"result": "x" * 200_000}, {}]
    body = "\r\n".join(json.dumps(row, ensure_ascii=False).replace("\\u000b", "\\u000b") for row in rows)
    with odd_server(reply(http("200 OK", body))) as there:
        assert list(backend(f"http://{there}").results("r-1")) == rows
    with odd_server(reply(http("200 OK", '{"a": 1}\n{"a'))) as there:
        assert "as Packhorse does" in why(lambda: list(backend(f"http://{there}").results("r-1")))


def test_a_download_that_breaks_off_leaves_no_half_a_file(
    backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACKHORSE_HOME", str(tmp_path))
    listed = ok([{"name": "all", "filename": "all.jsonl", "bytes": 8}])
    with odd_server(Scripted(listed, http("200 OK", "12345678")[:-3], listed, http("200 OK", "12345678"))) as there:
        client = backend(f"http://{there}")
        assert "broke off" in why(lambda: client.gathered("r-1"))
        assert not (tmp_path / "downloads" / "r-1" / "all.jsonl").exists()
        assert client.gathered("r-1")["all"].read_text() == "12345678"


def test_a_wait_ends_when_somebody_says_stop() -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with odd_server(lambda connection, _: time.sleep(20)) as there:
        began = time.monotonic()
        with pytest.raises(Stopped), Http().stream("GET", f"http://{there}/", stop=stop):
            pass
        assert time.monotonic() - began < 5


def test_a_server_that_takes_nothing_is_not_written_to_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SLOW_S", 0.5)
    released = threading.Event()
    with odd_server(lambda connection, _: released.wait(20)) as there, pytest.raises(NotReached) as failed:
        Http(timeout_s=0.5).ask("POST", f"http://{there}/", content=b"x" * (64 << 20))
    released.set()
    assert failed.value.what == f"{there} does not answer in time" and failed.value.sent


def test_through_socks(backend: Any, environment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    environment.setenv("SSL_CERT_FILE", str(authority.file))
    with (
        odd_server(reply(ok([]))) as plain, odd_server(reply(ok([])), authority.server("packhorse.test")) as tls,
        socks_proxy({"packhorse.test:80": plain, "packhorse.test:443": tls}, "al:hunter2") as proxy,
    ):  # fmt: skip
        for scheme in ("socks5", "socks5h"):
            environment.setenv("all_proxy", f"{scheme}://al:hunter2@{proxy}")
            assert backend("http://packhorse.test").apps() == backend("https://packhorse.test").apps() == []
            said = why(backend("https://other.test").apps)
            assert f"the proxy {scheme}://{proxy}, which all_proxy names, does not let us through to other.test" in said
        environment.setenv("all_proxy", f"socks5://al:wrong@{proxy}")
        assert f"the proxy socks5://{proxy}, which all_proxy names, does not let us through" in why(
            backend("http://packhorse.test").apps
        )
        environment.setenv("all_proxy", "socks5://127.0.0.1:1")
        assert "does not work: it refuses connections" in why(backend("https://packhorse.test").apps)
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        said = why(backend("http://packhorse.test").apps, InvalidRequest)
        assert (
            "the setting all_proxy cannot be used: SOCKS needs one more package: pip install 'packhorse[socks]'" in said
        )


def test_a_proxy_that_says_nothing_is_named() -> None:
    with odd_server(lambda connection, _: time.sleep(20)) as proxy:
        shown = f"the proxy http://{proxy}, which all_proxy names"
        told = {
            "https": f"{shown}, does not work: it does not answer in time",
            "http": f"h.test does not answer in time (asked through {shown})",
        }
        for scheme, words in told.items():
            with pytest.raises(NotReached) as failed:
                Http(timeout_s=0.3, environ={"all_proxy": proxy}).ask("GET", f"{scheme}://h.test/")
            assert failed.value.what == words and failed.value.sent is (scheme == "http")


def test_all_addresses_of_a_host_are_tried_within_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with odd_server(reply(ok([]))) as there:
        port = int(there.partition(":")[2])
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(sockets.socket, "getaddrinfo", lambda *_, **__: found)
        assert Http(environ={}).ask("GET", f"http://two.test:{port}/").json() == []
        found.reverse()
        del found[0]
        with pytest.raises(NotReached, match="refuses connections"):
            Http(environ={}).ask("GET", f"http://two.test:{port}/")
