"""A batch whose user asked for eight times too much: what its first tasks used is what the others are granted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from packhorse.domain.config import EstimatesConfig
from packhorse.domain.run import AppRun
from packhorse.domain.views import AttemptView
from packhorse.engine.embedded import Embedded
from tests.fixtures.memory import holding_app
from tests.fixtures.room import wait_for
from tests.fixtures.slurm import TestCluster
from tests.fixtures.truth import assert_each_ended_once
from tests.integration.slurm.test_submission import cluster_site

TASKS = 32
LEAST_MB, MOST_MB = 15.0, 300.0  # 20-fold
PRESET_GB = 2.4  # eight times the most; two of them do not fit on a node, which has two cores


@pytest.mark.cluster
def test_the_second_half_asks_for_a_third_and_the_batch_ends_sooner(slurm: TestCluster, tmp_path: Path) -> None:
    app = holding_app(tmp_path / "app", ram_gb=PRESET_GB, seconds=1.2)
    spread = [LEAST_MB * (MOST_MB / LEAST_MB) ** (number / (TASKS - 1)) for number in range(TASKS)]
    random.Random(7).shuffle(spread)
    took_s, attempts = {}, {}
    for mode in ("observe", "on"):
        config = EstimatesConfig.model_validate({"mode": mode})
        room = Embedded(tmp_path / mode, sites=[cluster_site(slurm.folder("site"), max_nodes=2)], estimates=config)
        with room.run_engine():
            run = room.mine.submit(AppRun(app=app, over=[{"mb": round(mb, 1)} for mb in spread]))
            wait_for(lambda room=room, run=run: room.mine.run(run.id).ended, 240, "the run's end")
        tried = [attempt for index in range(TASKS) for attempt in room.mine.task(f"{run.id}.{index}").attempts]
        assert room.mine.run(run.id).counts == {"COMPLETE": TASKS}
        assert_each_ended_once(room)
        room.close()
        attempts[mode] = sorted(tried, key=lambda attempt: attempt.started_at or 0.0)
        first = attempts[mode][0].started_at or 0.0
        took_s[mode] = max(attempt.ended_at for attempt in tried) - first
    second_half = attempts["on"][len(attempts["on"]) // 2 :]
    failed = sum(attempt.failure is not None for attempt in second_half)
    asked = sum(PRESET_GB * 1000 * (attempt.wall_s or 0) for attempt in second_half if attempt.failure is None)
    granted = sum((attempt.memory_mb or 0) * (attempt.wall_s or 0) for attempt in second_half)
    assert {attempt.memory_mb for attempt in attempts["observe"]} == {2400}
    assert asked >= 3 * granted, sizes(second_half)
    assert failed <= 0.05 * len(second_half), sizes(second_half)
    assert took_s["on"] < took_s["observe"], took_s


def sizes(attempts: list[AttemptView]) -> list[tuple[int | None, int | None, str | None]]:
    """What they were granted and used, and how they failed."""
    return [(attempt.memory_mb, attempt.peak_memory, attempt.failure) for attempt in attempts]
