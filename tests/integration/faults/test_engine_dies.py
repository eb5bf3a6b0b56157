"""The engine may be killed at any instant: nothing is lost, nothing is done twice."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packhorse.domain.run import StepRun
from packhorse.domain.states import TaskState
from packhorse.engine.embedded import Embedded
from packhorse.engine.placing.blocks import Blocks
from packhorse.store import leases, schema
from packhorse.store.growths import open_growths
from tests.fixtures.apps import Apps
from tests.fixtures.room import EngineProcess, make_app, submit, wait_for
from tests.fixtures.truth import assert_each_ended_once, attempts_by_task, executions


@pytest.fixture
def room(home: Path) -> Iterator[Embedded]:
    room = Embedded(home)
    yield room
    room.close()


def witness_app(tmp_path: Path, *, sleep_s: float = 0) -> tuple[str, Path]:
    """An app whose every task appends its number to one file."""
    witness = tmp_path / "witness"
    command = f"[/bin/sh, -c, 'sleep {sleep_s}; echo \"$0\" >> {witness}', '{{i}}']"
    return make_app(tmp_path / "app", command=command), witness


def submit_steps(room: Embedded, folder: Path, items: int, *, sleep_s: float = 0) -> str:
    """A run whose list becomes ``items`` tasks, each followed by another, and these gathered by one."""
    apps = Apps(folder)
    witnessed = f'echo "$1" >> {folder}/first; sleep {sleep_s}; echo "$1" | tee out'
    followed = f'i=$(cat "$1"); echo "$i" >> {folder}/second; sleep {sleep_s}; echo "$i" | tee out'
    steps: list[dict[str, Any]] = [
        {"name": "listing", "app": apps.listing(f"python3 -S -c 'print(list(range({items})))'")},
        {"name": "first", "app": apps.squares(witnessed), "items": "listing", "item": "n"},
        {"name": "second", "app": apps.twice(followed), "each": "first", "inputs": {"reads": "first.out"}},
        {"name": "total", "app": apps.total(), "gather": ["second"], "results": "rows"},
    ]
    return room.mine.submit(StepRun.model_validate({"steps": steps})).id


def test_killed_at_twenty_random_moments_of_a_run_of_steps_with_a_list(
    room: Embedded, home: Path, tmp_path: Path
) -> None:
    run_id = submit_steps(room, tmp_path, 900, sleep_s=0.015)
    moments = random.Random(7)
    in_the_middle = 0
    for _ in range(20):
        with EngineProcess(home) as engine:
            time.sleep(0.35 + moments.random() * 0.5)  # starting takes about 0.4 s
            engine.kill()
        in_the_middle += not room.mine.run(run_id).ended
    assert in_the_middle >= 15, "most kills must hit the run while it goes on"
    with EngineProcess(home):
        wait_for(lambda: room.mine.run(run_id).ended, 120, "the run's end")
    assert_each_ended_once(room)
    assert room.mine.run(run_id).counts == {TaskState.COMPLETE: 1802}
    for witness in ("first", "second"):
        assert executions(tmp_path / witness) == dict.fromkeys(range(900), 1)
    total = next(task for task in room.mine.tasks(run_id).items if task.step == "total")
    assert total.result == [sum(range(900)), ["COMPLETE"] * 900]
    assert set(attempts_by_task(room).values()) == {1}


def test_killed_while_a_list_becomes_tasks_each_of_them_comes_to_be_once(
    room: Embedded, home: Path, tmp_path: Path
) -> None:
    """Dies again and again, after a few commits, until all tasks are there. They wait for one that does not end."""
    apps, items = Apps(tmp_path), 9000
    steps: list[dict[str, Any]] = [
        {"name": "listing", "app": apps.listing(f"python3 -S -c 'print(list(range({items})))'")},
        {"name": "endless", "app": apps.number("sleep 600"), "params": {"i": 1}},
        {"name": "first", "app": apps.squares(), "items": "listing", "item": "n", "gather": ["endless"]},
        {"name": "second", "app": apps.twice(), "each": "first", "inputs": {"reads": "first.out"}},
        {"name": "total", "app": apps.total(), "gather": ["second"], "results": "rows"},
    ]
    run_id = room.mine.submit(StepRun.model_validate({"steps": steps})).id

    def growths() -> list[int]:
        with room.database.read() as connection:
            return [row.grown for row in open_growths(connection, "local")]

    with EngineProcess(home) as engine:
        wait_for(growths, 60, "the list to be known")
        engine.kill()
    seen = growths()
    step = 3  # commits, of which the first are not those of parts
    while growths():
        with EngineProcess(home, crash_at=step) as engine:
            wait_for(lambda engine=engine: engine.process.poll() is not None or not growths(), 60, "its end")
        seen += growths()
        step = 3 + step % 3
    assert len(set(seen)) > 2, "it must have died at several different parts"
    with room.database.read() as connection:
        rows = connection.execute(sa.select(schema.tasks).order_by(schema.tasks.c.id)).all()
    first, second = rows[3 : 3 + items], rows[3 + items :]
    assert [json.loads(row.params)["n"] for row in first] == list(range(items))
    assert [json.loads(row.params)["reads"]["output"][1] for row in second] == list(range(3, 3 + items))
    assert {row.waiting_on for row in rows[3:]} == {1}
    room.mine.cancel_run(run_id)
    with EngineProcess(home):
        wait_for(lambda: room.mine.run(run_id).ended, 60, "the run's end")
    assert_each_ended_once(room)
    assert sum(room.mine.run(run_id).counts.values()) == 3 + 2 * items


def test_killed_after_every_single_step_in_turn(room: Embedded, home: Path, tmp_path: Path) -> None:
    """Systematic: dies after its first commit or write, then after its second, … until a run gets through without
    dying.
    """
    app, witness = witness_app(tmp_path)
    step, submitted = 1, 0
    while True:
        run = submit(room, app, 12)
        submitted += 1
        with EngineProcess(home, crash_at=step) as engine:
            died = wait_for(
                lambda engine=engine, run=run: (
                    (engine.process.poll() is not None and "died") or room.mine.run(run.id).ended
                ),
                60,
                f"the end of run {submitted}",
            )
            if died != "died":
                break
        step += 1
    with EngineProcess(home):
        wait_for(
            lambda: all(view.ended for view in room.mine.runs(limit=1000).items),
            60,
            "the end of all runs",
        )
    assert submitted > 8, "the engine must have died at several different steps"
    assert_each_ended_once(room)
    assert executions(witness) == dict.fromkeys(range(12), submitted)


def test_of_two_engines_one_leads_and_the_other_takes_over_when_it_dies(
    room: Embedded, home: Path, tmp_path: Path
) -> None:
    app, witness = witness_app(tmp_path)
    with EngineProcess(home) as first, EngineProcess(home):
        run = submit(room, app, 300)
        wait_for(lambda: room.mine.run(run.id).done > 20, 60, "the first results")
        first.kill()
        wait_for(lambda: room.mine.run(run.id).ended, 60, "the run's end")
    assert_each_ended_once(room)
    assert executions(witness) == dict.fromkeys(range(300), 1)


def threads_are_stopped(engine: EngineProcess) -> bool:
    """A signal stops each of them a little later: one could still begin a transaction."""
    states = [task.joinpath("stat").read_text() for task in Path(f"/proc/{engine.process.pid}/task").iterdir()]
    return all(state.rpartition(")")[2].split()[0] == "T" for state in states)


def suspend_between_transactions(engine: EngineProcess, home: Path) -> None:
    """SIGSTOP, at a moment when it holds no lock: in the middle of a transaction it would hold SQLite's for
    everybody.
    """
    while True:
        engine.signal(signal.SIGSTOP)
        wait_for(lambda: threads_are_stopped(engine), 10, "all threads' stop")
        connection = sqlite3.connect(home / "packhorse.db", timeout=0.5, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            return
        except sqlite3.OperationalError:
            engine.signal(signal.SIGCONT)
            time.sleep(0.05)
        finally:
            connection.close()


def test_a_suspended_engine_that_wakes_too_late_changes_nothing(
    room: Embedded, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, witness = witness_app(tmp_path)
    with EngineProcess(home) as sleeper:
        run = submit(room, app, 3000)
        wait_for(lambda: room.mine.run(run.id).done > 20, 60, "the first results")
        suspend_between_transactions(sleeper, home)
        with EngineProcess(home):  # takes over when the lease's beat has stood still for its 15 s
            wait_for(lambda: room.mine.run(run.id).ended, 90, "the run's end")
            sleeper.signal(signal.SIGCONT)
            later = submit(room, app, 50)
            wait_for(lambda: room.mine.run(later.id).ended, 60, "the next run's end")
    assert_each_ended_once(room)
    assert executions(witness) == {index: 2 if index < 50 else 1 for index in range(3000)}


def test_an_engine_that_loses_its_lease_while_it_renders_changes_nothing(
    room: Embedded, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, witness = witness_app(tmp_path)
    rendering, goes_on, render = threading.Event(), threading.Event(), Blocks._render

    def render_slowly(blocks: Blocks, *arguments: Any) -> Any:
        if not rendering.is_set():
            rendering.set()
            assert goes_on.wait(60)
        return render(blocks, *arguments)

    monkeypatch.setattr(Blocks, "_render", render_slowly)
    with room.run_engine():
        run = submit(room, app, 200)
        assert rendering.wait(30)
        with room.database.write() as connection:
            [name] = connection.execute(sa.select(schema.leases.c.name)).scalars()
            leases.release(connection, name, leases.view(connection, name).epoch)
        with EngineProcess(home):
            wait_for(lambda: room.mine.run(run.id).ended, 60, "the run's end")
            goes_on.set()
            later = submit(room, app, 50)
            wait_for(lambda: room.mine.run(later.id).ended, 60, "the next run's end")
    assert_each_ended_once(room)
    assert executions(witness) == {index: 2 if index < 50 else 1 for index in range(200)}
    assert set(attempts_by_task(room).values()) == {1}
