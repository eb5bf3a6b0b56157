"""Thousands of small runs in one request."""

from __future__ import annotations

from statistics import median

from bench.harness import Figures, folder, record, scaled, timed, true_app
from bench.server import served_apps, submit_many
from packhorse.client import Client

RUNS = scaled(5000)
ROUNDS = 3


def measure() -> Figures:
    """batch_runs_s (SQLite): from the call of ``client.submit_many`` until each run's answer is there, median."""
    if not hasattr(Client, "submit_many"):
        print("batch_runs_s is not measured: this version has no client.submit_many (POST /api/v1/runs:batch).")
        return {}
    took = [_one() for _ in range(ROUNDS)]
    figures = {"batch_runs_s": round(median(took), 2)}
    record("batch", figures, {"runs": RUNS, "seconds": took})
    return figures


def _one() -> float:
    """Seconds of one request to a server that has only seen a small one before."""
    with folder() as home, served_apps(home, [true_app(home / "apps")]) as server:
        submit_many(server.client, [{"app": "true", "params": {"i": index}} for index in range(10)])
        runs = [{"app": "true", "params": {"i": index}} for index in range(RUNS)]
        return timed(lambda: submit_many(server.client, runs))
