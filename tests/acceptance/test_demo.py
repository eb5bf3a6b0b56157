"""``make demo``, as the README promises it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_demo_runs_5000_models_and_says_where_everything_lies() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PACKHORSE_", "MAKE"))}
    done = subprocess.run(
        ["make", "demo"], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if len(line.split()) > 1}
    assert said["tasks"] == "5,001 COMPLETE"
    assert said["failures"] == "0"
    assert "a second" in said["took"] and "CPU-hours" in said["CPU"] and "MB" in said["memory"]
    with Path(said["table"]).open(newline="") as file:
        assert sum(1 for _ in csv.DictReader(file)) == 5000
    assert Path(said["plot"]).read_bytes().startswith(b"\x89PNG")
    rows = [json.loads(line) for line in (REPOSITORY / "demo" / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 5000 and all(row["state"] == "COMPLETE" for row in rows)
    assert json.loads((REPOSITORY / "demo" / "usage.json").read_text())["tasks"] == 5001
