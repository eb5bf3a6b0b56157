"""Logs of batch systems in the Standard Workload Format (Feitelson, Parallel Workloads Archive)."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Job:
    """One job. Seconds and processors."""

    number: int
    submit: float
    runtime: float
    processors: int
    request: float
    user: int


@dataclass(frozen=True, slots=True)
class Log:
    """A log: its jobs by the time of their submission, and the processors of its machine."""

    jobs: list[Job]
    processors: int


def read(path: Path) -> Log:
    """The jobs that ran. One that ran longer than it asked for is taken to have ended at that limit."""
    jobs, processors = [], 0
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as file:
        for line in file:
            if found := re.match(r";\s*MaxProcs:\s*(\d+)", line):
                processors = int(found[1])
            if line.startswith(";") or not line.strip():
                continue
            field = line.split()
            number, submit, runtime = int(field[0]), float(field[1]), float(field[3])
            wanted, asked, user = int(field[7]), float(field[8]), int(field[11])
            wanted = wanted if wanted > 0 else int(field[4])
            if runtime <= 0 or wanted <= 0:
                continue
            request = asked if asked > 0 else runtime
            jobs.append(Job(number, submit, min(runtime, request), min(wanted, processors), request, user))
    return Log(sorted(jobs, key=lambda job: (job.submit, job.number)), processors)


def logs(folder: Path) -> list[Path]:
    """The logs of a folder: ``NAME.swf`` or ``NAME.swf.gz``."""
    return sorted(folder.glob("*.swf*"))
