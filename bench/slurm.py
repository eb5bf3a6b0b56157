"""Many tasks through Slurm: against one job each, an array and steps in one allocation; scheduler commands; how soon an
end is seen.
"""

from __future__ import annotations

import csv
import sys
from statistics import median
from typing import Any

from tests.fixtures.slurm import TestCluster

from bench import fba
from bench.cluster import CORES, MEMORY_MB, NODES, Room, bench_cluster
from bench.harness import Figures, bracketed_by, ratio, record
from bench.slurm_ends import ends
from bench.slurm_peers import extrapolated, peers
from packhorse.domain.run import AppRun
from packhorse.logs import configure_logs

TASKS = 5000
FEW, MANY = 500, 50_000  # what the number of scheduler commands is compared for
ROUNDS = 2
SAMPLES = {"sbatch": 100, "array": 250, "srun": 100}  # of `true`
FBA_SAMPLE = 16


def measure() -> Figures:
    """slurm_vs_sbatch, slurm_vs_array, slurm_vs_srun, the same for FBA; scheduler_commands; slurm_end_to_visible_s."""
    configure_logs()
    with bench_cluster() as cluster:
        rounds: dict[str, Any] = {"samples": {**SAMPLES, "fba": FBA_SAMPLE}}
        print(f"sbatch, array and srun: samples of {SAMPLES}, of FBA {FBA_SAMPLE}, extrapolated to {TASKS}", flush=True)
        figures = _true(cluster, rounds) | _commands(cluster, rounds) | _fba(cluster, rounds) | _ends(cluster, rounds)
    record("slurm", figures, rounds)
    return figures


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
