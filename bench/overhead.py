"""5000 × /bin/true, from submission to every result durable in the store with logs and usage captured, against xargs
and peers.
"""

from __future__ import annotations

from pathlib import Path

from bench import peers
from bench.harness import Figures, bracketed, complete, folder, ratio, record, scaled, true_app, xargs
from packhorse.domain.run import AppRun
from packhorse.engine.embedded import Embedded
from packhorse.logs import configure_logs

TASKS = scaled(5000)
ROUNDS = 5


def packhorse_true(number: int, home: Path) -> float:
    """Seconds from submission until the run's end is in the store."""
    room = Embedded(home)
    app = true_app(home)
    with room.run_engine() as engine:
        engine.leading.wait(10)
        took = complete(room, AppRun(app=app), ({"i": index} for index in range(number)))
    room.close()
    return took


def whole_path() -> float:
    """Seconds of TASKS through an engine of its own."""
    with folder() as home:
        return packhorse_true(TASKS, home)


def measure() -> Figures:
    """overhead_ratio, and the same ratio of each peer that is installed."""
    configure_logs()
    whole_path()  # warm up
    rounds = {"packhorse": bracketed(whole_path, lambda: xargs(TASKS), ROUNDS)}
    for name, peer in peers.available().items():
        number = peers.TASKS
        rounds[name] = bracketed(lambda peer=peer, number=number: peer(number), lambda number=number: xargs(number), 2)  # type: ignore[misc]
    figures = {f"{name}_ratio": round(ratio(pairs), 3) for name, pairs in rounds.items() if name != "packhorse"}
    figures["ms_per_task"] = round(min(took for took, _ in rounds["packhorse"]) / TASKS * 1000, 3)
    figures["overhead_ratio"] = round(ratio(rounds["packhorse"]), 3)
    record("overhead", figures, rounds)
    return figures
