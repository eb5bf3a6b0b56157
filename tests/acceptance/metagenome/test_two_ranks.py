"""User story 5 on one machine: a community assembled by ABYSS-P over two ranks, compared with its genomes, resumed
after a stop.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

APP = Path(__file__).resolve().parents[3] / "apps" / "metagenome"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("abyss-pe", "mpirun", "minimap2", "art_illumina"))),
        reason="needs abyss, mpirun, minimap2 and art_illumina: make setup-test",
    ),
]


@pytest.fixture(scope="module")
def community(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reads of three members, of 8 kb each, covered 40, 25 and 15 times."""
    folder = tmp_path_factory.mktemp("community")
    arguments = ["--folder", folder, "--part-bp", "8000", "--coverages", "40,25,15"]
    subprocess.run([sys.executable, APP / "simulate.py", *arguments], check=True)
    return folder


def driver(community: Path, *more: str) -> list[str]:
    """The app's command for two ranks, as the manifest renders it."""
    files = [
        "--reads1",
        community / "reads_1.fq",
        "--reads2",
        community / "reads_2.fq",
        "--genomes",
        community / "genomes.fasta",
    ]
    options = [
        "--assembler",
        "abyss",
        "--k",
        "31,51",
        "--min-contig",
        "500",
        "--nodes",
        "1",
        "--ranks",
        "2",
        "--launcher",
        "mpirun",
    ]
    return [sys.executable, str(APP / "assemble.py"), *map(str, files), *options, *more]


def check(report: dict[str, Any]) -> None:
    assert (report["assembler"], report["ranks"]) == ("abyss", 2)
    assert report["genome_fraction"] >= 0.95
    assert len(report["genomes"]) == 3
    assert all(genome["fraction"] >= 0.9 for genome in report["genomes"].values())
    assert (report["misassembled"], report["unaligned"]) == (0, 0)


def test_a_run_that_was_stopped_goes_on_and_recovers_the_genomes(community: Path, tmp_path: Path) -> None:
    attempt = subprocess.Popen(
        driver(community), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    first = tmp_path / "assembly" / "unitigs-31.done"
    deadline = time.monotonic() + 60
    while not first.exists() and time.monotonic() < deadline and attempt.poll() is None:
        time.sleep(0.05)
    os.killpg(attempt.pid, signal.SIGKILL)
    attempt.communicate(timeout=10)
    assert first.exists()

    rest = subprocess.run(driver(community, "--resume"), cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert rest.returncode == 0, rest.stderr
    assert "Step unitigs-31 was done by an earlier attempt." in rest.stderr
    assert "Completed step contigs-51 in " in rest.stderr
    report = json.loads(rest.stdout)
    check(report)
    log = (tmp_path / "assembly" / "unitigs-51.log").read_text(errors="replace")
    assert "1: " in log  # a second rank has said something
    assert (tmp_path / "contigs.fasta").read_text().startswith(">contig_1\n")
