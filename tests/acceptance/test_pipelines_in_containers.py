"""User stories 2 and 3 as on a supercomputer: pipelines in containers, as Slurm jobs, by images from a registry."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from packhorse.client import Client
from tests.fixtures.registry import TestRegistry, private_registry, registry
from tests.fixtures.slurm import TestCluster, slurm

__all__ = ["private_registry", "registry", "slurm"]

REPOSITORY = Path(__file__).resolve().parents[2]
APPS = REPOSITORY / "apps"

SITE = """
[images]
default_registry = "{registry}"
insecure = ["{registry}", "{private}"]

[sites.testcluster]
scheduler = "slurm"
root = "{root}"
python = "{python}"
runtime = "charliecloud"
registry = "{private}/private"
binds = ["{samples}"]
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("hisat2", "diamond", "apt-get"))),
        reason="needs the apps' programs, and Debian's packages for their images: make setup-test",
    ),
]


@pytest.fixture
def samples(slurm: TestCluster) -> Path:
    """Where the nodes see them."""
    return slurm.folder("samples")


@pytest.fixture
def client(
    slurm: TestCluster,
    registry: TestRegistry,
    private_registry: TestRegistry,
    samples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Client:
    values = {"registry": registry.address, "private": private_registry.address, "root": slurm.folder("site")}
    config = tmp_path / "packhorse.toml"
    config.write_text(SITE.format(**values, python=sys.executable, samples=samples))
    monkeypatch.setenv("PACKHORSE_CONFIG", str(config))
    return Client(home=tmp_path / "home")


def push(app: str, registry: TestRegistry) -> str:
    """Builds an app's image unless it is there, and pushes it; returns its digest."""
    command = [REPOSITORY / "deploy" / "images" / "push.sh", app, f"{registry.address}/packhorse"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return registry.digest(app, tag="1.0")


def run_script(*command: str | Path, cwd: Path | None = None) -> str:
    return subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True, cwd=cwd).stdout


def images_of(client: Client, run_id: str, tasks: int) -> set[tuple[str, str | None]]:
    """(site, image) of every attempt of a run."""
    views = (client.backend.task(f"{run_id}.{index}") for index in range(tasks))
    return {(attempt.site, attempt.image) for view in views for attempt in view.attempts}


def test_expression_in_four_samples(client: Client, samples: Path, registry: TestRegistry) -> None:
    digest = push("rnaseq", registry)
    own = ["--samples", "4", "--pairs", "10000", "--genome-bp", "2900000", "--folder", str(samples)]
    run_script(APPS / "rnaseq" / "simulate.py", *own)
    given = {"genome": samples / "genome.fasta", "annotation": samples / "annotation.gtf"}
    with client:
        run = client.run(APPS / "rnaseq", over=samples / "table.csv", params=given, resources={"site": "testcluster"})
        run.wait(timeout_s=400)
        assert run.failed() == []
        assert run.view.tasks == 1 + 3 * 4 + 3
        assert images_of(client, run.id, run.view.tasks) == {("testcluster", digest)}
        left = run.gathered()
    own = ["--matrix", str(left["genes_tpm"]), "--truth", str(samples / "truth_tpm.tsv")]
    assert json.loads(run_script(APPS / "rnaseq" / "check.py", *own))["samples"] == 4
    assert left["picture"].read_text().startswith("<svg")


def test_contigs_against_proteins(client: Client, samples: Path, registry: TestRegistry, tmp_path: Path) -> None:
    digest, app = push("similarity", registry), APPS / "similarity"
    run_script(app / "contigs.py", "--contigs", "40", "--proteins", "4000", "--folder", samples)
    given = {"queries": samples / "contigs.fasta", "proteins": samples / "proteins.fasta", "chunk_s": 1, "speed": 3e10}
    with client:
        run = client.run(app, params=given, resources={"site": "testcluster"}).wait(timeout_s=400)
        assert run.failed() == []
        assert next(step.tasks or 0 for step in run.view.steps if step.name == "search") >= 2
        assert images_of(client, run.id, run.view.tasks) == {("testcluster", digest)}
        merged = run.gathered()["hits"].read_bytes()
    run_script(app / "database" / "database.py", "--proteins", given["proteins"], "--tool", "diamond", cwd=tmp_path)
    own = ["--queries", given["queries"], "--database", "database", "--tool", "diamond"]
    run_script(app / "search" / "search.py", *own, cwd=tmp_path)
    assert merged == (tmp_path / "hits.tsv").read_bytes()
    assert merged
