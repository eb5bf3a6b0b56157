"""The similarity search without its tools: chunks that are the input, hits in one order, one table."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.manifest import read_manifest

from .folder import APPS, app_modules

APP = APPS / "similarity"
STEPS = ("database", "split", "search", "merge")


@pytest.fixture(scope="module")
def app() -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = {}
    for step in ("", *STEPS):
        with app_modules(f"similarity/{step}") as modules:
            found |= modules
    yield found


@pytest.mark.parametrize("folder", ["", *STEPS])
def test_manifests_are_valid(folder: str) -> None:
    read_manifest(APP / folder / "app.yaml")


@given(bases=st.lists(st.integers(1, 10_000), min_size=1, max_size=60), number=st.integers(1, 80))
def test_chunks_are_of_equal_bases_in_order(app: dict[str, Any], bases: list[int], number: int) -> None:
    ends = app["split"].ends(bases, number)
    assert ends == sorted(set(ends))
    assert ends[-1] == len(bases)
    assert len(ends) <= number
    sizes = [sum(bases[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    assert max(sizes) <= sum(bases) / number + max(bases)


RECORD = st.tuples(st.text("ACGTN", min_size=1, max_size=80), st.integers(1, 30), st.sampled_from(["\n", "\r\n"]))


@given(
    records=st.lists(RECORD, min_size=1, max_size=25),
    number=st.integers(1, 30),
    blank=st.booleans(),
    ended=st.booleans(),
)
def test_chunks_together_are_the_input(
    app: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[str, int, str]],
    number: int,
    blank: bool,
    ended: bool,
) -> None:
    text = ""
    for place, (bases, width, end) in enumerate(records):
        lines = [bases[start : start + width] for start in range(0, len(bases), width)]
        text += end.join([f">c{place} a contig", *lines]) + end
    if not ended:
        text = text.rstrip()
    folder = tmp_path_factory.mktemp("split")
    (folder / "in.fasta").write_bytes((("\n" if blank else "") + text).encode())
    total = sum(len(bases) for bases, _, _ in records)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        chunks = app["split"].split(Path("in.fasta"), 1, total / number, 1.0)
    parts = [(folder / "chunks" / f"{chunk}.fasta").read_bytes() for chunk in range(1, chunks + 1)]
    assert b"".join(parts) == text.encode()
    assert all(part.startswith(b">c") for part in parts)
    assert chunks <= number


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "there is no contig in it"),
        (b"ACGT\n", "it does not begin with '>'"),
        (b">a\nAC\n>\nGT\n", "line 3 has no name"),
        (b">a\nAC\n> b\nGT\n", "line 3 has no name"),
        (b">a 1\nAC\n>a 2\nGT\n", "line 3 has the name 'a', which is there before"),
    ],
)
def test_what_is_no_fasta_is_refused(
    app: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.fasta").write_bytes(content)
    with pytest.raises(app["split"].NoFasta, match=why):
        app["split"].split(Path("in.fasta"), 1, 1.0, 1.0)
    assert not Path("chunks").exists()


def test_a_chunk_takes_as_long_as_was_asked(app: dict[str, Any]) -> None:
    wanted = app["split"].wanted_chunks
    assert wanted(1_000_000, 9_000_000, 5e10, 60.0) == 3  # 180 s of one core
    assert wanted(1, 1, 1e12, 60.0) == 1
    assert wanted(10**12, 10**12, 1.0, 1.0) == app["split"].MOST_CHUNKS


def hit(contig: str, protein: str, score: float, start: int) -> str:
    fields = (contig, protein, 90.0, 50, 5, 0, start, start + 149, 1, 50, "1e-20", score)
    return "\t".join(map(str, fields)) + "\n"


@given(st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from([50.1, 61.2]), st.integers(1, 9)), max_size=30),
       st.randoms(use_true_random=False), st.integers(1, 6))  # fmt: skip
def test_hits_are_the_same_in_whichever_order_and_chunks_they_come(
    app: dict[str, Any], found: list[tuple[str, float, int]], chance: random.Random, chunks: int
) -> None:
    place_of = {f"c{number}": number for number in range(6)}
    lines = [hit(f"c{chance.randrange(6)}", *one) for one in found]
    whole = sorted(lines, key=lambda line: place_of[line.split("\t")[0]])
    expected = list(app["search"].in_order(whole, place_of))
    chance.shuffle(lines)
    merged: list[str] = []
    for chunk in range(chunks):
        contigs = {f"c{number}": number for number in range(6) if number * chunks // 6 == chunk}
        own = sorted((line for line in lines if line.split("\t")[0] in contigs), key=lambda line: line.split("\t")[0])
        merged += app["search"].in_order(own, contigs)
    assert merged == expected
    assert sorted(merged) == sorted(lines)


def test_the_best_hits_are_first_and_equal_ones_go_by_name_and_place(app: dict[str, Any]) -> None:
    lines = [hit("c", "q", 50.0, 9), hit("c", "p", 50.0, 10), hit("c", "z", 99.5, 1), hit("c", "p", 50.0, 9)]
    assert list(app["search"].in_order(lines, {"c": 0})) == [lines[2], lines[3], lines[1], lines[0]]


def test_hits_of_a_contig_that_do_not_lie_together_are_an_error(app: dict[str, Any]) -> None:
    lines = [hit("a", "p", 50.0, 1), hit("b", "p", 50.0, 1), hit("a", "q", 50.0, 1)]
    with pytest.raises(ValueError, match="'a' are not where"):
        list(app["search"].in_order(lines, {"a": 0, "b": 1}))


def test_the_speed_of_a_chunk_is_told_where_it_took_long_enough_to_say_something(app: dict[str, Any]) -> None:
    """Much of a short search is the start of the tool: chunks made of its speed would become ever smaller."""
    speed_of = app["search"].speed_of
    assert speed_of({"bases": 1_000_000, "cpu_s": 20.0}, 9_000_000) == 4.5e11
    assert speed_of({"bases": 1_000_000, "cpu_s": 9.9}, 9_000_000) is None


@pytest.mark.parametrize("tool", ["diamond", "blast"])
def test_both_tools_are_told_how_large_the_database_is(app: dict[str, Any], tool: str) -> None:
    command = app["search"].command_of(tool, Path("q.fasta"), Path("db"), 9_055_569, 1e-5, 10, "sensitive", 2)
    assert command[command.index("--dbsize" if tool == "diamond" else "-dbsize") + 1] == "9055569"
    assert ("--sensitive" in command) == (tool == "diamond")


def test_a_database_is_measured_as_it_is_read(app: dict[str, Any]) -> None:
    counts: dict[str, int] = {}
    lines = [b">a protein\n", b"MKV\n", b"LL\r\n", b">b\n", b"M\n"]
    assert list(app["database"].measured(lines, counts)) == lines
    assert counts == {"proteins": 2, "letters": 6}
    with pytest.raises(ValueError, match="does not begin"):
        list(app["database"].measured([b"MKV\n"], counts))


def result(index: int, hits: Path, state: str = "COMPLETE") -> str:
    report = {"letters": 1000, "contigs": 2, "bases": 300, "hits": 1, "cpu_s": 1.5}
    done = state == "COMPLETE"
    outputs = {"hits": str(hits)} if done else {}
    task = {
        "index": index,
        "state": state,
        "result": report if done else None,
        "outputs": outputs,
        "reason": "no memory",
    }
    return json.dumps(task) + "\n"


def test_all_hits_are_in_one_table_and_the_speed_is_told(
    app: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        (tmp_path / f"{number}.tsv").write_text(hit(f"c{number}", "p", 50.0, 1))
    results = tmp_path / "results.jsonl"
    results.write_text("".join(result(number, tmp_path / f"{number}.tsv") for number in range(2)))
    report = app["merge"].merge(results)
    assert Path("hits.tsv").read_text() == hit("c0", "p", 50.0, 1) + hit("c1", "p", 50.0, 1)
    assert (report["chunks"], report["contigs"], report["hits"], report["speed"]) == (2, 4, 2, 600 * 1000 / 3)


def test_a_table_that_lacks_a_chunk_is_none(
    app: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results.jsonl").write_text(result(0, tmp_path / "0.tsv", "EXECUTOR_ERROR"))
    with pytest.raises(ValueError, match="chunk 0 is missing: no memory"):
        app["merge"].merge(tmp_path / "results.jsonl")


def test_contigs_are_pieces_of_their_genomes_where_their_names_say(app: dict[str, Any]) -> None:
    chance = random.Random(3)
    genomes = {name: "".join(chance.choices("ACGT", k=20_000)) for name in ("one", "two")}
    contigs = list(app["contigs"].cut(list(genomes.items()), 50, 1))
    assert contigs == list(app["contigs"].cut(list(genomes.items()), 50, 1))
    assert len({name for name, _ in contigs}) == 50
    for name, bases in contigs:
        strain, place, _ = name.split("_")
        start, end = map(int, place[:-1].split("-"))
        piece = genomes[strain][start - 1 : end]
        assert 300 <= len(piece) <= 8000
        assert bases == (piece if place[-1] == "f" else piece.translate(str.maketrans("ACGT", "TGCA"))[::-1])
