"""Clients that are slow, that hang up, or that send without end, against a server that listens."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from packhorse.api import bodies, patience
from packhorse.api.app import create_app
from packhorse.api.patience import PatientProtocol
from packhorse.domain.run import AppRun
from packhorse.domain.users import User
from packhorse.domain.views import RunView
from packhorse.engine.embedded import Embedded
from packhorse.identity.tokens import Tokens
from tests.fixtures.room import make_app, wait_for


class Server:
    """A server in this process, on a port of its own."""

    def __init__(self, home: Path) -> None:
        self.room = Embedded(home)
        tokens = Tokens(self.room.database)
        self.token = tokens.add("ana", admin=True)
        self.headers = {"Authorization": f"Bearer {self.token}"}
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api/v1"
        api = create_app(self.room.service, tokens, lambda: self.server.should_exit)
        options: dict[str, Any] = {"log_config": None, "timeout_graceful_shutdown": 2}
        self.server = uvicorn.Server(uvicorn.Config(api, http=PatientProtocol, **options))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]}, daemon=True)
        self.thread.start()
        wait_for(lambda: self.server.started, 30, "the server")

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        self.room.close()

    @contextmanager
    def connection(self, *lines: str) -> Iterator[socket.socket]:
        """A connection on which a request has begun."""
        head = [*lines, "Host: here", f"Authorization: Bearer {self.token}", "", ""]
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as one:
            one.sendall("\r\n".join(head).encode())
            yield one

    def submit(self, folder: Path, command: str = "[/bin/true]") -> RunView:
        ana = self.room.service.as_user(User("ana", admin=True))
        return ana.submit(AppRun(app=make_app(folder / "app", command=command), over=[{"i": 1}]))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "home")
    yield server
    server.stop()


def status_of(one: socket.socket) -> int:
    return int(one.recv(1 << 16).split(b" ", 2)[1])


def runs(server: Server) -> list[Any]:
    return list(httpx2.get(f"{server.url}/runs", headers=server.headers).json()["items"])


POST = ("POST /api/v1/runs HTTP/1.1", "Content-Type: application/json")


def test_a_body_of_which_nothing_comes_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_PATIENCE_S", 0.3)
    with server.connection(*POST, "Content-Length: 100") as one:
        one.sendall(b'{"app"')
        assert status_of(one) == 408


def test_a_body_that_comes_by_drops_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_PATIENCE_S", 0.3)
    began = time.monotonic()
    with server.connection(*POST, "Content-Length: 100000") as one:
        with suppress(OSError):
            while time.monotonic() - began < 20:
                one.sendall(b" ")
                time.sleep(0.05)
                one.settimeout(0.01)
                with suppress(TimeoutError):
                    assert status_of(one) == 408
                    break
        assert time.monotonic() - began < 15


HEAD = b"GET /api/v1/health HTTP/1.1\r\nHost: here\r\n"


def dropped_after(one: socket.socket, began: float, drop: bytes = b"") -> tuple[float, bytes]:
    """(seconds until the server closes the connection, what it said), while drops come."""
    said = b""
    one.settimeout(0.05)
    while time.monotonic() - began < 20:
        with suppress(TimeoutError):
            try:
                if drop:
                    one.sendall(drop)
                piece = one.recv(1 << 16)
            except ConnectionError:
                piece = b""
            said += piece
            if not piece:
                return time.monotonic() - began, said
    raise AssertionError(f"the connection is still there; the server said {said[:200]!r}")


@pytest.mark.parametrize("first", [b"", HEAD, HEAD + b"\r\n"], ids=["nothing", "half a head", "a whole request"])
def test_headers_that_come_by_drops_are_given_up(first: bytes, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a new connection, and on one that had an answer: a byte now and then does not keep it."""
    monkeypatch.setattr(patience, "HEAD_S", 1.0)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as one:
        one.sendall(first)
        if first.endswith(b"\r\n\r\n"):
            assert status_of(one) == 200
            one.sendall(HEAD)
        took, said = dropped_after(one, time.monotonic(), b"x-slow: 1\r\n" if first else b"")
        assert 0.5 < took < 10
        assert said.startswith(b"HTTP/1.1 408 ") == bool(first), "who has said nothing is told nothing"


