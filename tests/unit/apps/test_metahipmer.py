"""The MetaHipMer manifest: command line, number of nodes, and what follows an attempt that did not finish.

MetaHipMer is not run.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.manifest import parse_manifest
from packhorse.domain.render import app_template, compile_parts, granted

from .folder import APPS, app_modules

APP = APPS / "metahipmer"
TWO_ROUNDS = (
    "\x1b[34m\nCompleted contig round k = 21 in 61.20 s at 11/23/26 10:01:00 (90.1GB free memory on node 0)\x1b[0m\n"
    "Completed contig round k = 33 in 48.01 s at 11/23/26 10:02:00\n"
)
"""Lines of the form that mhm2's sources print; not a recorded log."""
K21, K33 = ("contig", 21), ("contig", 33)
NONE: frozenset[tuple[str, int]] = frozenset()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with app_modules("metahipmer") as modules:
        yield modules["nodes"]


def test_the_command_line_and_its_restart() -> None:
    manifest = parse_manifest((APP / "app.yaml").read_text(), "app.yaml")
    values = {
        "reads1": "/r1.fq",
        "reads2": "/r2.fq",
        "k": "21,33",
        "scaffold_k": "33",
        "min_contig": 500,
        "shared_heap": "10%",
    }
    argv = app_template(manifest, "/a", manifest.resources).arguments(values)
    assert argv == [
        "mhm2.py",
        "-p",
        "/r1.fq,/r2.fq",
        "-k",
        "21,33",
        "-s",
        "33",
        "--min-ctg-print-len",
        "500",
        "-o",
        "mhm2",
        "--checkpoint=true",
        "--procs",
        "64",
        "--shared-heap",
        "10%",
    ]
    doubled = {**granted(manifest.resources.override({"nodes": 4})), **values}
    restart = compile_parts([*manifest.command, *manifest.arguments, *manifest.resume])(doubled)
    assert restart == [*argv[:13], "128", *argv[14:], "--restart"]
    assert all(output.path is None or output.path.startswith("mhm2/") for output in manifest.outputs.values())


@pytest.mark.parametrize(
    ("gb", "expected"),
    [
        (0.001, 2),  # 1, made even
        (0.37, 2),  # 1.493
        (0.4, 2),  # 1.533: 2
        (1, 2),  # 2.33
        (1.9, 4),  # 3.53
        (10, 14),  # 14.33
        (30, 42),  # 41, made even
        (1000, 1334),  # 1334.33
    ],
)
def test_nodes_for_reads(nodes: Any, gb: float, expected: int) -> None:
    assert nodes.nodes_for(gb) == expected


def test_nodes_with_more_memory_are_fewer(nodes: Any) -> None:
    assert nodes.nodes_for(1000, 400) == 102
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="above 0 GB"):
            nodes.nodes_for(wrong)


def test_gzipped_reads_count_as_unpacked(nodes: Any) -> None:
    assert nodes.reads_gb([("a.fq", 10**9), ("b.fq.gz", 10**9)]) == 5.0


def test_the_estimate_from_files(tmp_path: Path) -> None:
    (tmp_path / "r.fq").write_bytes(b"@r\nA\n+\nI\n")
    printed = subprocess.run(
        [sys.executable, APP / "nodes.py", tmp_path / "r.fq"], check=True, capture_output=True, text=True
    ).stdout
    assert json.loads(printed) == {"reads_gb": 0.0, "nodes": 2, "ranks_per_node": 32, "ranks": 64}


def test_the_manifest_sees_the_same_progress(nodes: Any) -> None:
    pattern = parse_manifest((APP / "app.yaml").read_text(), "app.yaml").progress or ""
    assert pattern == nodes.ROUND.pattern.replace("(\\d+)", "\\d+")
    assert len(re.findall(pattern, TWO_ROUNDS)) == 2
    assert nodes.rounds(TWO_ROUNDS) == {K21, K33}
    assert nodes.rounds("Completed scaffolding round k = 99 in 5 s") == {("scaffolding", 99)}
    assert not nodes.rounds("Completed initialization in 3 s")


@pytest.mark.parametrize(
    ("ending", "before", "log", "again", "restart", "count"),
    [
        ("out_of_time", NONE, TWO_ROUNDS, True, True, 4),
        ("preempted", frozenset({K21}), TWO_ROUNDS, True, True, 4),
        ("node_lost", NONE, TWO_ROUNDS, True, True, 4),
        ("out_of_time", frozenset({K21, K33}), TWO_ROUNDS, False, False, 4),  # nothing new
        ("out_of_time", NONE, "", False, False, 4),
        ("out_of_memory", NONE, "", True, False, 8),  # no checkpoint to restart from
        ("out_of_memory", NONE, TWO_ROUNDS, True, True, 8),
        ("out_of_memory", frozenset({K21}), "", True, True, 8),
        ("app", frozenset({K21}), "*** Caught a signal (SIGBUS)", True, True, 8),  # memory, as mhm2.py suspects it
        ("app", NONE, TWO_ROUNDS, False, False, 4),
        ("app", NONE, "FATAL ERROR: cannot open reads", False, False, 4),
    ],
)
def test_what_follows_an_attempt(
    nodes: Any, ending: str, before: frozenset[tuple[str, int]], log: str, again: bool, restart: bool, count: int
) -> None:
    following = nodes.next_attempt(nodes.Ending(ending), before, log, 4, 16)
    assert (following.again, following.restart, following.nodes) == (again, restart, count)
    assert following.why.endswith(".")


def test_nodes_double_only_as_far_as_there_are_any(nodes: Any) -> None:
    assert not nodes.next_attempt(nodes.Ending.OUT_OF_MEMORY, NONE, "", 16, 16).again
