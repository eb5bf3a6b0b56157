"""A server that is stopped while it is busy: whoever was told that a task is accepted finds it afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.fixtures.room import wait_for

TASK = {"executors": [{"command": ["/bin/true"]}]}
CLIENTS = 8


class Server:
    """``packhorse serve`` on a port that stays the same."""

    def __init__(self, home: Path, port: int, config: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PACKHORSE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "packhorse.cli.main", "serve", "--port", str(port)],
            env={**kept, "PACKHORSE_HOME": str(home), "PACKHORSE_CONFIG": str(config)},
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: self.ready() == 200, 30, "the server")
        self.token = (home / "token").read_text().strip()

    def ready(self) -> int | None:
        """What it says of itself; None where nobody answers."""
        try:
            return httpx2.get(f"{self.url}/api/v1/health/ready").status_code
        except httpx2.TransportError:
            return None


@contextmanager
def served(folder: Path, drain_s: float) -> Iterator[tuple[Server, Path, int]]:
    config = folder / "packhorse.toml"
    config.write_text(f"[server]\ndrain_s = {drain_s}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(folder / "home", port, config)
    try:
        yield server, config, port
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait(30)


class Load:
    """Clients that create tasks one after the other, until nobody answers any more."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.accepted: list[str] = []
        self.refused: list[tuple[int, str]] = []
        self._threads = [threading.Thread(target=self._create, daemon=True) for _ in range(CLIENTS)]
        for one in self._threads:
            one.start()

    def _create(self) -> None:
        with httpx2.Client(headers={"Authorization": f"Bearer {self._server.token}"}, timeout=30) as http:
            while True:
                try:
                    answer = http.post(f"{self._server.url}/ga4gh/tes/v1/tasks", json=TASK)
                except httpx2.TransportError:  # it was not answered: a client asks again elsewhere
                    return
                if answer.status_code == 200:
                    self.accepted.append(answer.json()["id"])
                else:
                    self.refused.append((answer.status_code, answer.text))

    def join(self) -> None:
        for one in self._threads:
            one.join(30)
            assert not one.is_alive()


def test_no_accepted_task_is_lost_when_a_busy_server_stops(tmp_path: Path) -> None:
    with served(tmp_path, 0) as (server, config, port):
        load = Load(server)
        wait_for(lambda: len(load.accepted) > 50, 30, "some tasks")
        server.process.terminate()
        assert server.process.wait(30) == 0
        load.join()
        assert load.refused == [], "what had come is answered"
        again = Server(tmp_path / "home", port, config)
        try:
            headers = {"Authorization": f"Bearer {again.token}"}
            with httpx2.Client(headers=headers, timeout=30) as http:
                for task in load.accepted:
                    assert http.get(f"{again.url}/ga4gh/tes/v1/tasks/{task}").status_code == 200, task
        finally:
            again.process.terminate()
            again.process.wait(30)


def test_a_server_that_drains_says_so_and_answers_meanwhile(tmp_path: Path) -> None:
    with served(tmp_path, 3) as (server, _, _):
        load = Load(server)
        wait_for(lambda: len(load.accepted) > 10, 30, "some tasks")
        server.process.terminate()
        told_at = time.monotonic()
        wait_for(lambda: server.ready() == 503, 2, "that it calls itself not ready")
        before = len(load.accepted)
        wait_for(lambda: len(load.accepted) > before + 10, 3, "that it still answers")
        assert load.refused == []
        assert server.process.wait(30) == 0 and time.monotonic() - told_at > 2.5
        load.join()
        assert load.refused == []


def test_a_second_signal_ends_the_draining(tmp_path: Path) -> None:
    with served(tmp_path, 600) as (server, _, _):
        server.process.terminate()
        wait_for(lambda: server.ready() == 503, 10, "that it calls itself not ready")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
