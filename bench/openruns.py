"""Ten thousand open runs of forty users, of which hardly anything moves: what the engine takes, and how long a new user
waits beside them.
"""

from __future__ import annotations

import time
from statistics import median

from bench.harness import Figures, folder, make_app, record, scaled, true_app
from bench.server import Server, served_apps, submit_many
from packhorse.client import Client
from packhorse.domain.states import TaskState

RUNS, USERS, TASKS = scaled(10_000, least=40), 40, 20
NEWCOMERS = scaled(20, least=3)
QUIET_S = scaled(20, least=5)  # after the last submission, before the engine is looked at
WATCHED_S = scaled(60, least=10)
LONGEST_S = 600.0  # of all newcomers together; those who come later are not measured


def measure() -> Figures:
    """open_runs_cpu: cores that the server's process takes; newcomer_s: from submission to the result of one ``true``
    of a user who has never had a run, median (both SQLite).
    """
    with folder() as home:
        stop = home / "stop"
        # what agents have before them when the server is ended is not slept through
        sleep = make_app(home / "apps", "sleep", ["/bin/sh", "-c", f"[ -e {stop} ] || exec sleep 1"], _PARAMETER)
        with served_apps(home, [sleep, true_app(home / "apps")]) as server:
            try:
                cores, waits = _watched(server)
            finally:
                stop.touch()
                time.sleep(2)
    figures = {"open_runs_cpu": round(cores, 3), "newcomer_s": round(median(waits), 2)}
    record("openruns", figures, {"runs": RUNS, "cores": cores, "newcomers_s": waits})
    return figures


_PARAMETER = "parameters:\n  i: {type: integer}\n"


def _watched(server: Server) -> tuple[float, list[float]]:
    """(cores, seconds of each newcomer) while all runs are open."""
    newcomers = server.users(NEWCOMERS, "new")
    run = {"app": "sleep", "over": [{"i": index} for index in range(TASKS)]}
    for user in server.users(USERS):
        submit_many(user, [run] * (RUNS // USERS))
    time.sleep(QUIET_S)
    before, began = server.processor_s(), time.monotonic()
    time.sleep(WATCHED_S)
    cores = (server.processor_s() - before) / (time.monotonic() - began)
    return cores, _waits(newcomers)


def _waits(newcomers: list[Client]) -> list[float]:
    """Seconds of each newcomer; the last is cut off when all together took ``LONGEST_S``."""
    waits: list[float] = []
    for newcomer in newcomers:
        if (left_s := LONGEST_S - sum(waits)) <= 0:
            break
        began = time.monotonic()
        run = newcomer.run("true", over=[{"i": 0}])
        try:
            view = run.wait(timeout_s=left_s).view
        except TimeoutError:
            print(f"a newcomer's run had not ended after {left_s:.0f} s")
        else:
            if view.counts != {TaskState.COMPLETE: 1}:
                raise RuntimeError(f"the newcomer's task is not complete: {view.counts}")
        waits.append(time.monotonic() - began)
    return waits
