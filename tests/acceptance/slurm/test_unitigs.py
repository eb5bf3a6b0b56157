"""A distributed-memory assembler that comes as an image: its ranks on two nodes, each in a container, started by
Slurm's PMIx.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from packhorse.client import Client
from tests.fixtures.registry import TestRegistry, registry
from tests.fixtures.slurm import TestCluster

__all__ = ["registry"]

REPOSITORY = Path(__file__).resolve().parents[3]
METAGENOME, APP = REPOSITORY / "apps" / "metagenome", REPOSITORY / "apps" / "unitigs"
SITE = """
[images]
default_registry = "{registry}"
insecure = ["{registry}"]
[sites.cluster]
scheduler = "slurm"
root = "{root}"
python = "{python}"
runtime = "charliecloud"
binds = ["{reads}"]
launcher = {launcher}
"""
LAUNCHER = [
    "srun",
    "--mpi=pmix",
    "--nodes={nodes}",
    "--ntasks={ranks}",
    "--ntasks-per-node={ranks_per_node}",
    "--overlap",
    "--mem=0",
]
COMPLEMENT = str.maketrans("ACGT", "TGCA")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("art_illumina", "apt-get"))),
        reason="needs art_illumina, and Debian's packages for the image: make setup-test",
    ),
]


def sequences(fasta: Path) -> list[str]:
    """The sequences of a FASTA file."""
    return ["".join(record.split("\n")[1:]).upper() for record in fasta.read_text().split(">")[1:]]


@pytest.fixture
def places(
    slurm: TestCluster, registry: TestRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """Reads of three genomes where the nodes see them, and the cluster's root. The app's image is in the registry."""
    push = REPOSITORY / "deploy" / "images" / "push.sh"
    subprocess.run(
        [push, "unitigs", f"{registry.address}/packhorse"], check=True, stdin=subprocess.DEVNULL, capture_output=True
    )
    folder = slurm.folder("community")
    arguments = ["--folder", folder, "--part-bp", "8000", "--coverages", "40,25,15"]
    subprocess.run([sys.executable, METAGENOME / "simulate.py", *arguments], check=True)
    root = slurm.folder("site")
    values = {"root": root, "python": sys.executable, "reads": folder, "launcher": json.dumps(LAUNCHER)}
    config = tmp_path / "packhorse.toml"
    config.write_text(SITE.format(registry=registry.address, **values))
    monkeypatch.setenv("PACKHORSE_CONFIG", str(config))
    return folder, root


@pytest.mark.parametrize(("nodes", "ranks_per_node"), [(2, 1), (1, 2)])
def test_unitigs_of_a_metagenome(
    nodes: int, ranks_per_node: int, places: tuple[Path, Path], registry: TestRegistry, tmp_path: Path
) -> None:
    reads, root = places
    files = {"reads1": str(reads / "reads_1.fq"), "reads2": str(reads / "reads_2.fq")}
    with Client(home=tmp_path / "home") as client:
        resources = {"site": "cluster", "nodes": nodes, "ranks_per_node": ranks_per_node, "cpu_cores": ranks_per_node}
        run = client.run(APP, params=files, resources=resources).wait(timeout_s=180)
        assert run.failed() == []
        said = run.logs(0, stream="stdout") + run.logs(0, stream="stderr")
        [attempt] = client.backend.task(f"{run.id}.0").attempts
    assert attempt.image == registry.digest("unitigs", tag="1.0")
    assert "0: " in said and "1: " in said  # two ranks of one program, not two programs
    genomes = sequences(reads / "genomes.fasta")
    strands = "|".join([*genomes, *(genome.translate(COMPLEMENT)[::-1] for genome in genomes)])
    unitigs = [unitig for unitig in sequences(root / "runs" / run.id / "0" / "unitigs.fa") if len(unitig) >= 200]
    exact = sum(len(unitig) for unitig in unitigs if unitig in strands)
    assert exact >= 0.95 * sum(map(len, unitigs)) >= 0.9 * sum(map(len, genomes))
