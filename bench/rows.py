"""A table of a million rows on its way into a server: what the server holds, and how long another user waits."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from bench.harness import Figures, folder, record, scaled, true_app
from bench.server import Server, served_apps

ROWS = scaled(1_000_000)
ROUNDS = 2

#: A process of its own, whose work on the rows does not hold up the one that measures.
_SUBMIT = """
import sys
from packhorse.client import Client
url, token, table = sys.argv[1:]
print(Client(url=url, token=token).run("true", over=table).view.tasks)
"""


def measure() -> Figures:
    """million_rows_mb: the server's peak above what it held when idle; million_rows_wait_ms: the longest submission of
    another user, who submits one run of one task after the other (both SQLite, the worst of the rounds).
    """
    rounds = [_one() for _ in range(ROUNDS)]
    waits = [wait for _, found in rounds for wait in found]
    figures = {
        "million_rows_mb": round(max(held for held, _ in rounds), 1),
        "million_rows_wait_ms": round(max(waits) * 1000, 1),
    }
    record("rows", figures, {"rows": ROWS, "rounds": rounds})
    return figures


def _one() -> tuple[float, list[float]]:
    """(MB above idle, seconds of each submission meanwhile)."""
    with folder() as home, served_apps(home, [true_app(home / "apps")]) as server:
        table = home / "rows.jsonl"
        with table.open("w", encoding="ascii") as file:
            file.writelines(f'{{"i":{index}}}\n' for index in range(ROWS))
        return _watched(server, table)


def _watched(server: Server, table: Path) -> tuple[float, list[float]]:
    other = server.users(1)[0]
    other.run("true", over=[{"i": 0}]).wait()  # warm up
    idle = server.memory_mb()
    command = [sys.executable, "-c", _SUBMIT, server.url, server.new_token("many"), str(table)]
    waits: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as submitter:
        while submitter.poll() is None:
            began = time.perf_counter()
            other.run("true", over=[{"i": 0}])
            waits.append(time.perf_counter() - began)
            time.sleep(0.05)
        said = submitter.stdout.read() if submitter.stdout else ""
    if said.strip() != str(ROWS):
        raise RuntimeError(f"the rows were not accepted: {said!r}")
    return server.peak_mb() - idle, waits
