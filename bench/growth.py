"""What a task costs among 100,000 compared with one among 1,000, and how much memory the engine takes for it."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from bench.harness import Figures, folder, python, record

_ENGINE = """
import resource, sys
from pathlib import Path
from bench.overhead import packhorse_true
from packhorse.logs import configure_logs
configure_logs()
number, home = int(sys.argv[1]), Path(sys.argv[2])
took = packhorse_true(number, home)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(took, peak / 1000)
"""


def in_a_process(number: int, home: Path) -> tuple[float, float]:
    """(seconds, peak memory of the engine's process in MB) of so many tasks; the store stays on ``home``."""
    took_s, peak = python(_ENGINE, str(number), str(home)).split()
    return float(took_s), float(peak)


def one(number: int) -> tuple[float, float]:
    """(ms per task, peak memory of the engine's process in MB)."""
    with folder() as home:
        took_s, peak = in_a_process(number, home)
    return took_s / number * 1000, peak


def measure() -> Figures:
    """growth_ratio, engine_memory_mb."""
    few = [one(1000) for _ in range(5)]
    many = one(100_000)
    few += [one(1000) for _ in range(5)]
    figures = {
        "ms_per_task_1000": round(median(ms for ms, _ in few), 3),
        "ms_per_task_100000": round(many[0], 3),
        "engine_memory_mb": round(many[1], 1),
        "growth_ratio": round(many[0] / median(ms for ms, _ in few), 3),
    }
    record("growth", figures, {"few": few, "many": many})
    return figures
