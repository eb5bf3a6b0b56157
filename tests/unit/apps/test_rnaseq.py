"""RNA-seq without its tools: simulated reads, introns, genes, matrices, clusters, the report."""

from __future__ import annotations

import csv
import gzip
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.manifest import read_manifest

from .folder import APPS, app_modules

APP = APPS / "rnaseq"
STEPS = ("index", "align", "assemble", "merge", "quantify", "matrix", "report")


@pytest.fixture(scope="module")
def app() -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = {}
    for folder in ("", *STEPS):
        with app_modules(f"rnaseq/{folder}") as modules:
            found |= modules
    yield found


@pytest.mark.parametrize("folder", ["", *STEPS])
def test_manifests_are_valid(folder: str) -> None:
    read_manifest(APP / folder / "app.yaml")


def test_both_steps_that_gather_have_the_same_copy() -> None:
    assert (APP / "merge" / "results.py").read_bytes() == (APP / "matrix" / "results.py").read_bytes()


def gtf(kind: str, start: int, end: int, strand: str, attributes: str, chromosome: str = "c") -> str:
    return "\t".join((chromosome, "x", kind, str(start), str(end), ".", strand, ".", attributes)) + "\n"


# What the annotation says


def test_introns_are_between_exons_of_one_transcript_and_each_is_told_once(app: dict[str, Any]) -> None:
    lines = [
        "# a comment\n",
        gtf("exon", 201, 300, "+", 'gene_id "g"; transcript_id "t";'),
        gtf("exon", 101, 150, "+", 'gene_id "g"; transcript_id "t";'),
        gtf("exon", 90, 150, "+", 'transcript_id "u"; gene_id "g"'),
        gtf("exon", 201, 220, "+", 'transcript_id "u"; gene_id "g"'),
        gtf("exon", 221, 230, "+", 'transcript_id "u"; gene_id "g"'),
        gtf("CDS", 1, 2, "+", 'transcript_id "u"; gene_id "g"'),
    ]
    assert app["index"].introns(lines) == [("c", 149, 200, "+")]
    with pytest.raises(ValueError, match="line 2 is none of a GTF"):
        app["index"].introns([lines[0], "c x exon\n"])


def test_new_transcripts_are_of_the_only_known_gene_of_their_locus(app: dict[str, Any]) -> None:
    said = [("M.1", "t1", "g1"), ("M.1", "M.1.2", ""), ("M.2", "t2", "g2"), ("M.2", "t3", "g3"), ("M.2", "M.2.3", ""),
            ("M.3", "M.3.1", ""), ("g4", "t4", "g4")]  # fmt: skip
    lines = [
        gtf(
            "transcript",
            1,
            9,
            "+",
            f'gene_id "{locus}"; transcript_id "{name}"; ' + (f'ref_gene_id "{gene}"' * bool(gene)),
        )
        for locus, name, gene in said
    ]
    genes = {name: gene for name, (gene, _) in app["merge"].genes_of(["# said\n", *lines]).items()}
    assert genes == {
        "t1": "g1", "M.1.2": "g1", "t2": "g2", "t3": "g3", "M.2.3": "M.2", "M.3.1": "M.3", "t4": "g4",
    }  # fmt: skip


def test_what_hisat2_says_is_read(app: dict[str, Any]) -> None:
    text = "HISAT2 summary stats:\n\tTotal pairs: 50000\n\t\tAligned concordantly 1 time: 48544 (97.09%)\n"
    report = app["align"].parse_summary(text + "\tOverall alignment rate: 98.97%\n")
    assert report == {"pairs": 50000, "unique_pairs": 48544, "aligned": 0.9897}
    with pytest.raises(ValueError, match="does not say: aligned"):
        app["align"].parse_summary(text)


READ = b"@r\nACGT\n+\nIIII\n"


