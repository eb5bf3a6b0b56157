"""User story 1 as on a supercomputer: the app's image goes from a public registry to the site's own by digest, and runs
as Slurm jobs.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fixtures.registry import TestRegistry, private_registry, registry
from tests.fixtures.slurm import TestCluster, slurm

from packhorse.client import Client, RunHandle
from packhorse.domain.images import parse_reference
from packhorse.staging.imagecopy import private_name

__all__ = ["private_registry", "registry", "slurm"]

REPOSITORY = Path(__file__).resolve().parents[3]
APP = REPOSITORY / "apps" / "assembly"
PARTS_BP = (8_000, 20_000)  # three samples of each
#: crun refuses mixed cgroups v1 and v2, so runc; Podman's default limits are more than root may have in a container or
#: virtual machine.
PODMAN = ["--runtime=runc", "--ulimit=nofile=1024:4096", "--ulimit=nproc=4096:4096"]

SITE = """
[sites.{runtime}]
scheduler = "slurm"
root = "{root}"
python = "{python}"
runtime = "{runtime}"
runtime_options = {options}
registry = "{registry}/private"
binds = ["{samples}"]
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("art_illumina", "apt-get"))),
        reason="needs art_illumina, and Debian's packages for the image: make setup-test",
    ),
]


@pytest.fixture(scope="module")
def digest(registry: TestRegistry) -> str:
    """The digest of the app's image, which is in the public registry now."""
    push = REPOSITORY / "deploy" / "images" / "push.sh"
    subprocess.run(
        [push, "assembly", f"{registry.address}/packhorse"], check=True, stdin=subprocess.DEVNULL, capture_output=True
    )
    return registry.digest("assembly", tag="1.0")


@pytest.fixture(scope="module")
def samples(slurm: TestCluster) -> Path:
    """Six samples, of different species, in one table, where the nodes see them."""
    folder = slurm.folder("samples")
    rows: list[list[str]] = []
    for part_bp in PARTS_BP:
        command = [APP / "simulate.py", "--samples", "3", "--part-bp", str(part_bp), "--folder", folder / str(part_bp)]
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        with (folder / str(part_bp) / "table.csv").open(newline="") as file:
            header, *more = csv.reader(file)
        rows += more
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return folder


@pytest.fixture
def client(
    slurm: TestCluster,
    registry: TestRegistry,
    private_registry: TestRegistry,
    samples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Client:
    """Of a configuration with a site of each runtime."""
    addresses = [registry.address, private_registry.address]
    text = f'[images]\ndefault_registry = "{registry.address}"\ninsecure = {json.dumps(addresses)}\n'
    for name, options in (("charliecloud", []), ("podman", PODMAN)):
        values = {"runtime": name, "root": slurm.folder(name), "python": sys.executable, "options": json.dumps(options)}
        text += SITE.format(**values, registry=private_registry.address, samples=samples)
    config = tmp_path / "packhorse.toml"
    config.write_text(text)
    monkeypatch.setenv("PACKHORSE_CONFIG", str(config))
    return Client(home=tmp_path / "home")


def check(client: Client, run: RunHandle, digest: str, site: str) -> None:
    """All samples are assembled, there is one table of them, and every attempt says which image it ran."""
    assert run.failed() == []
    reports = [row["result"] for row in run.results() if row["params"] is not None and "sample" in row["params"]]
    assert len(reports) == 6
    for report in reports:
        length = report["genomes"][report["sample"]]["length_bp"]
        assert 1 <= report["contigs"] <= 3
        assert report["n50_bp"] >= 0.9 * length
        assert report["genome_fraction"] >= 0.95
    with run.gathered()["table"].open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["sample"], int(line["n50_bp"]), line["state"]) for line in lines] == [
        (report["sample"], report["n50_bp"], "COMPLETE") for report in reports
    ]
    attempts = [
        attempt for index in range(run.view.tasks) for attempt in client.backend.task(f"{run.id}.{index}").attempts
    ]
    assert len(attempts) == 7  # with the gathering task
    assert {(attempt.site, attempt.image) for attempt in attempts} == {(site, digest)}
    assert all(attempt.peak_memory > 10e6 for attempt in attempts[:6])  # of MEGAHIT, also where Podman starts it


@pytest.mark.parametrize("site", ["charliecloud", "podman"])
def test_six_genomes_in_containers(
    site: str, client: Client, samples: Path, digest: str, registry: TestRegistry, private_registry: TestRegistry
) -> None:
    with client:
        run = client.run(APP, over=samples / "table.csv", resources={"site": site}).wait(timeout_s=120)
        check(client, run, digest, site)
    copy = private_name(f"{private_registry.address}/private", parse_reference("packhorse/assembly", registry.address))
    subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", f"docker://{copy}@{digest}"], check=True, capture_output=True
    )
