"""Forty users at once, each with runs of their own and waiting for them, compared with one user who runs as many tasks
in one run.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from bench.harness import Figures, bracketed, folder, ratio, record, serving, timed, true_app
from packhorse.client import Client
from packhorse.domain.states import TaskState

USERS, RUNS, TASKS = 40, 3, 100
ROUNDS = 3


def measure() -> Figures:
    """users_ratio; users_submit_ms: until a run is accepted while all the others are at it, median and slowest."""
    submitted: list[float] = []
    with folder() as home:
        app = true_app(home)
        with serving(home / "home") as client:
            one_user(client, app, 1)  # warm up
            pairs = bracketed(
                lambda: timed(lambda: all_users(client, app, submitted)),
                lambda: timed(lambda: one_user(client, app, USERS * RUNS * TASKS)),
                ROUNDS,
            )
    figures = {
        "users_submit_max_ms": round(max(submitted) * 1000, 1),
        "users_submit_ms": round(median(submitted) * 1000, 1),
        "users_ratio": round(ratio(pairs), 3),
    }
    record("users", figures, {"seconds": pairs, "submit_s": submitted})
    return figures


def one_user(client: Client, app: str, tasks: int) -> float:
    """Seconds until a run is accepted; returns when it is complete."""
    began = time.perf_counter()
    run = client.run(app, over=[{"i": index} for index in range(tasks)])
    accepted = time.perf_counter() - began
    if run.wait().view.counts != {TaskState.COMPLETE: tasks}:
        raise RuntimeError(f"not all tasks are complete: {run.view.counts}")
    return accepted


def all_users(client: Client, app: str, submitted: list[float]) -> None:
    """Every user's runs, one after the other; ``submitted`` gets the seconds that each submission took."""
    with ThreadPoolExecutor(USERS) as users:
        for took in users.map(lambda _: [one_user(client, app, TASKS) for _ in range(RUNS)], range(USERS)):
            submitted += took
