"""Traces of Nextflow: one line for each task, as ``-with-trace`` writes them with raw numbers."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GB = 1e9


@dataclass(frozen=True, slots=True)
class Task:
    """One task that ran. Bytes, and seconds; the times of day since 1970."""

    process: str
    tag: str
    size: float
    """What it read (``rchar``)."""
    rss: float
    peak_rss: float
    preset: float
    """The memory that the workflow asks for."""
    cores: float
    cpu_s: float
    runtime_s: float
    start: float
    complete: float


def names(folder: Path) -> list[str]:
    """The traces of a folder: ``NAME.csv`` or ``NAME.csv.gz``."""
    return sorted({path.name.removesuffix(".gz").removesuffix(".csv") for path in folder.glob("*.csv*")})


def read(folder: Path, name: str) -> list[Task]:
    """The tasks of a trace as they stand there; those without a number where there has to be one are left out."""
    path = folder / f"{name}.csv.gz"
    with gzip.open(path, "rt") if path.exists() else open(folder / f"{name}.csv") as file:
        return list(_tasks(csv.DictReader(io.StringIO(file.read()))))


def _tasks(rows: csv.DictReader[str]) -> Iterator[Task]:
    for row in rows:
        try:
            cores = float(row["cpus"])
            runtime = float(row["realtime"]) / 1000
            busy = row.get("%cpu", "-")
            yield Task(
                process=row["process"],
                tag=row["tag"],
                size=float(row["rchar"]),
                rss=float(row["rss"]),
                peak_rss=float(row["peak_rss"]),
                preset=float(row["memory"]),
                cores=cores,
                cpu_s=runtime * (float(busy) / 100 if busy != "-" else cores),
                runtime_s=runtime,
                start=float(row["start"]) / 1000,
                complete=float(row["complete"]) / 1000,
            )
        except ValueError:
            continue


def by_process(tasks: list[Task]) -> dict[str, list[Task]]:
    """Tasks by their type, both in the order in which they stand in the trace."""
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.process, []).append(task)
    return found
