"""A similarity search as a pipeline: contigs of real genomes in chunks against real proteins are what one run finds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from packhorse.client import Client

APP = Path(__file__).resolve().parents[3] / "apps" / "similarity"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("diamond", "blastx"))), reason="needs diamond and blastx: make setup-test"
    ),
]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty contigs, 4000 proteins."""
    folder = tmp_path_factory.mktemp("samples")
    arguments = ["--contigs", "40", "--proteins", "4000", "--folder", folder]
    subprocess.run([sys.executable, APP / "contigs.py", *arguments], check=True, capture_output=True)
    return folder


def run_alone(folder: Path, samples: Path, tool: str) -> bytes:
    """What one run over all contigs finds, with a database of its own."""
    folder.mkdir()
    own = ["--proteins", samples / "proteins.fasta", "--tool", tool]
    subprocess.run(
        [sys.executable, APP / "database" / "database.py", *own], check=True, capture_output=True, cwd=folder
    )
    own = ["--queries", samples / "contigs.fasta", "--database", "database", "--tool", tool]
    subprocess.run([sys.executable, APP / "search" / "search.py", *own], check=True, capture_output=True, cwd=folder)
    return (folder / "hits.tsv").read_bytes()


@pytest.mark.parametrize(("tool", "speed"), [("diamond", 3e10), ("blast", 1.5e10)])
def test_chunks_find_what_one_run_finds_to_the_byte(tool: str, speed: float, samples: Path, tmp_path: Path) -> None:
    given = {"queries": samples / "contigs.fasta", "proteins": samples / "proteins.fasta", "tool": tool}
    with Client(home=tmp_path / "home") as client:
        run = client.run(APP, params={**given, "chunk_s": 1, "speed": speed}, image="none").wait(timeout_s=300)
        assert run.failed() == []
        counts = {step.name: step.tasks for step in run.view.steps}
        merged = run.gathered()["hits"].read_bytes()
        report = next(row["result"] for row in run.results() if "chunks" in (row["result"] or {}))
    assert counts["search"] == report["chunks"] >= 2
    assert report["contigs"] == 40
    assert merged == run_alone(tmp_path / "alone", samples, tool)
    assert merged.count(b"\n") == report["hits"] >= 20
    contigs = [line[1:].split()[0] for line in (samples / "contigs.fasta").read_text().splitlines() if line[0] == ">"]
    found = list(dict.fromkeys(line.split("\t")[0] for line in merged.decode().splitlines()))
    assert found == [contig for contig in contigs if contig in set(found)]


def test_without_its_database_s_size_a_part_of_it_has_other_evalues(samples: Path, tmp_path: Path) -> None:
    """That both tools are told is not for nothing: E-values are of what they are told, not of what they search."""
    own = ["--proteins", samples / "proteins.fasta", "--tool", "diamond"]
    database = [sys.executable, APP / "database" / "database.py", *own]
    subprocess.run(database, check=True, capture_output=True, cwd=tmp_path)
    about = tmp_path / "database" / "about.json"
    said = json.loads(about.read_text())
    found = []
    for letters in (said["letters"], 1000 * said["letters"]):
        about.write_text(json.dumps({**said, "letters": letters}))
        own = ["--queries", samples / "contigs.fasta", "--database", "database", "--tool", "diamond"]
        search = [sys.executable, APP / "search" / "search.py", *own]
        subprocess.run(search, check=True, capture_output=True, cwd=tmp_path)
        lines = [line.split("\t") for line in (tmp_path / "hits.tsv").read_text().splitlines()]
        found.append({(*line[:2], *line[6:10]): float(line[10]) for line in lines})
    both = [hit for hit in found[1] if hit in found[0] and found[0][hit] > 0]
    assert both
    assert all(found[1][hit] / found[0][hit] == pytest.approx(1000, rel=0.02) for hit in both)
