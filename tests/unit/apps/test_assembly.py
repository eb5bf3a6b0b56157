"""The assembly app without its tools: samples, commands, comparison of contigs with genomes, the table, the
manifest.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.manifest import parse_manifest
from packhorse.domain.render import app_template

from .folder import APPS, app_modules

APP = APPS / "assembly"


@pytest.fixture(scope="module")
def app() -> Iterator[dict[str, Any]]:
    with app_modules("assembly") as modules:
        yield dict(modules)


def paf(
    contig: str,
    span: tuple[int, int],
    strand: str,
    genome: str,
    place: tuple[int, int],
    matches: int,
    block: int,
    *tags: str,
) -> str:
    """A line of PAF, whose other fields nobody reads."""
    fields = (contig, 9999, *span, strand, genome, 9999, *place, matches, block, 60, *tags)
    return "\t".join(map(str, fields)) + "\n"


@pytest.mark.parametrize("file", ["genomes.py", "compare.py"])
def test_both_apps_have_the_same_copy(file: str) -> None:
    assert (APP / file).read_bytes() == (APPS / "metagenome" / file).read_bytes()


@pytest.mark.parametrize(
    ("lengths", "size", "n50"),
    [
        ([], None, 0),
        ([7], None, 7),
        ([8, 8, 4, 3, 3, 2, 2, 2], None, 8),  # the first two hold 16 of 32
        ([2, 3, 4, 5, 6, 7, 8, 9, 10], None, 8),
        ([10, 5], 40, 0),  # never half of it
        ([10, 5, 5], 40, 5),
    ],
)
def test_n50(app: dict[str, Any], lengths: list[int], size: int | None, n50: int) -> None:
    assert app["compare"].nx50(lengths, size) == n50


@pytest.mark.parametrize(
    ("intervals", "bases"),
    [
        ([], 0),
        ([(0, 10)], 10),
        ([(0, 10), (5, 15)], 15),
        ([(5, 15), (0, 10), (6, 8)], 15),
        ([(0, 1), (9, 10)], 2),
        ([(0, 9), (2, 4), (3, 5)], 9),
    ],
)
def test_covered_positions_count_once(app: dict[str, Any], intervals: list[tuple[int, int]], bases: int) -> None:
    assert app["compare"].covered(intervals) == bases


def test_alignments_that_are_short_or_unlike_do_not_count(app: dict[str, Any]) -> None:
    text = (
        paf("c", (0, 1000), "+", "g", (50, 1050), 990, 1000, "tp:A:P", "NM:i:10")
        + paf("c", (0, 1000), "-", "g", (50, 1050), 949, 1000, "NM:i:51")  # 94.9 % alike
        + paf("c", (0, 199), "+", "g", (50, 249), 199, 199)
        + paf("d", (0, 200), "-", "g", (50, 250), 198, 200)  # no NM: what does not match
    )
    kept = app["compare"].parse_paf(text)
    assert [(piece.contig, piece.forward, piece.start, piece.end, piece.differences) for piece in kept] == [
        ("c", True, 50, 1050, 10),
        ("d", False, 50, 250, 2),
    ]


@pytest.mark.parametrize(
    ("pieces", "wrong"),
    [
        ([((0, 500), "+", "g", (0, 500))], False),
        ([((0, 500), "+", "g", (0, 500)), ((500, 900), "+", "g", (700, 1100))], False),  # a gap of 200 bp
        ([((0, 500), "+", "g", (0, 500)), ((500, 900), "+", "g", (2000, 2400))], True),  # relocation
        ([((0, 500), "-", "g", (2000, 2500)), ((500, 900), "-", "g", (1600, 2000))], False),
        ([((0, 500), "-", "g", (0, 500)), ((500, 900), "-", "g", (5000, 5400))], True),
        ([((0, 500), "+", "g", (0, 500)), ((500, 900), "-", "g", (500, 900))], True),  # inversion
        ([((0, 500), "+", "g", (0, 500)), ((500, 900), "+", "h", (500, 900))], True),  # two genomes
        ([((0, 900), "+", "g", (0, 900)), ((300, 600), "+", "h", (0, 300))], False),  # a repeat within
    ],
)
def test_misassemblies(app: dict[str, Any], pieces: list[tuple[Any, ...]], wrong: bool) -> None:
    lines = [
        paf("c", span, strand, genome, place, span[1] - span[0], span[1] - span[0])
        for span, strand, genome, place in pieces
    ]
    assert app["compare"].misassembled(app["compare"].parse_paf("".join(lines))) is wrong


def test_a_report(app: dict[str, Any]) -> None:
    text = paf("c1", (0, 600), "+", "g", (0, 600), 597, 600, "NM:i:3") + paf(
        "c2", (0, 400), "-", "h", (100, 500), 400, 400, "NM:i:0"
    )
    report = app["compare"].summarise(
        {"c1": 600, "c2": 400, "c3": 300}, {"g": 1000, "h": 500}, app["compare"].parse_paf(text)
    )
    assert report == {
        "contigs": 3,
        "total_bp": 1300,
        "n50_bp": 400,
        "largest_bp": 600,
        "genome_fraction": 0.66667,
        "misassembled": 0,
        "unaligned": 1,
        "differences_per_100kbp": round(1e5 * 3 / 997, 2),
        "genomes": {"g": {"length_bp": 1000, "fraction": 0.6}, "h": {"length_bp": 500, "fraction": 0.8}},
    }


def test_nothing_assembled_is_a_report_as_well(app: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "contigs.fasta").touch()
    (tmp_path / "genomes.fasta").write_text(">g some words\nACGT\nAC\n")
    report = app["compare"].compare(tmp_path / "contigs.fasta", tmp_path / "genomes.fasta")
    assert (report["contigs"], report["n50_bp"], report["genome_fraction"]) == (0, 0, 0)
    assert report["genomes"] == {"g": {"length_bp": 6, "fraction": 0.0}}


def test_fasta_is_read_as_it_is_written(app: dict[str, Any], tmp_path: Path) -> None:
    genome = app["genomes"].Genome
    kept = [genome("a", "ACGT" * 41), genome("b", "T")]
    app["genomes"].write_fasta(tmp_path / "x.fasta", kept)
    assert list(app["genomes"].read_fasta(tmp_path / "x.fasta")) == kept
    assert max(map(len, (tmp_path / "x.fasta").read_text().splitlines())) == 80
    assert kept[0].part(2, 4) == genome("a_3-6", "GTAC")


def test_genomes_are_the_longest_sequences_species_by_turns(app: dict[str, Any], tmp_path: Path) -> None:
    for species, strain in (("A.A", "x"), ("A.A", "y"), ("B.B", "z")):
        (tmp_path / species / "references").mkdir(parents=True, exist_ok=True)
        (tmp_path / species / "references" / f"{strain}.fasta").write_text(f">plasmid\nAC\n>chromosome\nacgt{strain}\n")
    found = app["genomes"].find_genomes(tmp_path)
    assert [genome.name for genome in found] == ["A_A_x", "B_B_z", "A_A_y"]
    assert found[0].sequence == "ACGTX"
    with pytest.raises(FileNotFoundError, match="ragout-examples"):
        app["genomes"].find_genomes(tmp_path / "none")


def test_samples_are_new_pieces_until_there_are_none(app: dict[str, Any]) -> None:
    genome = app["genomes"].Genome
    genomes = [genome("a", "ACGTACGTAC"), genome("b", "TTTTT"), genome("n", "NNNNN")]
    plan = list(islice(app["simulate"].plan_samples(genomes, 5, 0.5), 5))
    assert [sample.name for sample in plan] == ["a_1-5", "b_1-5", "a_6-10", "a_1-5_mut1", "b_1-5_mut1"]
    assert [sample.sequence for sample in plan[:3]] == ["ACGTA", "TTTTT", "CGTAC"]
    whole = list(islice(app["simulate"].plan_samples(genomes, None, 0.5), 3))
    assert [sample.name for sample in whole] == ["a", "b", "a_mut1"]


def test_mutation_has_the_stated_rate_and_repeats(app: dict[str, Any]) -> None:
    genome = app["genomes"].Genome("g", "ACGT" * 5000)
    copy, again, other = (app["simulate"].mutate(genome, 0.01, seed) for seed in (1, 1, 2))
    changed = sum(a != b for a, b in zip(genome.sequence, copy.sequence, strict=True))
    assert 150 <= changed <= 250
    assert copy == again != other


def test_reads_repeat_with_their_seed(app: dict[str, Any]) -> None:
    command = app["genomes"].art_command(Path("g.fasta"), "out", 40.0, 7)
    assert command[command.index("-rs") + 1] == "7"
    assert command[command.index("-f") + 1] == "40"


@pytest.mark.parametrize(
    ("threads", "memory_gb", "end"),
    [(1.0, None, ["-t", "1"]), (0.5, 1.0, ["-t", "1", "-m", "800000000"]), (4.0, 2.5, ["-t", "4", "-m", "2000000000"])],
)
def test_megahit_gets_what_was_granted(
    app: dict[str, Any], threads: float, memory_gb: float | None, end: list[str]
) -> None:
    command = app["assemble"].megahit_command(Path("a"), Path("b"), 500, threads, memory_gb)
    assert command[:9] == ["megahit", "-1", "a", "-2", "b", "-o", "megahit", "--min-contig-len", "500"]
    assert command[9:] == end


def test_the_manifest_renders_the_command() -> None:
    manifest = parse_manifest((APP / "app.yaml").read_text(), "app.yaml")
    template = app_template(manifest, "/apps/assembly", manifest.resources)
    values = {"sample": "s", "reads1": "/r1", "reads2": "/r2", "genome": None, "min_contig": 500}
    assert template.arguments(values) == [
        "python3",
        "/apps/assembly/assemble.py",
        "--sample",
        "s",
        "--reads1",
        "/r1",
        "--reads2",
        "/r2",
        "--min-contig",
        "500",
        "--threads",
        "1",
        "--memory-gb",
        "1",
    ]
    unlimited = app_template(manifest, "/a", manifest.resources.override({"ram_gb": None, "cpu_cores": 8}))
    assert unlimited.arguments({**values, "genome": "/g"})[-4:] == ["--min-contig", "500", "--threads", "8"]


def test_the_table_has_failed_samples_too(app: dict[str, Any], tmp_path: Path) -> None:
    report = {
        "sample": "a",
        "contigs": 2,
        "n50_bp": 40,
        "total_bp": 60,
        "largest_bp": 40,
        "genome_fraction": 0.9,
        "misassembled": 0,
    }
    tasks = [
        {
            "index": 0,
            "state": "COMPLETE",
            "params": {"sample": "a"},
            "result": {**report, "genomes": {}},
            "reason": None,
        },
        {"index": 1, "state": "EXECUTOR_ERROR", "params": {"sample": "b"}, "result": None, "reason": "exit code 1"},
        {
            "index": 2,
            "state": "COMPLETE",
            "params": {"sample": "c"},
            "result": {**report, "sample": "c", "genome_fraction": None},
            "reason": None,
        },
    ]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    summary = app["gather"].gather(tmp_path / "results.jsonl", tmp_path / "summary.csv")
    assert summary == {
        "samples": {"COMPLETE": 2, "EXECUTOR_ERROR": 1},
        "median_n50_bp": 40,
        "median_genome_fraction": 0.9,
        "least_genome_fraction": 0.9,
    }
    with (tmp_path / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["sample"], row["state"], row["n50_bp"], row["genome_fraction"], row["reason"]) for row in rows] == [
        ("a", "COMPLETE", "40", "0.9", ""),
        ("b", "EXECUTOR_ERROR", "", "", "exit code 1"),
        ("c", "COMPLETE", "40", "", ""),
    ]
