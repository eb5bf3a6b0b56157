"""What real runs on the local site are said to have cost: known sleeps, measured idleness, sums that hold; on both
databases.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.users import User
from packhorse.domain.views import Account, AccountBy, AccountLine
from packhorse.engine.embedded import Embedded
from packhorse.store.schema import allocations, attempts
from tests.fixtures.room import make_app, submit, wait_for

ALICE, BOB = User("alice"), User("bob")


@pytest.fixture
def room(home: Path, database_url: str, tmp_path: Path) -> Iterator[Embedded]:
    make_app(tmp_path / "apps" / "nap", name="nap", command="[sleep, '{i}']")
    make_app(tmp_path / "apps" / "fail", name="fail", command="[/bin/sh, -c, 'sleep $0; exit 3', '{i}']")
    room = Embedded(home, database_url=database_url, app_folders=[tmp_path / "apps"], linger_s=0.5)
    yield room
    room.close()


def naps(room: Embedded, user: User, app: str, *sleeps_s: int) -> str:
    return room.service.as_user(user).submit(AppRun(app=app, gather=False), [{"i": sleep_s} for sleep_s in sleeps_s]).id


def end_all(room: Embedded, *run_ids: str) -> list[Any]:
    """Waits until the runs, and then the allocations, have ended; returns the rows of those."""
    for run_id in run_ids:
        wait_for(lambda run_id=run_id: room.mine.run(run_id).ended, 60, "the run's end")

    def ended() -> list[Any] | None:
        with room.database.read() as connection:
            rows = list(connection.execute(sa.select(allocations)).all())
        return rows if all(row.state == "ENDED" for row in rows) else None

    found: list[Any] = wait_for(ended, 30, "the allocations' end")
    return found


def paid(rows: list[Any]) -> float:
    return sum(json.loads(row.shape)["cores"] * (row.ended_at - row.started_at) for row in rows)


def line(account: Account, by: AccountBy, name: str) -> AccountLine:
    return next(line for line in account.by[by] if line.name == name)


def test_what_was_slept_is_used_and_the_rest_is_idle_to_the_last_unit(room: Embedded) -> None:
    with room.run_engine():
        run_ids = [naps(room, ALICE, "nap", 1, 2), naps(room, BOB, "nap", 1), naps(room, BOB, "fail", 1)]
        rows = end_all(room, *run_ids)
    seen = room.mine.account()
    total = seen.total
    assert (total.tasks, total.attempts, total.failed) == (4, 4, 1)
    assert total.paid_core_s == pytest.approx(paid(rows), abs=1e-4)
    assert total.idle_core_s is not None and total.unsettled_core_s == 0
    assert total.used_core_s + total.idle_core_s == pytest.approx(total.paid_core_s, abs=2e-6)
    # the agent measured for itself how long its cores were busy
    assert total.used_core_s == pytest.approx(sum(row.busy_core_s for row in rows), rel=0.05)
    alice, bob = (line(seen, AccountBy.USER, user.name) for user in (ALICE, BOB))
    assert 3.0 <= alice.used_core_s < 4.5 and 2.0 <= bob.used_core_s < 3.5
    assert alice.failed_core_s == 0 and 1.0 <= bob.failed_core_s < bob.used_core_s
    assert line(seen, AccountBy.APP, "fail@1").failed_core_s == bob.failed_core_s
    assert [(one.name, one.paid_core_s) for one in seen.by[AccountBy.SITE]] == [("local", total.paid_core_s)]
    assert total.idle_core_s >= 0.5  # the agent lingered
    runs = [room.mine.usage(run_id) for run_id in run_ids]
    assert sum(run.paid_core_s for run in runs) == pytest.approx(total.used_core_s, abs=2e-6)
    assert runs[0].paid_node_s == pytest.approx(runs[0].paid_core_s / json.loads(rows[0].shape)["cores"], abs=1e-5)

    told = room.service.as_user(ALICE).account()
    assert told.total == alice.model_copy(update={"name": "total"})
    assert {one.name for lines in told.by.values() for one in lines} == {"alice", "local", "nap@1"}
    later = max(row.ended_at for row in rows) + 1
    assert room.service.as_user(BOB).account((AccountBy.APP,), since=later).total.attempts == 0


def test_a_task_that_died_with_its_agent_was_paid_for_all_the_same(room: Embedded, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    app = make_app(tmp_path / "app", command=f"[/bin/sh, -c, 'test -e {flag} || sleep 60']")
    with room.run_engine():
        run = submit(room, app, 1)
        wait_for(lambda: room.mine.run(run.id).counts.get(TaskState.RUNNING), 30, "the task's start")
        began = room.mine.task(f"{run.id}.0").started_at
        assert began is not None
        flag.touch()
        with room.database.read() as connection:
            job_id = connection.execute(sa.select(allocations.c.job_id)).scalar_one()
        os.killpg(int(job_id.split(":")[0]), signal.SIGKILL)
        rows = end_all(room, run.id)
    with room.database.read() as connection:
        first = connection.execute(sa.select(attempts).where(attempts.c.attempt == 1)).one()
    assert (first.failure, first.started_at) == ("node_lost", began)
    usage = room.mine.usage(run.id)
    assert usage.attempts == 2 and usage.failed_core_s == pytest.approx(first.wall_s, abs=0.1)
    assert 0 < usage.failed_core_s <= rows[0].ended_at - began + 0.1


def test_a_running_allocation_pays_up_to_now(room: Embedded) -> None:
    with room.run_engine():
        run_id = naps(room, ALICE, "nap", 3)
        wait_for(lambda: room.mine.account().total.unsettled_core_s, 30, "the start of the allocation")
        total = room.mine.account().total
        assert (total.used_core_s, total.idle_core_s) == (0, 0)
        assert total.unsettled_core_s == total.paid_core_s
        end_all(room, run_id)
    assert room.mine.account().total.unsettled_core_s == 0
