"""One ``true`` through a warm server: from the request until the client sees COMPLETE."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from statistics import median

from bench.harness import Figures, folder, record, true_app
from packhorse.client import Client
from packhorse.domain.errors import Unavailable
from packhorse.domain.states import TaskState

REPEATS = 30


def measure() -> Figures:
    """latency_ms: the median; the slowest as well."""
    with folder() as home:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        app = true_app(home)
        environment = {**os.environ, "PACKHORSE_HOME": str(home / "home"), "PACKHORSE_CONFIG": ""}
        server = subprocess.Popen(
            [sys.executable, "-m", "packhorse.cli.main", "serve", "--port", str(port)], env=environment, stderr=subprocess.DEVNULL
        )
        try:
            took = _repeat(f"http://127.0.0.1:{port}", home / "home" / "token", app)
        finally:
            server.terminate()
            server.wait(30)
    figures = {"latency_max_ms": round(max(took) * 1000, 1), "latency_ms": round(median(took) * 1000, 1)}
    record("latency", figures, took)
    return figures


def _repeat(url: str, token_file: os.PathLike[str], app: str) -> list[float]:
    give_up = time.monotonic() + 30
    while True:
        try:
            with open(token_file, encoding="ascii") as file:
                client = Client(url=url, token=file.read().strip())
            client.run(app, over=[{"i": 0}]).wait()
            break
        except (Unavailable, OSError):
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)
    took = []
    for index in range(REPEATS):
        began = time.perf_counter()
        run = client.run(app, over=[{"i": index}]).wait()
        took.append(time.perf_counter() - began)
        if run.view.counts != {TaskState.COMPLETE: 1}:
            raise RuntimeError(f"the task is not complete: {run.view.counts}")
    return took
