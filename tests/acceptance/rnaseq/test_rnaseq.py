"""RNA-seq as a pipeline: what it measures agrees with the levels that reads of a real genome were simulated at."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from packhorse.client import Client
from packhorse.domain.states import TaskState

APP = Path(__file__).resolve().parents[3] / "apps" / "rnaseq"
GENOME = Path("/usr/share/doc/augustus/tutorial/data/chr2R.fa")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ("hisat2", "samtools", "stringtie"))) or not GENOME.exists(),
        reason="needs hisat2, samtools, stringtie and augustus-doc: make setup-test",
    ),
]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four samples of the first genes of the arm."""
    folder = tmp_path_factory.mktemp("samples")
    arguments = ["--samples", "4", "--pairs", "10000", "--genome-bp", "2900000", "--folder", folder]
    subprocess.run([sys.executable, APP / "simulate.py", *arguments], check=True, capture_output=True)
    return folder


def test_four_samples_and_one_that_cannot_be_read(samples: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.fq"
    bad.write_text("this is no read\n")
    with (samples / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows.insert(2, {"sample": "BAD", "condition": "A", "reads1": str(bad), "reads2": str(bad)})
    given = {"genome": samples / "genome.fasta", "annotation": samples / "annotation.gtf"}
    with Client(home=tmp_path / "home") as client:
        run = client.run(APP, over=rows, params=given, image="none").wait(timeout_s=300)
        counts = {step.name: step.counts for step in run.view.steps}
        results = list(run.results())
        files = {name: str(path) for name, path in run.gathered().items()}

    some = {TaskState.COMPLETE: 4, TaskState.EXECUTOR_ERROR: 1}
    stopped = {TaskState.COMPLETE: 4, TaskState.SYSTEM_ERROR: 1}
    one = {TaskState.COMPLETE: 1}
    assert counts == {"index": one, "align": some, "assemble": stopped, "merge": one, "quantify": stopped,
                      "matrix": one, "report": one}  # fmt: skip
    aligned = [row["result"]["aligned"] for row in results if "aligned" in (row["result"] or {})]
    assert len(aligned) == 4
    assert min(aligned) >= 0.97
    check = [sys.executable, APP / "check.py", "--matrix", files["genes_tpm"], "--truth", samples / "truth_tpm.tsv"]
    told = subprocess.run(check, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout
    assert json.loads(told.stdout)["samples"] == 4
    with Path(files["samples"]).open(newline="") as file:
        states = {row["sample"]: row["state"] for row in csv.DictReader(file, delimiter="\t")}
    assert states == {"S001": "COMPLETE", "S002": "COMPLETE", "S003": "COMPLETE", "S004": "COMPLETE",
                      "BAD": "SYSTEM_ERROR"}  # fmt: skip
    with Path(files["genes_counts"]).open(newline="") as file:
        counted = [sum(map(int, row[1:])) for row in list(csv.reader(file, delimiter="\t"))[1:]]
    assert sum(counted) == pytest.approx(4 * 2 * 10_000, rel=0.06)  # reads: nearly all, and none twice
    assert ElementTree.parse(files["picture"]).getroot().tag.endswith("svg")  # noqa: S314
    assert "BAD" in Path(files["page"]).read_text()
