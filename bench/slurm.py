"""Many tasks through Slurm: against one job each, an array and steps in one allocation; scheduler commands; how soon an
end is seen.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from tests.fixtures.slurm import TestCluster, running_cluster

from bench import fba
from bench.harness import Figures, bracketed_by, complete, ratio, record, true_app
from bench.slurm_ends import ends
from bench.slurm_peers import drain, extrapolated, peers
from packhorse.domain.config import load_config
from packhorse.domain.run import AppRun
from packhorse.engine.embedded import Embedded
from packhorse.logs import configure_logs
from packhorse.sites.base import CommandResult
from packhorse.sites.configure import site_from
from packhorse.sites.environment import Composer
from packhorse.sites.transports.local import LocalTransport
from packhorse.store.allocations import live_allocations

TASKS = 5000
FEW, MANY = 500, 50_000  # what the number of scheduler commands is compared for
ROUNDS = 2
SAMPLES = {"sbatch": 100, "array": 250, "srun": 100}  # of `true`
FBA_SAMPLE = 16
NODES, CORES, MEMORY_MB = 4, 2, 500  # the cluster, and its default memory per core

Rows = Iterable[Mapping[str, Any]]


class CountingTransport(LocalTransport):
    """Counts the programs that it runs, by name."""

    def __init__(self, composer: Composer) -> None:
        super().__init__(composer)
        self.programs: Counter[str] = Counter()

    def run(self, argv: list[str], **how: Any) -> CommandResult:
        self.programs[next(word for word in argv if word != "env" and "=" not in word)] += 1
        return super().run(argv, **how)


class Room:
    """An engine room of its own for one run, on the cluster only; everything of it lies where the nodes see it."""

    def __init__(self, cluster: TestCluster) -> None:
        self.folder = cluster.folder("bench")
        config = load_config(Path(cluster.environment["PACKHORSE_CONFIG"])).sites["testcluster"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {**config.env, "PATH": path, "XDG_CACHE_HOME": str(self.folder / "cache")}
        self.site = site_from(
            "testcluster", config.model_copy(update={"root": self.folder / "site", "env": env}), self.folder
        )
        self.transport = CountingTransport(self.site.composer)
        self.site.transport = self.transport

    def run(self, request: AppRun, rows: Rows, *, to_the_last: bool = False) -> float:
        """Seconds until every result is durable.

        ``to_the_last``: the engine then works on until no allocation is left.
        """
        room = Embedded(self.folder / "home", sites=[self.site])
        with room.run_engine() as engine:
            engine.leading.wait(10)
            took = complete(room, request, rows)
            while to_the_last and self._is_busy(room):
                time.sleep(0.1)
        room.close()
        drain()
        return took

    def run_true(self, number: int, *, to_the_last: bool = False) -> float:
        """Seconds of so many × /bin/true."""
        return self.run(
            AppRun(app=true_app(self.folder)), ({"i": index} for index in range(number)), to_the_last=to_the_last
        )

    def scheduler_commands(self) -> dict[str, int]:
        """How often each of Slurm's commands was given, by the engine or by an allocation's own script."""
        scripts = Counter("srun" for script in self.folder.glob("site/spool/*/job.sh") if "srun " in script.read_text())
        return dict(self.transport.programs + scripts)

    def _is_busy(self, room: Embedded) -> bool:
        with room.database.read() as connection:
            return bool(live_allocations(connection, self.site.name))


def measure() -> Figures:
    """slurm_vs_sbatch, slurm_vs_array, slurm_vs_srun, the same for FBA; scheduler_commands; slurm_end_to_visible_s."""
    configure_logs()
    with _cluster() as cluster:
        rounds: dict[str, Any] = {"samples": {**SAMPLES, "fba": FBA_SAMPLE}}
        print(f"sbatch, array and srun: samples of {SAMPLES}, of FBA {FBA_SAMPLE}, extrapolated to {TASKS}", flush=True)
        figures = _true(cluster, rounds) | _commands(cluster, rounds) | _fba(cluster, rounds) | _ends(cluster, rounds)
    record("slurm", figures, rounds)
    return figures


@contextmanager
def _cluster() -> Iterator[TestCluster]:
    """The test cluster, for Slurm's commands in this process as well; brought up and taken down unless it was up."""
    before = os.environ.get("SLURM_CONF")
    with running_cluster() as cluster:
        os.environ["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
        try:
            Room(cluster).run_true(CORES)  # warm up
            yield cluster
        finally:
            del os.environ["SLURM_CONF"]
            if before is not None:
                os.environ["SLURM_CONF"] = before


def _true(cluster: TestCluster, rounds: dict[str, Any]) -> Figures:
    ways = peers(cluster.folder("peers"), NODES, CORES, MEMORY_MB)
    references = {
        name: lambda name=name: extrapolated(ways[name], ["/bin/true"] * SAMPLES[name], TASKS) for name in ways
    }
    rounds["true"] = found = bracketed_by(references, lambda: Room(cluster).run_true(TASKS), ROUNDS)
    figures = {f"slurm_vs_{name}": round(1 / ratio(pairs), 1) for name, pairs in found.items()}
    return {"slurm_ms_per_task": round(median(took for took, _ in found["array"]) / TASKS * 1000, 3), **figures}


def _commands(cluster: TestCluster, rounds: dict[str, Any]) -> Figures:
    figures: Figures = {}
    rounds["scheduler_commands"] = {}
    for number, name in (
        (FEW, f"scheduler_commands_{FEW}"),
        (TASKS, "scheduler_commands"),
        (MANY, f"scheduler_commands_{MANY}"),
    ):
        room = Room(cluster)
        took = room.run_true(number, to_the_last=True)
        given = room.scheduler_commands()
        rounds["scheduler_commands"][number] = {"took_s": took, **given}
        figures[name] = sum(given.values())
    return figures


def _fba(cluster: TestCluster, rounds: dict[str, Any]) -> Figures:
    folder = cluster.folder("fba")
    fba.make_pairs(folder / "pairs.csv", fba.GENES)
    with (folder / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    program = f"exec {sys.executable} {fba.APP / 'fba.py'} --model iJO1366 --genes"
    sample = [f"{program} {row['genes']}" for row in rows[:FBA_SAMPLE]]
    ways = peers(folder, NODES, CORES, MEMORY_MB)
    references = {name: lambda way=way: extrapolated(way, sample, len(rows)) for name, way in ways.items()}
    request = AppRun(app=str(fba.APP), gather=False)
    rounds["fba"] = found = bracketed_by(references, lambda: Room(cluster).run(request, rows), 1)
    figures = {f"fba_slurm_vs_{name}": round(1 / ratio(pairs), 1) for name, pairs in found.items()}
    return {"fba_slurm_tasks_per_s": round(len(rows) / found["array"][0][0], 1), **figures}


def _ends(cluster: TestCluster, rounds: dict[str, Any]) -> Figures:
    rounds["s_from_cause_to_ending_ended_visible"] = found = ends(cluster.folder("ends"), NODES * CORES)
    after = {way: [visible - ended for _, ended, visible in seen] for way, seen in found.items()}
    figures = {f"slurm_{way}_to_visible_s": round(median(delays), 2) for way, delays in after.items()}
    return {
        **figures,
        "slurm_end_to_visible_s": round(median(delay for delays in after.values() for delay in delays), 2),
    }