def test_reads_are_counted_before_they_are_aligned(app: dict[str, Any], tmp_path: Path) -> None:
    plain, packed, unended = tmp_path / "a.fq", tmp_path / "a.fq.gz", tmp_path / "b.fq"
    plain.write_bytes(3 * READ)
    unended.write_bytes((3 * READ)[:-1])
    packed.write_bytes(gzip.compress(3 * READ))
    assert app["align"].count_pairs(plain, packed) == 3
    assert app["align"].count_reads(unended) == 3


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("bad.fq.gz", gzip.compress(900 * READ, mtime=0)[:-9], "is damaged"),
        ("bad.fq.gz", READ, "is damaged"),
        ("bad.fq", READ + READ[:6], "has 6 lines, where each read has four"),
        ("bad.fq", b"", "has 0 lines"),
        ("bad.fq", b">r\nACGT\n", "does not begin with '@'"),
        ("bad.fq", 2 * READ, "they are no pairs"),
    ],
)
def test_reads_that_break_off_or_are_no_pairs_are_refused(
    app: dict[str, Any], tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    good = tmp_path / "good.fq"
    good.write_bytes(3 * READ)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(app["align"].BadReads, match=why):
        app["align"].count_pairs(good, tmp_path / name)


@pytest.mark.parametrize(
    ("first", "second", "failed"),
    [("exit 3", "cat >&2", "exit 3"), ("echo", "cat >&2; exit 4", "cat >&2; exit 4"), ("exit 3", "exit 4", "exit 3")],
)
def test_of_two_commands_the_first_that_failed_is_told(
    app: dict[str, Any], first: str, second: str, failed: str
) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        app["align"].pipe(["sh", "-c", first], ["sh", "-c", second])
    assert error.value.cmd == ["sh", "-c", failed]


# Matrices


def sample_line(folder: Path, name: str, levels: dict[str, tuple[int, float, float]] | None) -> str:
    """A line of results: {transcript: (length, coverage, FPKM)}; None for a sample that failed."""
    task: dict[str, Any] = {"index": 0, "state": "EXECUTOR_ERROR", "reason": "out of memory", "outputs": {}}
    if levels is not None:
        path = folder / f"{name}.ctab"
        rows = [f"{name}\t{length}\t{cov}\t{fpkm}\n" for name, (length, cov, fpkm) in levels.items()]
        path.write_text("".join(["t_name\tlength\tcov\tFPKM\n", *rows]))
        task = {"index": 0, "state": "COMPLETE", "reason": None, "outputs": {"levels": str(path)}}
    return json.dumps(task | {"params": {"sample": name, "condition": name[0]}}) + "\n"


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


def test_levels_of_all_samples_become_matrices_and_who_is_missing_is_told(app: dict[str, Any], tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    one = {"t1": (1000, 3.04, 30.0), "t2": (500, 1.0, 10.0), "n": (100, 0.0, 0.0)}
    two = {"t1": (1000, 0.0, 0.0), "t2": (500, 0.0, 0.0), "n": (100, 0.0, 0.0)}
    lines = [sample_line(tmp_path, "A1", one), sample_line(tmp_path, "B1", None), sample_line(tmp_path, "B2", two)]
    results.write_text("".join(lines))
    kept, missing = app["results"].read_results(results)
    assert app["matrix"].write_matrices(kept, {"t1": "g", "t2": "g"}, 100, tmp_path) == (2, 3)
    app["matrix"].write_samples(tmp_path / "samples.tsv", [*kept, *missing])
    assert table(tmp_path / "genes_tpm.tsv") == [
        ["gene", "A1", "B2"], ["g", "1000000.000", "0.000"], ["n", "0.000", "0.000"],
    ]  # fmt: skip
    assert table(tmp_path / "genes_counts.tsv")[1] == ["g", str(31 + 5), "0"]
    assert table(tmp_path / "transcripts_tpm.tsv")[1:3] == [
        ["t1", "g", "750000.000", "0.000"], ["t2", "g", "250000.000", "0.000"],
    ]  # fmt: skip
    assert table(tmp_path / "samples.tsv")[3] == ["B1", "B", "EXECUTOR_ERROR", "out of memory"]


def test_samples_over_other_transcripts_are_refused(app: dict[str, Any], tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    lines = [sample_line(tmp_path, name, {transcript: (9, 1.0, 1.0)}) for name, transcript in (("A", "t"), ("B", "u"))]
    results.write_text("".join(lines))
    kept, _ = app["results"].read_results(results)
    with pytest.raises(app["matrix"].NotAlike, match="'B' has other transcripts than that of 'A'"):
        app["matrix"].write_matrices(kept, {}, 100, tmp_path)


@given(st.lists(st.tuples(st.sampled_from("ghi"), st.floats(0, 1e6)), min_size=1, max_size=40))
def test_levels_of_genes_are_sums_and_those_of_a_sample_a_million(
    app: dict[str, Any], found: list[tuple[str, float]]
) -> None:
    genes, levels = [gene for gene, _ in found], app["matrix"].tpm_of([level for _, level in found])
    total = sum(app["matrix"].by_gene(genes, levels).values())
    assert total == pytest.approx(1e6 if any(level > 0 for _, level in found) else 0)


# Clusters and the picture

VECTORS = st.integers(2, 12).flatmap(
    lambda length: st.lists(
        st.lists(st.integers(-50, 50), min_size=length, max_size=length), min_size=1, max_size=14
    )
)  # fmt: skip


def slow_linkage(between: list[list[float]]) -> list[float]:
    """Distances of merges by the definition: the two clusters whose members are nearest on average, again and again."""
    clusters = [[item] for item in range(len(between))]
    found = []
    while len(clusters) > 1:
        distance, one, other = min(
            (sum(between[i][j] for i in a for j in b) / (len(a) * len(b)), x, y)
            for x, a in enumerate(clusters)
            for y, b in enumerate(clusters)
            if x < y
        )
        found.append(distance)
        clusters[one] += clusters.pop(other)
    return found


@given(st.integers(1, 14), st.integers())
def test_clusters_are_those_of_the_definition(app: dict[str, Any], number: int, seed: int) -> None:
    chance = random.Random(seed)  # distances that are all different: else there is more than one tree
    between = [[0.0] * number for _ in range(number)]
    for one in range(number):
        for other in range(one):
            between[one][other] = between[other][one] = chance.random()
    merges = app["clusters"].average_linkage(between)
    assert [merge.distance for merge in merges] == pytest.approx(slow_linkage(between))
    assert sorted(app["clusters"].leaf_order(merges, number)) == list(range(number))
    used = [cluster for merge in merges for cluster in (merge.left, merge.right)]
    assert sorted(used) == list(range(2 * number - 2))


@given(VECTORS)
def test_distances_are_those_of_correlations(app: dict[str, Any], vectors: list[list[float]]) -> None:
    between = app["clusters"].distances(vectors)
    assert all(0 <= value <= 2 + 1e-9 for row in between for value in row)
    assert app["clusters"].distances([vectors[0], [3 * value + 1 for value in vectors[0]]])[0][1] == pytest.approx(
        0 if len(set(vectors[0])) > 1 else 1
    )


def test_samples_in_a_plane_are_as_far_from_each_other_as_they_are(app: dict[str, Any]) -> None:
    vectors = [[0.0, 0.0, 5.0], [6.0, 0.0, 5.0], [0.0, 2.0, 5.0], [6.0, 2.0, 5.0]]
    (first, part1), (second, part2) = app["clusters"].principal_components(vectors)
    assert (part1, part2) == (pytest.approx(0.9), pytest.approx(0.1))
    assert sorted(map(abs, first)) == pytest.approx([3.0] * 4)
    assert sorted(map(abs, second)) == pytest.approx([1.0] * 4)
    assert app["clusters"].principal_components([[1.0, 2.0]]) == [([0.0], 0.0)]


@pytest.mark.parametrize("samples", [1, 2, 7, 150])
def test_the_picture_is_svg_and_the_page_says_what_changed_and_who_is_missing(
    app: dict[str, Any], samples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(1)
    names = [f"S{number}" for number in range(samples)]
    with (tmp_path / "genes_tpm.tsv").open("w") as file:
        file.write("\t".join(["gene", *names]) + "\n")
        for gene in range(30):
            levels = [chance.random() * 100 * (9 if gene == 7 and place % 2 else 1) for place in range(samples)]
            file.write("\t".join([f"<g{gene}>", *(f"{level:.3f}" for level in levels)]) + "\n")
    lines = [f"{name}\t{'AB'[place % 2]}\tCOMPLETE\t\n" for place, name in enumerate(names)]
    (tmp_path / "samples.tsv").write_text(
        "".join(["sample\tcondition\tstate\treason\n", *lines, "Z\tA\tX\tbad & ill\n"])
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["report.py", "--matrix", "genes_tpm.tsv", "--samples", "samples.tsv"])
    assert app["report"].main() == 0
    svg = ElementTree.parse("expression.svg").getroot()  # noqa: S314
    assert len(svg.findall(".//{*}circle")) == samples + (30 if samples > 1 else 0)
    page = Path("report.html").read_text()
    assert "bad &amp; ill" in page
    if samples > 1:
        assert page.index("&lt;g7&gt;", page.index("Genes that differ most")) > 0
    assert app["report"].read_matrix(Path("genes_tpm.tsv"), {}).conditions == ["not said"] * samples


# What is simulated


@given(st.lists(st.tuples(st.sampled_from("+-"), st.integers(1, 400), st.integers(1, 30)), min_size=1, max_size=25))
def test_transcripts_that_share_bases_are_of_one_gene(app: dict[str, Any], found: list[tuple[str, int, int]]) -> None:
    models = app["models"]
    given_models = [
        models.Transcript(f"t{number}", "", strand, ((start, start + 9), (start + 9 + gap, start + 19 + gap)))
        for number, (strand, start, gap) in enumerate(found)
    ]
    own = models.in_genes(sorted(given_models, key=lambda model: model.exons))
    bases = [{base for start, end in model.exons for base in range(start, end + 1)} for model in own]
    parts = list(range(len(own)))
    for one in range(len(own)):
        for other in range(one):
            if own[one].strand == own[other].strand and bases[one] & bases[other]:
                parts = [parts[one] if part == parts[other] else part for part in parts]
    for one in range(len(own)):
        for other in range(one):
            assert (own[one].gene == own[other].gene) == (parts[one] == parts[other])


def test_reads_are_of_both_ends_of_fragments_with_errors_at_the_rate_that_is_said(app: dict[str, Any]) -> None:
    simulate, models = app["simulate"], app["models"]
    sequence = "".join(random.Random(2).choices("ACGT", k=1500))
    sequencer = simulate.Sequencer({"t": sequence, "off": sequence}, {"t": 1.0, "off": 0.0}, "seed")
    wrong, lengths = 0, []
    for name, *reads in sequencer.pairs(1000):
        assert name == "t"
        places = [place_of(read, sequence, models.reverse_complement(sequence)) for read in reads]
        assert sorted(forward for forward, _, _ in places) == [False, True]
        starts = {forward: start for forward, start, _ in places}
        lengths.append(len(sequence) - starts[False] - starts[True])
        wrong += sum(errors for _, _, errors in places)
    assert sum(lengths) / 1000 == pytest.approx(simulate.FRAGMENT_BP, abs=4)
    assert wrong / 200_000 == pytest.approx(sum(simulate.ERROR_RATES) / 2, rel=0.1)


def place_of(read: str, forward: str, backward: str) -> tuple[bool, int, int]:
    """(strand, start, errors) of a read, by a piece of it that has none."""
    for strand, sequence in ((True, forward), (False, backward)):
        for offset in range(0, len(read) - 20, 5):
            at = sequence.find(read[offset : offset + 20]) - offset
            if at >= 0:
                return strand, at, sum(a != b for a, b in zip(read, sequence[at : at + len(read)], strict=True))
    raise AssertionError("a read from nowhere")


def test_a_sample_is_the_same_however_many_there_are_and_its_levels_a_million(app: dict[str, Any]) -> None:
    models, simulate = app["models"], app["simulate"]
    transcripts = [models.Transcript(f"t{number}", f"g{number // 2}", "+", ((1, 900),)) for number in range(400)]
    sample, other = simulate.make_sample(transcripts, 3, 1), simulate.make_sample(transcripts, 4, 1)
    assert (sample.name, sample.condition, other.condition) == ("S004", "B", "A")
    assert sample == simulate.make_sample(transcripts, 3, 1)
    assert sum(sample.tpm.values()) == pytest.approx(1e6)
    genes = models.by_gene(transcripts, sample.tpm)
    assert sum(level == 0 for level in genes.values()) / 200 == pytest.approx(simulate.OFF, abs=0.07)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_ranks_are_shared_by_equals(app: dict[str, Any], values: list[int], chance: random.Random) -> None:
    ranks = app["check"].ranks(values)
    for value, rank in zip(values, ranks, strict=True):
        below, equal = sum(other < value for other in values), values.count(value)
        assert rank == below + (equal + 1) / 2
    assert app["check"].spearman(values, [3 * value**3 for value in values]) == pytest.approx(
        float(len(set(values)) > 1)
    )