def test_a_request_is_not_given_up_while_it_is_worked_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "HEAD_S", 0.3)
    with server.connection(*POST, "Content-Length: 100") as one:
        one.sendall(b"{")
        time.sleep(1)
        one.sendall(b" " * 99)
        assert status_of(one) == 400, "its head had come in time"


def test_an_answer_that_nobody_takes_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "TAKEN_S", 0.5)
    ana = server.room.service.as_user(User("ana", admin=True))
    ana.submit(
        AppRun(app=make_app(server.room.home / "app", command="[/bin/true]"), over=[{"i": i} for i in range(5000)])
    )
    [run] = ana.runs().items
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", server.port))
        line = f"GET /api/v1/runs/{run.id}/tasks?limit=1000 HTTP/1.1\r\nHost: here\r\n"
        one.sendall(f"{line}Authorization: Bearer {server.token}\r\n\r\n".encode() * 40)
        wait_for(lambda: not server.server.server_state.connections, 20, "that the connection is given up")


def test_slow_clients_hold_up_nobody(server: Server) -> None:
    """Each has a connection, and neither a thread nor anything of the store."""
    slow = [server.connection(*POST, "Content-Length: 100") for _ in range(100)]
    for one in slow:
        one.__enter__().sendall(b"{")
    assert httpx2.get(f"{server.url}/runs", headers=server.headers, timeout=20).status_code == 200
    for one in slow:
        one.__exit__(None, None, None)
    assert httpx2.get(f"{server.url}/runs", headers=server.headers, timeout=20).status_code == 200
    assert runs(server) == []


def test_a_client_that_hangs_up_leaves_nothing(server: Server) -> None:
    body = json.dumps({"app": "t", "over": [{"i": 1}]}).encode()
    for part in (b"", body[:10], body[:-1]):
        with server.connection(*POST, f"Content-Length: {len(body)}") as one:
            one.sendall(part)
    assert runs(server) == []


def test_a_follower_that_hangs_up_is_followed_no_more(server: Server, tmp_path: Path) -> None:
    run = server.submit(tmp_path)
    waiters = server.room.service.waiters
    with server.connection(f"GET /api/v1/runs/{run.id}/events HTTP/1.1") as one:
        said = one.recv(1 << 16) + one.recv(1 << 16)
        assert b"event-stream" in said
        wait_for(lambda: len(waiters._waiters) == 1, 20, "the follower")
    wait_for(lambda: not waiters._waiters, 20, "that nobody waits")


@pytest.mark.parametrize("length", [10**9, 10**15, int("9" * 300)])
def test_an_enormous_body_is_refused_before_it_comes(server: Server, length: int) -> None:
    with server.connection(*POST, f"Content-Length: {length}") as one:
        assert status_of(one) in (400, 413)


def test_a_body_without_end_is_refused_at_its_limit(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_JSON_BYTES", 1_000_000)
    with server.connection(*POST, "Transfer-Encoding: chunked") as one:
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        with suppress(OSError):
            for _ in range(40):
                one.sendall(piece)
        with suppress(OSError):
            assert status_of(one) == 413
    assert runs(server) == []


def test_a_run_is_followed_until_its_end(server: Server, tmp_path: Path) -> None:
    with server.room.run_engine():
        run = server.submit(tmp_path)
        events = []
        url = f"{server.url}/runs/{run.id}/events"
        with httpx2.stream("GET", url, headers=server.headers, timeout=60) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    events.append(value)
                if field == "data":
                    last = json.loads(value)
                    if events[-1] == "progress":
                        view = RunView.model_validate(last)
    assert events[-1] == "end" and set(events[:-1]) == {"progress"}
    assert view.ended and view.done == 1


def test_a_server_that_stops_ends_what_is_followed(server: Server, tmp_path: Path) -> None:
    run = server.submit(tmp_path)
    with server.connection(f"GET /api/v1/runs/{run.id}/events HTTP/1.1") as one:
        assert b"event-stream" in one.recv(1 << 16)
        began = time.monotonic()
        server.server.should_exit = True
        while one.recv(1 << 16):
            assert time.monotonic() - began < 20
    server.thread.join(20)
    assert not server.thread.is_alive()
