"""User story 4: 5000 models of E. coli, each a task with its own result, as exact as COBRApy's own functions."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cobra")
pytest.importorskip("matplotlib")

from packhorse.client import Client

APP = Path(__file__).resolve().parents[3] / "apps" / "fba"
TASKS = 5000
REFERENCE_SLIPS = 2
"""Rows of 5000 that COBRApy may answer differently in a long session than alone; seen: one row in five passes."""


def agree(ours: float | None, theirs: float | None) -> bool:
    """To 1e-6 h⁻¹; no optimum agrees with no optimum only."""
    return ours is theirs is None or (ours is not None and theirs is not None and abs(ours - theirs) <= 1e-6)


@pytest.mark.slow
def test_5000_growth_rates_are_those_of_cobra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKHORSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.syspath_prepend(str(APP))
    from reference import alone, reference

    table = tmp_path / "table.csv"
    subprocess.run([sys.executable, APP / "make_table.py", "--rows", str(TASKS), "--output", table], check=True)
    with table.open(newline="") as file:
        asked = [(row["model"], row["genes"], row["medium"]) for row in csv.DictReader(file)]
    assert len(set(asked)) == TASKS

    with Client(home=tmp_path / "home") as client:
        run = client.run(APP / "app.yaml", over=table)
        run.wait()
        rows = run.results()
        failed = run.failed()
        gathered = run.gathered()

    assert failed == []
    tasks = [row for row in rows if row["params"] is not None and "model" in row["params"]][:TASKS]
    assert [row["index"] for row in tasks] == list(range(TASKS))
    assert [tuple(row["params"].get(name) or "" for name in ("model", "genes", "medium")) for row in tasks] == asked

    wanted = reference(asked)
    growth = {key: row["result"]["growth"] for key, row in zip(asked, tasks, strict=True)}
    differing = [key for key in asked if not agree(growth[key], wanted[key])]
    # COBRApy's answer depends a little on what it solved before (see reference.py): it is asked again, for that row
    # alone
    still = [
        (key, growth[key], wanted[key], again) for key in differing[:10] if not agree(growth[key], again := alone(key))
    ]
    assert still == []
    assert len(differing) <= REFERENCE_SLIPS, [(key, growth[key], wanted[key]) for key in differing]

    with gathered["table"].open(newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == TASKS
    assert [float(line["growth_per_h"]) if line["growth_per_h"] else None for line in written] == [
        row["result"]["growth"] for row in tasks
    ]
    assert gathered["plot"].read_bytes().startswith(b"\x89PNG")
