"""A run of 1,000,000 × ``true``, and reading its results: half an hour, only by ``ONLY=million``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bench.growth import in_a_process
from bench.harness import Figures, folder, record, scaled, xargs
from bench.parts import memory_mb
from packhorse.client import Client

TASKS = scaled(1_000_000)


def measure() -> Figures:
    """million_ratio ÷ ``xargs``, half of which runs before and half after; million_engine_mb and million_store_mb;
    million_rows_per_s and million_results_mb: ``packhorse results --csv`` of that run, from the start of its process.
    """
    with folder() as home:
        before = xargs(TASKS // 2)
        took, engine_mb = in_a_process(TASKS, home)
        after = xargs(TASKS - TASKS // 2)
        store_mb = sum(path.stat().st_size for path in home.glob("packhorse.db*")) / 1e6
        reading_s, results_mb = _read(home)
    figures = {
        "million_engine_mb": round(engine_mb, 1),
        "million_store_mb": round(store_mb, 1),
        "million_results_mb": round(results_mb, 1),
        "million_rows_per_s": round(TASKS / reading_s),
        "million_ratio": round(took / (before + after), 3),
    }
    record("million", figures, {"tasks": TASKS, "seconds": took, "xargs": [before, after], "reading_s": reading_s})
    return figures


def _read(home: Path) -> tuple[float, float]:
    """(seconds, peak memory in MB) of the command that writes all results; there must be a line for each task."""
    with Client(home=home) as client:
        run = next(client.runs())
    table = home / "results.csv"
    command = [sys.executable, "-m", "packhorse.cli.main", "results", run.id, "--csv"]
    peak = 0.0
    with table.open("wb") as file:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=file, env={**os.environ, "PACKHORSE_HOME": str(home)})
        while process.poll() is None:
            peak = _peak(process.pid, peak)
            time.sleep(0.02)
        took = time.perf_counter() - began
    with table.open("rb") as file:
        lines = sum(1 for _ in file)
    if process.returncode != 0 or lines != TASKS + 1:
        raise RuntimeError(f"the results have {lines} lines, and the command ended with {process.returncode}")
    return took, peak


def _peak(pid: int, before: float) -> float:
    try:
        return max(before, memory_mb(pid, "VmHWM"))
    except (OSError, StopIteration):  # it has just ended
        return before
