"""An engine that has nothing to do leaves its processor to the tasks: what it asks the store while they run."""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.engine.embedded import Embedded
from tests.fixtures.room import make_app, submit, wait_for

LOOKED_S = 1.0
#: Of all loops: a look at the site each half second, at its data, and the lease. A tick that asks takes ten of them,
#: and there are dozens.
STATEMENTS = 45


def test_while_tasks_run_and_others_wait_the_store_is_left_alone(embedded: Embedded, tmp_path: Path) -> None:
    cores = embedded.sites[0].limits()[0].cores
    asked: list[str] = []
    with embedded.run_engine():
        run = submit(embedded, make_app(tmp_path / "app", command="[sleep, '3']"), 3 * cores)
        wait_for(lambda: _running(embedded, run.id) == cores, 20, "a task on every core")
        sa.event.listen(embedded.database.engine, "before_cursor_execute", lambda *of: asked.append(of[2]))
        time.sleep(LOOKED_S)
        number = len(asked)
        embedded.mine.cancel_run(run.id)
        wait_for(lambda: embedded.mine.run(run.id).ended, 30, "the run's end")
    assert number <= STATEMENTS, asked


def _running(room: Embedded, run_id: str) -> int:
    return room.mine.run(run_id).counts.get(TaskState.RUNNING, 0)
