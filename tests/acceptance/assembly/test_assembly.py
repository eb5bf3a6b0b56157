"""A batch of genomes through the engine: simulated, assembled by MEGAHIT, compared with the real sequences, one
table.
"""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from packhorse.client import Client

APP = Path(__file__).resolve().parents[3] / "apps" / "assembly"

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("megahit", "minimap2", "art_illumina"))),
    reason="needs megahit, minimap2 and art_illumina: make setup-test",
)


def test_a_contig_that_leaves_something_out_is_misassembled_and_counts_for_what_it_has(tmp_path: Path) -> None:
    bases = "".join(random.Random(1).choices("ACGT", k=20_000))
    genome, contigs = tmp_path / "genome.fasta", tmp_path / "contigs.fasta"
    genome.write_text(f">genome\n{bases}\n")
    contigs.write_text(f">contig\n{bases[:8_000]}{bases[11_000:]}\n")
    report = json.loads(
        subprocess.run([sys.executable, APP / "compare.py", contigs, genome], check=True, capture_output=True).stdout
    )
    assert report["genome_fraction"] == pytest.approx(0.85, abs=0.005)
    assert (report["misassembled"], report["unaligned"]) == (1, 0)


@pytest.mark.slow
def test_two_samples_are_assembled_and_summarised(tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    arguments = ["--samples", "2", "--part-bp", "20000", "--folder", samples]
    subprocess.run([sys.executable, APP / "simulate.py", *arguments], check=True)

    with Client(home=tmp_path / "home") as client:
        run = client.run(APP / "app.yaml", over=samples / "table.csv", image="none").wait()
        assert run.failed() == []
        reports = [row["result"] for row in run.results() if row["params"] is not None and "sample" in row["params"]]
        gathered = run.gathered()

    assert [report["sample"] for report in reports] == ["E_Coli_DH1_1-20000", "H_Pylori_ELS37_1-20000"]
    for report in reports:
        assert report["genome_fraction"] >= 0.99
        assert report["n50_bp"] >= 19_000
        assert (report["misassembled"], report["unaligned"]) == (0, 0)
    with gathered["table"].open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["sample"], int(line["n50_bp"])) for line in lines] == [
        (report["sample"], report["n50_bp"]) for report in reports
    ]
    assert {line["state"] for line in lines} == {"COMPLETE"}
