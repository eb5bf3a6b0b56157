"""A run whose writing was begun and never finished is removed by the engine."""

from __future__ import annotations

import sqlalchemy as sa

from packhorse.engine.embedded import Embedded
from packhorse.store.runs import NewRun, add_tasks, begin_run
from packhorse.store.schema import runs, tasks
from tests.fixtures.room import wait_for
from tests.fixtures.stores import new_step, new_task, run_values


def test_what_was_never_finished_is_removed_and_what_is_being_written_stays(embedded: Embedded) -> None:
    with embedded.database.write() as connection:
        left = begin_run(connection, NewRun(run_values(), [new_step(3)]))
        add_tasks(connection, left, 0, [new_task(), new_task()], 0)
        connection.execute(sa.update(runs).values(created_at=1.0))
        goes_on = begin_run(connection, NewRun(run_values(), [new_step(3)]))
        add_tasks(connection, goes_on, 0, [new_task()], 0)

    def found() -> tuple[list[int], int]:
        with embedded.database.read() as connection:
            return list(connection.execute(sa.select(runs.c.seq)).scalars()), connection.execute(
                sa.select(sa.func.count()).select_from(tasks)
            ).scalar_one()

    with embedded.run_engine():
        wait_for(lambda: found() == ([goes_on.seq], 1), 20, "the removal")
