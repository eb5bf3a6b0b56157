"""Forty users at once, each with a token and runs of their own and waiting for them, compared with one user who runs as
many tasks in one run.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from bench.harness import Figures, bracketed, folder, ratio, record, scaled, timed, true_app
from bench.server import served_apps
from packhorse.client import Client
from packhorse.domain.states import TaskState

USERS, RUNS, TASKS = 40, 3, scaled(100)
ROUNDS = scaled(3)


def measure() -> Figures:
    """users_ratio; users_last_vs_first: the last user's end ÷ the first's; users_submit_ms: until a run is accepted
    while all the others are at it, median and slowest.
    """
    submitted: list[float] = []
    ends: list[list[float]] = []
    with folder() as home, served_apps(home, [true_app(home / "apps")]) as server:
        users = server.users(USERS)
        for user in users:
            one_user(user, 1)  # warm up
        pairs = bracketed(
            lambda: timed(lambda: ends.append(all_users(users, submitted))),
            lambda: timed(lambda: one_user(users[0], USERS * RUNS * TASKS)),
            ROUNDS,
        )
    figures = {
        "users_submit_max_ms": round(max(submitted) * 1000, 1),
        "users_submit_ms": round(median(submitted) * 1000, 1),
        "users_last_vs_first": round(median(max(end) / min(end) for end in ends), 3),
        "users_ratio": round(ratio(pairs), 3),
    }
    record("users", figures, {"seconds": pairs, "submit_s": submitted, "ends_s": ends})
    return figures


def one_user(client: Client, tasks: int) -> float:
    """Seconds until a run is accepted; returns when it is complete."""
    began = time.perf_counter()
    run = client.run("true", over=[{"i": index} for index in range(tasks)])
    accepted = time.perf_counter() - began
    if run.wait().view.counts != {TaskState.COMPLETE: tasks}:
        raise RuntimeError(f"not all tasks are complete: {run.view.counts}")
    return accepted


def all_users(users: list[Client], submitted: list[float]) -> list[float]:
    """Every user's runs, one after the other; ``submitted`` gets the seconds that each submission took.

    Returns the seconds from the common beginning until each user's last run has ended.
    """
    began = time.perf_counter()

    def one(user: Client) -> tuple[list[float], float]:
        return [one_user(user, TASKS) for _ in range(RUNS)], time.perf_counter() - began

    with ThreadPoolExecutor(len(users)) as pool:
        done = list(pool.map(one, users))
    for took, _ in done:
        submitted += took
    return [end for _, end in done]
