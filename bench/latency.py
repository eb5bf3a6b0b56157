"""One ``true`` through a warm server: from the request until the client sees COMPLETE."""

from __future__ import annotations

import time
from statistics import median

from bench.harness import Figures, folder, record, serving, true_app
from packhorse.client import Client
from packhorse.domain.states import TaskState

REPEATS = 30


def measure() -> Figures:
    """latency_ms: the median; the slowest as well."""
    with folder() as home:
        app = true_app(home)
        with serving(home / "home") as client:
            took = _repeat(client, app)
    figures = {"latency_max_ms": round(max(took) * 1000, 1), "latency_ms": round(median(took) * 1000, 1)}
    record("latency", figures, took)
    return figures


def _repeat(client: Client, app: str) -> list[float]:
    client.run(app, over=[{"i": 0}]).wait()  # warm up
    took = []
    for index in range(REPEATS):
        began = time.perf_counter()
        run = client.run(app, over=[{"i": index}]).wait()
        took.append(time.perf_counter() - began)
        if run.view.counts != {TaskState.COMPLETE: 1}:
            raise RuntimeError(f"the task is not complete: {run.view.counts}")
    return took
