"""FBA on iJO1366: workers against one process per task, and against COBRApy's own double_gene_deletion on two processes."""

from __future__ import annotations

import csv
import os
import random
import sys
from pathlib import Path
from statistics import median

from bench.harness import Figures, bracketed, folder, python, ratio, record

APP = Path(__file__).parents[1] / "apps" / "fba"
GENES = (100, 50)  # 5000 pairs
ROUNDS = 3
SAMPLE = 4  # tasks with a process each

#: The start of the interpreter's work, imports and the loading of the model count in both.
_OURS = """
import sys, time
began = time.perf_counter()
from packhorse.client import Client
run = Client(home=sys.argv[3]).run(sys.argv[1], over=sys.argv[2], gather=False, session=sys.argv[4])
run.wait()
assert run.view.counts == {"COMPLETE": run.view.tasks}, run.view.counts
print(time.perf_counter() - began)
"""

_COBRA = """
import csv, sys, time
began = time.perf_counter()
from cobra.flux_analysis import double_gene_deletion
from cobra.io import load_model
if __name__ == "__main__":
    first, second = (list(dict.fromkeys(column)) for column in zip(*(row["genes"].split("+") for row in csv.DictReader(open(sys.argv[1])))))
    table = double_gene_deletion(load_model("iJO1366"), first, second, processes=2)
    assert len(table) == len(first) * len(second)
    print(time.perf_counter() - began)
"""


def make_pairs(path: Path, numbers: tuple[int, int]) -> None:
    """A table of all pairs of some genes with some others."""
    sys.path.insert(0, str(APP))
    from cobra.io import load_model

    genes = sorted(gene.id for gene in load_model("iJO1366").genes if gene.id.startswith("b"))
    chosen = random.Random(1).sample(genes, sum(numbers))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["genes"])
        writer.writerows([f"{one}+{other}"] for one in chosen[: numbers[0]] for other in chosen[numbers[0] :])


def ours(table: Path, session: str) -> float:
    """Seconds of a run in a fresh process, on a fresh home, with no model in any cache."""
    with folder() as home:
        os.environ["XDG_CACHE_HOME"] = str(home / "cache")
        return float(python(_OURS, str(APP), str(table), str(home / "home"), session))


def measure() -> Figures:
    """worker_speedup, fba_vs_cobra."""
    with folder() as place:
        table, sample = place / "pairs.csv", place / "sample.csv"
        make_pairs(table, GENES)
        make_pairs(sample, (SAMPLE, 1))
        against_cobra = bracketed(lambda: ours(table, "worker"), lambda: float(python(_COBRA, str(table))), ROUNDS)
        per_process = [ours(sample, "none") / SAMPLE for _ in range(2)]
    pairs = GENES[0] * GENES[1]
    per_task = median(took for took, _ in against_cobra) / pairs
    figures = {
        "fba_ms_per_model": round(per_task * 1000, 3),
        "worker_speedup": round(median(per_process) / per_task, 1),
        "fba_vs_cobra": round(ratio(against_cobra), 3),
    }
    record("fba", figures, {"against_cobra": against_cobra, "s_per_task_without_session": per_process})
    return figures
