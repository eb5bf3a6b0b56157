"""FBA on iJO1366: workers against one process per task, against COBRApy's own double_gene_deletion on two processes,
and against the leanest loop that anyone could write."""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
from pathlib import Path
from statistics import median

from bench.harness import Figures, bracketed, complete, folder, python, ratio, record, timed
from bench.parts import Parts, parts
from packhorse.domain.run import AppRun
from packhorse.engine.embedded import Embedded

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
    pairs = [row["genes"].split("+") for row in csv.DictReader(open(sys.argv[1]))]
    first, second = (list(dict.fromkeys(column)) for column in zip(*pairs))
    table = double_gene_deletion(load_model("iJO1366"), first, second, processes=2)
    assert len(table) == len(first) * len(second)
    print(time.perf_counter() - began)
"""

#: Every second pair from the given one on: the same calls of GLPK as our worker's, on the same cached model, and an
#: answer a line.
_BARE = """
import csv, json, sys
sys.path.insert(0, sys.argv[1])
import lp
model = lp.load("iJO1366")
pairs = [row["genes"].split("+") for row in csv.DictReader(open(sys.argv[2]))]
with open(sys.argv[3], "w") as answers:
    for genes in pairs[int(sys.argv[4])::2]:
        answers.write(json.dumps(model.grow(genes, {})) + "\\n")
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


def ours_warm(table: Path, spent: list[Parts]) -> float:
    """Seconds from submission to an engine that leads, on a fresh home, until all results are durable; the model is
    cached.
    """
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with folder() as home:
        room = Embedded(home)
        with room.run_engine() as engine:
            engine.leading.wait(10)
            with parts() as own:
                took = complete(room, AppRun(app=str(APP), gather=False), rows)
        room.close()
    spent.append(own)
    return took


def bare(table: Path, answers: Path) -> float:
    """Seconds of two processes that do nothing but solve, half of the pairs each; the model is cached."""
    commands = [
        [sys.executable, "-c", _BARE, str(APP), str(table), f"{answers}.{half}", str(half)] for half in range(2)
    ]

    def both() -> None:
        processes = [subprocess.Popen(command) for command in commands]
        if codes := [code for process in processes if (code := process.wait())]:
            raise RuntimeError(f"the bare loop failed: {codes}")

    return timed(both)


def measure() -> Figures:
    """worker_speedup, fba_vs_cobra, fba_vs_bare_glpk."""
    with folder() as place:
        table, sample = place / "pairs.csv", place / "sample.csv"
        make_pairs(table, GENES)
        make_pairs(sample, (SAMPLE, 1))
        against_cobra = bracketed(lambda: ours(table, "worker"), lambda: float(python(_COBRA, str(table))), ROUNDS)
        per_process = [ours(sample, "none") / SAMPLE for _ in range(2)]
        os.environ["XDG_CACHE_HOME"] = str(place / "cache")
        ours_warm(sample, [])  # the model is cached from here on
        spent: list[Parts] = []
        against_bare = bracketed(lambda: ours_warm(table, spent), lambda: bare(table, place / "answers"), ROUNDS)
    pairs = GENES[0] * GENES[1]
    per_task = median(took for took, _ in against_cobra) / pairs
    figures = {
        "fba_ms_per_model": round(per_task * 1000, 3),
        "worker_speedup": round(median(per_process) / per_task, 1),
        "fba_vs_cobra": round(ratio(against_cobra), 3),
        "fba_vs_bare_glpk": round(ratio(against_bare), 3),
    }
    rounds = {
        "against_cobra": against_cobra,
        "against_bare": against_bare,
        "s_per_task_without_session": per_process,
        "processor_time": spent[-1].as_shares(),
    }
    record("fba", figures, rounds)
    return figures
