"""What all benchmarks share: bracketed timing on a noisy machine, a record of everything measured, an engine room of
one's own.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from tests.fixtures.postgres import Postgres

from bench.server import served
from packhorse.client import Client
from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.engine.embedded import Embedded

RESULTS = Path(__file__).parent / "results"
SCRATCH = "/var/tmp"  # a disk, not memory
Figures = dict[str, float]
_SCALE = float(os.environ.get("BENCH_SCALE", "1"))


def bracketed(measured: Callable[[], float], reference: Callable[[], float], rounds: int) -> list[tuple[float, float]]:
    """(seconds, seconds of the reference) per round; the reference is the mean of a run before and one after, so that
    drift cancels.
    """
    pairs = []
    before = reference()
    for _ in range(rounds):
        took = measured()
        after = reference()
        pairs.append((took, (before + after) / 2))
        before = after
    return pairs


def bracketed_by(
    references: Mapping[str, Callable[[], float]], measured: Callable[[], float], rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Like ``bracketed`` with several references, all of them before and after each run of what is measured: name →
    rounds.
    """
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in references}
    before = {name: reference() for name, reference in references.items()}
    for _ in range(rounds):
        took = measured()
        after = {name: reference() for name, reference in references.items()}
        for name in references:
            pairs[name].append((took, (before[name] + after[name]) / 2))
        before = after
    return pairs


def ratio(pairs: list[tuple[float, float]]) -> float:
    """The median of the rounds' ratios."""
    return median(measured / reference for measured, reference in pairs)


def timed(function: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def xargs(number: int) -> float:
    """Seconds of ``seq N | xargs -P2 -n1 /bin/true``."""
    return timed(lambda: subprocess.run(f"seq {number} | xargs -P2 -n1 /bin/true", shell=True, check=True))


def python(code: str, *arguments: str) -> str:
    """Runs Python code in a fresh interpreter; its stdout."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return done.stdout


@contextmanager
def folder() -> Iterator[Path]:
    """A fresh folder on a disk, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="packhorse-bench-", dir=SCRATCH))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def make_app(home: Path, name: str, command: list[str], more: str = "") -> str:
    """The folder of an app that runs a command; ``more`` is of its manifest."""
    app = home / name
    app.mkdir(parents=True)
    (app / "app.yaml").write_text(
        f"packhorse: 1\nname: '{name}'\nversion: '1'\ncommand: {json.dumps(command)}\n{more}", encoding="utf-8"
    )
    return str(app)


def true_app(home: Path) -> str:
    """An app that runs /bin/true, with one parameter."""
    return make_app(home, "true", ["/bin/true"], "parameters:\n  i: {type: integer}\n")


def complete(room: Embedded, request: AppRun, rows: Iterable[Mapping[str, Any]]) -> float:
    """Seconds from submission to an engine that runs until the run's end is in the store; every task must be
    complete.
    """
    began = time.perf_counter()
    view = room.mine.submit(request, rows)
    while not view.ended:
        view = room.mine.wait(view.id, view.tasks, 60)
    took = time.perf_counter() - began
    if view.counts != {TaskState.COMPLETE: view.tasks}:
        raise RuntimeError(f"not all tasks are complete: {view.counts}")
    return took


@contextmanager
def serving(home: Path, config: str = "") -> Iterator[Client]:
    """A client of a server of its own on ``home``, by the configuration file of that name; it is ended afterwards."""
    with served(home, config) as server:
        yield server.client


@contextmanager
def postgres(*, durable: bool = False) -> Iterator[str]:
    """The URL of an empty database on a PostgreSQL server of its own; a ``durable`` one waits for the disk."""
    with tempfile.TemporaryDirectory() as data:
        server = Postgres(Path(data), durable=durable)
        server.start()
        try:
            yield server.new_database()
        finally:
            server.stop()


def scaled(size: int, least: int = 1) -> int:
    """A size of what is measured, times $BENCH_SCALE: to try a benchmark out. Nothing is recorded then."""
    return max(least, round(size * _SCALE))


def record(name: str, figures: Figures, rounds: Any) -> None:
    """Keeps what was measured, as measured; not what was only tried out (``scaled``)."""
    if _SCALE != 1:
        return
    RESULTS.mkdir(exist_ok=True)
    line = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": f"make bench ONLY={name}",
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]},
        "figures": figures,
        "rounds": rounds,
    }
    with (RESULTS / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
