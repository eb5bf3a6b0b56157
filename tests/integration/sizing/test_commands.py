"""What a person sees of estimates: before a run, after it, and as files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.fixtures.commandline import packhorse_here
from tests.fixtures.memory import holding_app


@pytest.fixture
def said(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Runs a command in a home of its own; returns what it said."""

    def run(*arguments: str, home: str = "home", code: int = 0) -> str:
        environment = {"PACKHORSE_HOME": str(tmp_path / home), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        done = packhorse_here(*arguments, environment=environment, folder=tmp_path)
        assert done.returncode == code, done.stderr
        return done.stdout if not code else done.stderr

    return run


def test_before_a_run_after_it_and_elsewhere(said, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    app = holding_app(tmp_path / "app", ram_gb=0.8, seconds=0.3)
    table = tmp_path / "table.csv"
    table.write_text("mb\n50\n60\n70\n80\n")
    asking = ("estimate", app, "--over", str(table))
    assert "not known yet" in said(*asking)
    said("run", app, "--over", str(table))
    found = json.loads(said(*asking, "--json"))
    [step] = found["steps"]
    assert (step["tasks"], step["looked_at"], step["history"], step["mode"]) == (4, 4, 4, "observe")
    assert step["memory_mb"]["asked"] == 800 and 50 < step["memory_mb"]["request"] < 800
    assert step["memory_mb"]["low"] <= step["memory_mb"]["median"] <= step["memory_mb"]["high"]
    assert found["core_hours"] > 0 and found["queue_wait_s"] is not None
    told = said(*asking)
    assert "asked for" in told and "800.0 MB" in told and "4 attempts" in told
    run = json.loads(said("ps", "--json"))[0]["id"]
    told = said("why", f"{run}.0")
    assert "If it was placed now: Estimated from 4 attempts of the same user" in told and "800.0 MB asked for" in told
    said("run", app, "--over", str(table), "--estimates", "on")
    run = json.loads(said("ps", "--json"))[0]["id"]
    told = said("why", f"{run}.0")
    assert "Attempt 1: Estimated from" in told and "granted" in told
    decided = json.loads(said("why", f"{run}.0", "--json"))["estimates"]
    assert decided[0]["attempt"] == 1 and decided[0]["memory_mb"]["granted"] < 800
    _take_elsewhere(said, tmp_path, asking)


def _take_elsewhere(said, tmp_path: Path, asking: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    for name in ("history.csv", "history.jsonl", "history.parquet"):
        if name.endswith("parquet"):
            pytest.importorskip("pyarrow")
        file = str(tmp_path / name)
        assert "8 attempts" in said("estimates", "export", file)
        home = f"home of {name}"
        assert "8 attempts" in said("estimates", "import", file, home=home)
        again = str(tmp_path / f"again-{name}")
        said("estimates", "export", again, home=home)
        [step] = json.loads(said(*asking, "--json", home=home))["steps"]
        assert step["history"] == 8
    rows = [list(csv.DictReader((tmp_path / name).open())) for name in ("history.csv", "again-history.csv")]
    assert rows[0] == rows[1], "what was taken in is what was given out"
    assert all("holding" in row["app"] for row in rows[0])


def test_what_cannot_be_taken_in_is_refused(said, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert "no file" in said("estimates", "import", "nowhere.csv", code=3)
    odd = tmp_path / "odd.csv"
    odd.write_text("a,b\n1,2\n")
    assert "no history" in said("estimates", "import", str(odd), code=2)
    odd.write_text("ended_at,app,wall_s\n1,t,much\n")
    assert "row 1" in said("estimates", "import", str(odd), code=2)
    assert "suffix" in said("estimates", "export", str(tmp_path / "file.doc"), code=2)
    assert "expected one of" in said("estimates", "import", str(odd), "--format", "x", code=2)
    lines = tmp_path / "odd.jsonl"
    lines.write_text("[]\n")
    assert "line 1" in said("estimates", "import", str(lines), code=2)
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("JobID|State|ElapsedRaw|End|JobName\n1|COMPLETED|5|2026-01-01T00:00:00|a\n2|RUNNING|5|Unknown|a\n")
    assert "One attempt taken in" in said("estimates", "import", str(jobs))
