"""A page of 100 out of a run of 1,000,000 tasks, on both databases."""

from __future__ import annotations

from statistics import median

import sqlalchemy as sa
from tests.fixtures.stores import new_step, new_task, run_values

from bench.harness import Figures, folder, postgres, record, timed
from packhorse.domain.states import TaskState
from packhorse.store.database import Database
from packhorse.store.migrate import ensure_schema
from packhorse.store.runs import NewRun, insert_run
from packhorse.store.schema import TASKS_PER_RUN, tasks
from packhorse.store.tasks import page_of_tasks

TASKS = 1_000_000
REPEATS = 15


def pages(database: Database) -> dict[str, float]:
    """Median ms of the first page, of one in the middle, of the last, and of one by state with few such tasks."""
    ensure_schema(database)
    with database.write() as connection:
        some = (new_task(params='{"i":1}') for _ in range(TASKS))
        seq = insert_run(connection, NewRun(run_values(), [new_step(TASKS)]), [some])
        connection.execute(sa.update(tasks).where(tasks.c.id % 10_000 == 17).values(state=TaskState.EXECUTOR_ERROR))
        if not database.is_sqlite:
            connection.execute(sa.text("ANALYZE tasks"))
    first = seq * TASKS_PER_RUN
    places: dict[str, tuple[list[TaskState] | None, int | None]] = {
        "first": (None, None),
        "middle": (None, first + TASKS // 2),
        "last": (None, first + TASKS - 101),
        "failed": ([TaskState.EXECUTOR_ERROR], first + 1000),
    }
    found = {}
    for place, (states, after) in places.items():

        def read(states: list[TaskState] | None = states, after: int | None = after) -> None:
            with database.read() as connection:
                if len(page_of_tasks(connection, seq, states, after, 100)) < 99:
                    raise RuntimeError("the page is not full")

        found[place] = round(median(timed(read) for _ in range(REPEATS)) * 1000, 2)
    return found


def measure() -> Figures:
    """page_ms_sqlite, page_ms_postgresql: the slowest kind of page of each."""
    with folder() as home:
        database = Database(f"sqlite:///{home}/pages.db")
        lite = pages(database)
        database.close()
    with postgres() as url:
        database = Database(url)
        elephant = pages(database)
        database.close()
    figures = {"page_ms_sqlite": max(lite.values()), "page_ms_postgresql": max(elephant.values())}
    record("pages", figures, {"sqlite": lite, "postgresql": elephant})
    return figures
