"""Tasks are granted what such tasks used: once that is known, within limits, and without failing for good by it."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.resources import MB
from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.views import AttemptView
from packhorse.engine.embedded import Embedded
from packhorse.store.demands import recount
from packhorse.store.records import add_history
from tests.fixtures.memory import holding_app
from tests.fixtures.room import EngineProcess, make_app, submit, wait_for
from tests.fixtures.truth import assert_each_ended_once, executions
from tests.integration.sizing.test_history import rows_of, stored_row


def run_to_its_end(room: Embedded, app: str, needs: list[float], **options: Any) -> list[list[AttemptView]]:
    """The attempts of each task of a run that needs so many MB."""
    run = room.mine.submit(AppRun(app=app, over=[{"mb": mb} for mb in needs], **options))
    wait_for(lambda: room.mine.run(run.id).ended, 120, "the run's end")
    return [room.mine.task(f"{run.id}.{index}").attempts for index in range(len(needs))]


def test_the_second_run_asks_for_what_the_first_one_used(room: Embedded, tmp_path: Path) -> None:
    app = holding_app(tmp_path / "app", ram_gb=1.5)
    first = run_to_its_end(room, app, [60.0] * 6)
    assert {attempt.memory_mb for [attempt] in first} == {1500}, "nothing was known: what was asked for"
    second = run_to_its_end(room, app, [60.0] * 6)
    granted = {attempts[0].memory_mb for attempts in second}
    assert all(mb is not None and 60 < mb <= 400 for mb in granted), granted
    assert all(attempts[-1].failure is None for attempts in second)
    newest, oldest = (room.mine.report(run.id).decode() for run in room.mine.runs().items)
    assert "Memory: predicted against used" in newest and "Time: predicted against used" in newest
    assert "predicted against used" not in oldest, "nothing was known"


def test_of_a_large_run_a_few_are_tried_first(room: Embedded, tmp_path: Path) -> None:
    app = holding_app(tmp_path / "app", ram_gb=1.5, seconds=0.1)
    attempts = run_to_its_end(room, app, [50.0] * 40)
    as_asked = [index for index, (first, *_) in enumerate(attempts) if first.memory_mb == 1500]
    assert len(as_asked) <= 12, as_asked
    assert as_asked[-1] - as_asked[0] > 25, "they are from all over the table"
    assert all(tries[-1].failure is None for tries in attempts)


def test_what_needs_more_than_was_estimated_gets_it(room: Embedded, tmp_path: Path) -> None:
    """Also where no retry is left to it by its user: it had less than was asked for."""
    app = holding_app(tmp_path / "app", ram_gb=1.5, more="retry: {out_of_memory: 0}\n")
    run_to_its_end(room, app, [60.0] * 8)
    [attempts] = run_to_its_end(room, app, [900.0])
    assert attempts[-1].failure is None
    assert len(attempts) <= 3
    assert [attempt.memory_mb for attempt in attempts] == sorted({attempt.memory_mb for attempt in attempts}, key=int)
    [failed, *_] = [row for row in rows_of(room.database) if row.failure] or [None]
    if len(attempts) > 1:
        assert failed is not None and failed.memory_censored
        told = room.mine.task(f"{room.mine.runs().items[0].id}.0").events
        assert any("had less than was asked for" in (event.why or "") for event in told)


def test_a_hard_limit_is_never_exceeded(room: Embedded, tmp_path: Path) -> None:
    app = holding_app(tmp_path / "app", ram_gb=0.2)
    hard = {"hard": True}
    run_to_its_end(room, app, [60.0] * 4, resources=hard)
    [attempts] = run_to_its_end(room, app, [600.0], resources=hard)
    assert attempts[-1].failure == "out_of_memory"
    assert max(attempt.memory_mb or 0 for attempt in attempts) == 200


def test_a_run_may_ask_for_no_estimates(room: Embedded, tmp_path: Path) -> None:
    app = holding_app(tmp_path / "app", ram_gb=1.5)
    run_to_its_end(room, app, [60.0] * 4)
    attempts = run_to_its_end(room, app, [60.0] * 2, resources={"estimates": "observe"})
    assert {attempt.memory_mb for [attempt] in attempts} == {1500}


def test_an_app_that_is_told_its_memory_keeps_what_was_asked_for(room: Embedded, tmp_path: Path) -> None:
    app = holding_app(tmp_path / "app", ram_gb=1.5, more="arguments: ['{memory_gb}']\n")
    run_to_its_end(room, app, [60.0] * 4)
    attempts = run_to_its_end(room, app, [60.0] * 2)
    assert {attempt.memory_mb for [attempt] in attempts} == {1500}


def test_history_outlives_the_runs_and_the_engine(tmp_path: Path, database_url: str) -> None:
    from packhorse.domain.config import EstimatesConfig

    app = holding_app(tmp_path / "app", ram_gb=1.5)
    for turn in range(2):
        config = EstimatesConfig.model_validate({"mode": "on"})
        room = Embedded(tmp_path / "home", database_url=database_url, estimates=config, linger_s=0.5)
        with room.run_engine():
            attempts = run_to_its_end(room, app, [60.0] * 5)
        assert all((one.memory_mb == 1500) == (turn == 0) for [one] in attempts)
        room.close()


@pytest.mark.parametrize(("peak", "allowed"), [(10**12, (300, 600)), (10**6, (64, 300))])
def test_other_users_cannot_raise_a_request_beyond_its_double_nor_make_a_task_fail(
    room: Embedded, tmp_path: Path, peak: int, allowed: tuple[int, int]
) -> None:
    """One who has run an app hundreds of times with absurd numbers, and one who comes anew."""
    app = holding_app(tmp_path / "app", ram_gb=0.3)
    run_to_its_end(room, app, [20.0])
    [known] = rows_of(room.database)
    same = {"owner": "0123456789abcdef", "app": known.app, "version": known.version, "peak_memory": peak, "wall_s": 1.0}
    asked = {"asked_memory_mb": 300.0, "memory_mb": 300.0, "asked_walltime_s": 120.0, "walltime_s": 120.0}
    with room.database.write() as connection:
        add_history(connection, [stored_row(number, **same, **asked) for number in range(200)])
    [attempts] = run_to_its_end(room, app, [150.0])
    assert attempts[-1].failure is None
    low, high = allowed
    assert low <= (attempts[0].memory_mb or 0) <= high
    assert (attempts[-1].peak_memory or 0) < 300 * MB


def test_counts_hold_when_a_run_is_canceled_while_tasks_are_sized(room: Embedded, tmp_path: Path) -> None:
    app = holding_app(tmp_path / "app", ram_gb=1.5, seconds=1)
    run = room.mine.submit(AppRun(app=app, over=[{"mb": 10.0}] * 60))
    wait_for(lambda: room.mine.run(run.id).counts.get(TaskState.RUNNING), 60, "its first task")
    room.mine.cancel_run(run.id)
    wait_for(lambda: room.mine.run(run.id).ended, 60, "its end")


def test_an_engine_that_is_killed_while_tasks_are_sized_loses_none(tmp_path: Path) -> None:
    home, witness = tmp_path / "home", tmp_path / "witness"
    command = f"[/bin/sh, -c, 'sleep 0.1; echo \"$0\" >> {witness}', '{{i}}']"
    app = make_app(tmp_path / "app", command=command, more="resources: {ram_gb: 0.5, walltime_s: 60}\n")
    room = Embedded(home)
    run = submit(room, app, 120, resources={"estimates": "on"})
    moments = random.Random(3)
    for _ in range(5):
        with EngineProcess(home) as engine:
            ended = room.mine.run(run.id).done
            wait_for(lambda ended=ended: room.mine.run(run.id).done > ended, 60, "progress")
            time.sleep(moments.uniform(0, 0.5))
            engine.kill()
    with EngineProcess(home):
        wait_for(lambda: room.mine.run(run.id).ended, 120, "the run's end")
    assert_each_ended_once(room)
    assert executions(witness) == dict.fromkeys(range(120), 1)
    granted = {room.mine.task(f"{run.id}.{index}").attempts[-1].memory_mb for index in (5, 60, 119)}
    assert min(mb or 500 for mb in granted) < 500, "some were sized"
    with room.database.write() as connection:
        assert recount(connection, "local") == 0
    room.close()
