"""User story 5: a metagenome assembled by a distributed-memory assembler over two nodes; its job is taken away, and it
goes on.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from packhorse.client import Client
from packhorse.domain.states import TERMINAL
from tests.fixtures.slurm import TestCluster

APP = Path(__file__).resolve().parents[3] / "apps" / "metagenome"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("abyss-pe", "mpirun", "minimap2", "art_illumina"))),
        reason="needs abyss, mpirun, minimap2 and art_illumina: make setup-test",
    ),
]


def test_over_two_nodes_and_two_jobs(slurm: TestCluster, cluster_sites: None, tmp_path: Path) -> None:
    community = slurm.folder("community")
    arguments = ["--folder", community, "--part-bp", "8000", "--coverages", "40,25,15"]
    subprocess.run([sys.executable, APP / "simulate.py", *arguments], check=True)
    files = {
        "reads1": community / "reads_1.fq",
        "reads2": community / "reads_2.fq",
        "genomes": community / "genomes.fasta",
    }
    with Client(home=tmp_path / "home") as client:
        run = client.run(
            APP, params={name: str(path) for name, path in files.items()}, resources={"site": "testcluster"}
        )
        with client.backend.working():
            job_id = await_first_step(client, f"{run.id}.0", slurm)
            nodes = int(slurm.run("squeue", "-h", "-j", job_id, "-o", "%D"))
            slurm.run("scancel", job_id)
            run.wait()
        assert run.failed() == []
        task = client.backend.task(f"{run.id}.0")
        said = run.logs(0, stream="stderr")
    assert nodes == 2
    assert [attempt.failure for attempt in task.attempts] == ["preempted", None]
    assert "was done by an earlier attempt." in said
    report = task.result
    assert (report["assembler"], report["ranks"]) == ("abyss", 2)
    assert report["genome_fraction"] >= 0.95
    assert len(report["genomes"]) == 3
    assert (report["misassembled"], report["unaligned"]) == (0, 0)


def await_first_step(client: Client, task: str, slurm: TestCluster) -> str:
    """The id of the job in which the assembler's first step has been completed."""
    give_up = time.monotonic() + 120
    while b"Completed step" not in client.backend.log(task, "stderr", 0, None).data:
        state = client.backend.task(task)
        assert state.state not in TERMINAL, state.reason
        assert time.monotonic() < give_up, state
        time.sleep(0.1)
    return slurm.run("squeue", "-h", "-t", "running", "-o", "%i").split()[0]
