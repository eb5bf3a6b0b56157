"""Pipelines as they are drawn."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from packhorse.domain.pipelinegraph import draw
from tests.unit.domain.pipelines import manifest_of, pipelines

STEPS: dict[str, dict[str, Any]] = {
    "index": {"app": "./index"},
    "align": {"app": "hisat2@2.2", "over": "rows", "inputs": {"index": "index.folder"}},
    "sort": {"app": "samtools@1", "each": "align", "inputs": {"bam": "align.bam"}},
    "assemble": {"app": "stringtie@2", "each": "sort"},
    "merge": {"app": "./merge", "gather": "assemble", "results": "rows"},
    "quantify": {"app": "stringtie@2", "each": "sort", "inputs": {"bam": "sort.bam", "all": "merge.gtf"}},
    "matrix": {"app": "./matrix", "gather": "quantify", "results": "rows"},
    "check": {"app": "./check", "inputs": {"index": "index.folder"}},
}


def test_steps_are_drawn_with_what_they_wait_for() -> None:
    assert draw(manifest_of(STEPS)) == [
        "○      index     one                       ./index",
        "├─┐",
        "│ ○    align     one for each row          hisat2@2.2",
        "│ │",
        "│ ○    sort      one for each of align     samtools@1",
        "│ ├─┐",
        "│ │ ○  assemble  one for each of sort      stringtie@2",
        "│ │ │",
        "│ │ ○  merge     one over all of assemble  ./merge",
        "│ ├─┘",
        "│ ○    quantify  one for each of sort      stringtie@2",
        "│ │",
        "│ ○    matrix    one over all of quantify  ./matrix",
        "│",
        "○      check     one                       ./check",
    ]


def test_a_terminal_without_lines_gets_ascii() -> None:
    drawn = draw(manifest_of(STEPS), ascii_only=True)
    assert drawn[1:3] == ["+-+", "| o    align     one for each row          hisat2@2.2"]
    assert all(line.isascii() for line in drawn)


def test_many_edges_are_told_in_words() -> None:
    starts = {f"start{number}": {"app": "a@1"} for number in range(20)}
    drawn = draw(manifest_of({**starts, "end": {"app": "a@1", "gather": list(starts)}}))
    assert len(drawn) == 21 and drawn[0].split() == ["start0", "one"]
    assert drawn[-1].startswith("end") and drawn[-1].endswith("…") and len(drawn[-1]) == 80


def test_long_names_are_cut() -> None:
    steps = {"s" * 60: {"app": "a" * 90 + "@1"}, "t" * 60: {"app": "b@1", "gather": "s" * 60}}
    assert all(len(line) <= 80 for line in draw(manifest_of(steps)))


@given(pipelines())
def test_each_step_has_its_line_after_those_that_it_waits_for(steps: dict[str, dict[str, Any]]) -> None:
    manifest = manifest_of(steps)
    lines = draw(manifest)
    assert all(len(line) <= 80 for line in lines)
    order = [word for line in lines if "○" in line for word in line.split() if word in steps][: 2 * len(steps)]
    first = [line.split("○")[1].replace("│", " ").split()[0] for line in lines if "○" in line]
    assert sorted(first) == sorted(steps) and order
    for name in first:
        assert all(first.index(need) < first.index(name) for need in manifest.steps[name].needs)
