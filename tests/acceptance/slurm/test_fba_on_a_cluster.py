"""User story 4 on a cluster: the same 5000 models, over several nodes, here and through SSH, with the results of this
machine.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cobra")
pytest.importorskip("matplotlib")

from packhorse.client import Client

APP = Path(__file__).resolve().parents[3] / "apps" / "fba"
TASKS = 5000


def growth(rows: list[dict[str, Any]]) -> list[float | None]:
    """Growth rates by row of the table."""
    return [row["result"]["growth"] for row in rows]


@pytest.mark.slow
def test_5000_models_on_two_nodes_locally_and_over_ssh(
    cluster_sites: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    table = tmp_path / "table.csv"
    subprocess.run([sys.executable, APP / "make_table.py", "--rows", str(TASKS), "--output", table], check=True)
    with Client(home=tmp_path / "home") as client:
        here = client.run(APP, over=table, resources={"site": "local"}).wait()
        wanted = growth(here.results())
        assert len(wanted) == TASKS
        for site in ("testcluster", "testcluster-ssh"):
            run = client.run(APP, over=table, resources={"site": site}).wait()
            assert run.failed() == []
            there = growth(run.results())
            differing = [(one, other) for one, other in zip(wanted, there, strict=True) if not agree(one, other)]
            assert differing == []
            attempts = [client.backend.task(f"{run.id}.{index}").attempts[0] for index in range(0, TASKS, 50)]
            assert {attempt.site for attempt in attempts} == {site}
            assert len({attempt.node for attempt in attempts}) >= 2


def agree(one: float | None, other: float | None) -> bool:
    """To 1e-6 h⁻¹; no optimum agrees with no optimum only."""
    return one is other is None or (one is not None and other is not None and abs(one - other) <= 1e-6)
