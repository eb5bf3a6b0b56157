"""A server of one's own, its users, and what its process takes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.parts import memory_mb, processor_s
from packhorse.client import Client
from packhorse.domain.errors import PackhorseError, Unavailable

_COMMAND = [sys.executable, "-m", "packhorse.cli.main"]
_AT_ONCE = 8  # who submits together where there is no submission of many


@dataclass
class Server:
    """A server that runs, with the client of its owner."""

    client: Client
    url: str
    token: str
    pid: int
    environment: dict[str, str]
    clients: list[Client] = field(default_factory=list)

    def new_token(self, user: str, *, admin: bool = False) -> str:
        """A new token of a user."""
        command = [*_COMMAND, "token", "add", user, *(["--admin"] if admin else [])]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def users(self, number: int, name: str = "user") -> list[Client]:
        """So many new users' clients, each with a token of its own; they are closed with the server."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            tokens = list(pool.map(self.new_token, [f"{name}{index}" for index in range(number)]))
        made = [Client(url=self.url, token=token) for token in tokens]
        self.clients += made
        return made

    def processor_s(self) -> float:
        """Seconds that the server's process has used, with those of its programs that have ended."""
        return processor_s(self.pid)

    def memory_mb(self) -> float:
        """What it holds now; its peak begins here."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")
        return memory_mb(self.pid, "VmRSS")

    def peak_mb(self) -> float:
        """The most that it held since ``memory_mb`` was asked."""
        return memory_mb(self.pid, "VmHWM")


@contextmanager
def served(home: Path, config: str = "") -> Iterator[Server]:
    """A server on ``home``, by the configuration file of that name; it is ended afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PACKHORSE_HOME": str(home), "PACKHORSE_CONFIG": config}
    process = subprocess.Popen([*_COMMAND, "serve", "--port", str(port)], env=environment, stderr=subprocess.DEVNULL)
    clients: list[Client] = []
    try:
        url = f"http://127.0.0.1:{port}"
        token = _token_once_reached(url, home / "token")
        clients.append(Client(url=url, token=token))
        yield Server(clients[0], url, token, process.pid, environment, clients)
    finally:
        for client in clients:
            client.close()
        process.terminate()
        process.wait(60)


def _token_once_reached(url: str, token_file: Path) -> str:
    give_up = time.monotonic() + 30
    while True:
        try:
            token = token_file.read_text(encoding="ascii").strip()
            with Client(url=url, token=token) as client:
                list(client.runs())
            return token
        except (Unavailable, OSError):
            if time.monotonic() > give_up:
                raise
        time.sleep(0.1)


@contextmanager
def served_apps(folder: Path, apps: Sequence[str], database: str | None = None) -> Iterator[Server]:
    """A server that offers apps (their folders) by name, so that those who are no admins can run them; on the database
    of that URL, or SQLite.
    """
    config = folder / "packhorse.toml"
    lines = [f"apps = {json.dumps(sorted({str(Path(app).parent) for app in apps}))}"]
    if database:
        lines.append(f"database = {json.dumps(database)}")
    config.write_text("\n".join(lines) + "\n")
    with served(folder / "home", str(config)) as server:
        yield server


def submit_many(client: Client, runs: Sequence[dict[str, Any]]) -> None:
    """Submits runs, each as ``POST /api/v1/runs`` has it: together where the client can, else some at a time.

    Raises the first refusal.
    """
    if together := getattr(client, "submit_many", None):
        for answer in together(runs):
            if isinstance(answer, PackhorseError):
                raise answer
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda run: client.run(**run), runs))
