"""The FBA app's table, its manifest, and what it gathers."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cobra")
pytest.importorskip("matplotlib")

from packhorse.domain.app import Session
from packhorse.domain.manifest import parse_manifest
from packhorse.domain.render import app_template

from .conftest import APP

# --- table and manifest ------------------------------------------------------------


def make_table(output: Path, *arguments: str) -> list[dict[str, str]]:
    subprocess.run([sys.executable, APP / "make_table.py", "--output", output, *arguments], check=True, timeout=60)
    with output.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_is_the_same_every_time_and_repeats_nothing(tmp_path: Path) -> None:
    rows = make_table(tmp_path / "a.csv", "--model", "textbook", "--rows", "4000")
    make_table(tmp_path / "b.csv", "--model", "textbook", "--rows", "4000")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert len(rows) == 4000
    assert len({(row["genes"], row["medium"]) for row in rows}) == 4000
    assert rows[0] == {"model": "textbook", "genes": "", "medium": ""}
    numbers = [len(row["genes"].split("+")) if row["genes"] else 0 for row in rows]
    assert numbers.count(1) == 137
    assert set(numbers) == {0, 1, 2}
    other = make_table(tmp_path / "c.csv", "--model", "textbook", "--rows", "4000", "--seed", "2")
    assert other != rows


def test_the_app_can_answer_its_own_table(tmp_path: Path) -> None:
    from fba import Fba

    fba = Fba()
    for row in make_table(tmp_path / "table.csv", "--model", "textbook", "--rows", "250"):
        code, output = fba.answer([f"--{name}={value}" for name, value in row.items()])
        assert code == 0, output


def test_the_manifest_renders_only_what_is_given() -> None:
    manifest = parse_manifest((APP / "app.yaml").read_text(), "apps/fba/app.yaml")
    assert manifest.session is Session.WORKER
    template = app_template(manifest, "/apps/fba", manifest.resources)
    assert template.document["start"] == ["python3", "/apps/fba/fba.py", "--persistent_worker"]
    assert template.arguments({"model": "iJO1366"}) == ["--model", "iJO1366"]
    assert template.arguments({"model": "iJO1366", "genes": "b1+b2"}) == ["--model", "iJO1366", "--genes", "b1+b2"]
    from lp import MODELS

    assert manifest.parameters["model"].choices == list(MODELS)


# --- gathering ------------------------------------------------------------


def gather(folder: Path, tasks: list[dict[str, Any]]) -> list[dict[str, str]]:
    results = folder / "results.jsonl"
    results.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    arguments = ["--results", results, "--table", folder / "table.csv", "--plot", folder / "growth.png"]
    subprocess.run([sys.executable, APP / "gather.py", *arguments], check=True, timeout=60, stderr=subprocess.PIPE)
    assert (folder / "growth.png").read_bytes().startswith(b"\x89PNG")
    with (folder / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def finished(index: int, growth: float | None, **params: str) -> dict[str, Any]:
    result = {"growth": growth, "status": "infeasible" if growth is None else "optimal", "reactions_off": 1}
    return {
        "index": index,
        "task": f"r-1.{index}",
        "state": "COMPLETE",
        "params": params,
        "result": result,
        "reason": None,
    }


def test_gathering_makes_one_row_a_task_and_a_plot(tmp_path: Path) -> None:
    failed = {
        "index": 5,
        "task": "r-1.5",
        "state": "EXECUTOR_ERROR",
        "params": {"genes": "b9"},
        "result": None,
        "reason": "no gene 'b9'",
    }
    rows = gather(
        tmp_path,
        [
            finished(0, 0.9, model="textbook"),
            finished(1, 0.8, model="textbook", genes="b1"),
            finished(2, 0.9, model="textbook", genes="b2"),
            finished(3, None, model="textbook", genes="b1+b2"),
            finished(4, 0.2, model="textbook", medium="anaerobic,EX_glc__D_e=0,EX_fru_e=10"),
            failed,
        ],
    )
    assert [row["growth_per_h"] for row in rows] == ["0.9", "0.8", "0.9", "", "0.2", ""]
    assert rows[3] == {
        "index": "3",
        "task": "r-1.3",
        "state": "COMPLETE",
        "model": "textbook",
        "genes": "b1+b2",
        "medium": "",
        "growth_per_h": "",
        "status": "infeasible",
        "reactions_off": "1",
        "reason": "",
    }
    assert (rows[5]["state"], rows[5]["reason"]) == ("EXECUTOR_ERROR", "no gene 'b9'")


@pytest.mark.parametrize("tasks", [[], [finished(0, 0.9)], [finished(0, 0.0, genes="b1")]])
def test_a_small_run_gathers_too(tmp_path: Path, tasks: list[dict[str, Any]]) -> None:
    assert len(gather(tmp_path, tasks)) == len(tasks)


def test_synthetic_lethals_are_pairs_that_either_gene_survives() -> None:
    from gather import Growth

    growth = Growth()
    growth.add([], "", 1.0)
    for gene, rate in {"a": 0.9, "b": 1.0, "c": 0.0}.items():
        growth.add([gene], "", rate)
    for pair in (["a", "b"], ["a", "c"], ["b", "c"]):
        growth.add(pair, "", 0.0)
    assert growth.lethal_pairs() == [("a", "b")]
