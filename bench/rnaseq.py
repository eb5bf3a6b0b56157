"""24 samples of RNA-seq on the cluster, against Snakemake with the same commands, data and cores; how busy cores are;
a rerun in which nothing has changed.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.cluster import CORES, NODES, Room, bench_cluster, jobs_so_far
from bench.harness import Figures, complete, record, scaled
from bench.parts import parts
from bench.snakemake_peer import Workflow
from packhorse.domain.run import AppRun
from packhorse.engine.embedded import Embedded
from packhorse.logs import configure_logs

APP = Path(__file__).parents[1] / "apps" / "rnaseq"
SAMPLES = scaled(24, 2)
PAIRS = scaled(100_000, 5000)
GENOME_BP = 7_000_000  # of 21: all genes lie in these, and only one core can make the index
AT_ONCE = NODES * CORES  # tasks: as many as the cluster has cores, which share those of this machine
REAL_CORES = os.cpu_count() or 1


def measure() -> Figures:
    """rnaseq_vs_snakemake, numbers of scheduler jobs, rnaseq_busy, rerun_fraction."""
    configure_logs()
    with bench_cluster() as cluster:
        samples = cluster.folder("samples")
        own = ["--samples", str(SAMPLES), "--pairs", str(PAIRS), "--genome-bp", str(GENOME_BP)]
        simulate = [sys.executable, str(APP / "simulate.py"), *own, "--folder", str(samples)]
        subprocess.run(simulate, check=True, stdout=subprocess.DEVNULL)
        with (samples / "table.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        common = {"genome": str(samples / "genome.fasta"), "annotation": str(samples / "annotation.gtf")}
        workflow = Workflow(cluster.folder("snakemake"), APP, rows, common)
        request = AppRun(app=str(APP), image="none", params=common)
        start_s = workflow.start_s()
        tried = {cores: workflow.local(cores) - start_s for cores in (REAL_CORES, AT_ONCE)}
        best = min(tried, key=lambda cores: tried[cores])
        with Room(cluster).leading() as room:
            ours = _run(room, request, rows, workflow.matrix)
        after_s = workflow.local(best) - start_s
        slurm_jobs, slurm_s = _with_jobs(lambda: workflow.slurm(AT_ONCE) - start_s)
        first, again = _twice(Room(cluster), request.model_copy(update={"reuse": True}), rows)
    local_s = (tried[best] + after_s) / 2
    rounds = {
        "ours": ours,
        "snakemake": {"start_s": start_s, "before_s_by_cores": tried, "after_s": after_s, "slurm_s": slurm_s},
        "rerun": {"first_s": first, "again_s": again},
    }
    figures = {
        "rnaseq_s": round(ours["s"], 2),
        "rnaseq_vs_snakemake_local": round(ours["s"] / local_s, 3),
        "rnaseq_vs_snakemake_slurm": round(ours["s"] / slurm_s, 3),
        "rnaseq_jobs": ours["jobs"],
        "rnaseq_jobs_snakemake": slurm_jobs,
        "rnaseq_busy": round(ours["busy"], 3),
        "rerun_fraction": round(again / first, 4),
        "rnaseq_vs_snakemake": round(ours["s"] / min(local_s, slurm_s), 3),
    }
    record("rnaseq", figures, rounds)
    return figures


def _run(room: Embedded, request: AppRun, rows: list[dict[str, str]], expected: bytes) -> dict[str, Any]:
    """Seconds of a run, with what it used. ``expected`` is its matrix."""
    with parts() as spent:
        jobs, took_s = _with_jobs(lambda: complete(room, request, rows))
    [run] = room.mine.runs(limit=1).items
    if room.mine.gathered(run.id)["genes_tpm"].read_bytes() != expected:
        raise RuntimeError("the matrix is not that of Snakemake")
    used = room.mine.usage(run.id)
    core_s = REAL_CORES * (used.elapsed_s or 0.0)
    return {
        "s": took_s, "jobs": jobs, "elapsed_s": used.elapsed_s, "busy": used.cpu_s / core_s, "tasks": used.tasks,
        "processor_time": spent.as_shares(),
    }  # fmt: skip


def _twice(place: Room, request: AppRun, rows: list[dict[str, str]]) -> tuple[float, float]:
    """Seconds of a run that keeps what later ones take, and of the same again."""
    with place.leading() as room:
        return complete(room, request, rows), complete(room, request, rows)


def _with_jobs(run: Callable[[], float]) -> tuple[int, float]:
    """(how many jobs the cluster was given meanwhile, what ``run`` returns)."""
    before = jobs_so_far()
    took_s = run()
    return jobs_so_far() - before, took_s
