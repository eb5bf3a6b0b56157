"""Lists of TES tasks by each filter, out of 1,000,000, on both databases."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from tests.fixtures.stores import DEMAND, new_step, run_values

from bench.harness import Figures, folder, postgres, record, scaled, timed
from packhorse.store.database import Database
from packhorse.store.listing import Place, Wanted, page_of_listed, runs_of, short_rows
from packhorse.store.migrate import ensure_schema
from packhorse.store.newtasks import NewTask
from packhorse.store.runs import NewRun, insert_runs
from packhorse.store.schema import TASKS_PER_RUN, tasks

TASKS = scaled(1_000_000, least=10_000)
REPEATS = scaled(100, least=10)
PAGE = 256  # of TES, where nothing is said
USERS = 20
_AT_ONCE = 2000

#: What is asked for. One task in a thousand is a failure, a seventh is of one project, ten have a tag of their own.
FILTERS: dict[str, Wanted] = {
    "all": Wanted(),
    "name": Wanted("align-7"),
    "name of all": Wanted("a"),
    "complete": Wanted(state="COMPLETE"),
    "failed": Wanted(state="EXECUTOR_ERROR"),
    "none in this state": Wanted(state="RUNNING"),
    "tag": Wanted(tags={"project": "p3"}),
    "tag key": Wanted(tags={"project": ""}),
    "rare tag": Wanted(tags={"rare": "yes"}),
    "no such tag": Wanted(tags={"project": "p99"}),
    "two tags": Wanted(tags={"project": "p3", "batch": "b5"}),
    "name and state": Wanted("align-7", "EXECUTOR_ERROR"),
    "all three": Wanted("align", "EXECUTOR_ERROR", {"project": "p3"}),
    "none of these": Wanted("align", "RUNNING", {"project": "p3"}),
}


def measure() -> Figures:
    """list_p99_ms: of the slowest filter, of a user and of an admin, first pages and following ones."""
    with folder() as home:
        database = Database(f"sqlite:///{home}/lists.db")
        lite = _lists(database)
        database.close()
    with postgres() as url:
        database = Database(url)
        elephant = _lists(database)
        database.close()
    figures = {"list_p99_ms_sqlite": max(lite.values()), "list_p99_ms_postgresql": max(elephant.values())}
    figures["list_p99_ms"] = max(figures.values())
    record("lists", figures, {"sqlite": lite, "postgresql": elephant})
    return figures


def _lists(database: Database) -> dict[str, float]:
    """p99 in ms by filter, and by who asks: each page is read as the front door reads it, without documents."""
    ensure_schema(database)
    _fill(database)
    found = {}
    for who in ("user0", None):
        for name, wanted in FILTERS.items():
            took = _pages(database, who, wanted)
            found[f"{name}, {'a user' if who else 'an admin'}"] = round(took[int(len(took) * 0.99)] * 1000, 2)
    return found


def _pages(database: Database, who: str | None, wanted: Wanted) -> list[float]:
    """Seconds of pages, sorted: first ones and those that follow."""
    took = []
    place: Place | None = None

    def read() -> None:
        nonlocal place
        with database.read() as connection:
            listed = page_of_listed(connection, who, wanted, place, PAGE)
            short_rows(connection, listed.ids)
            runs_of(connection, {task // TASKS_PER_RUN for task in listed.ids})
            place = listed.following

    for _ in range(REPEATS):
        took.append(timed(read))
    return sorted(took)


def _fill(database: Database) -> None:
    """Runs of one task each, as TES makes them; half of the first user's, the others' in equal parts."""
    for first in range(0, TASKS, _AT_ONCE):
        with database.write() as connection:
            new: list[tuple[NewRun, Any]] = []
            for number in range(first, min(first + _AT_ONCE, TASKS)):
                user = "user0" if number % 2 else f"user{number // 2 % USERS}"
                new.append((NewRun(run_values(user=user), [new_step()]), [[_task(number)]]))
            insert_runs(connection, new)
    index = tasks.c.id // TASKS_PER_RUN  # the number of the run
    with database.write() as connection:
        connection.execute(sa.update(tasks).values(state="COMPLETE"))
        connection.execute(sa.update(tasks).where(index % 1000 == 17).values(state="EXECUTOR_ERROR"))
        if not database.is_sqlite:
            connection.execute(sa.text("ANALYZE"))


def _task(number: int) -> NewTask:
    tags = {"project": f"p{number // 3 % 7}", "batch": f"b{number // 5 % 100}"}
    if number % (TASKS // 10) == 1:
        tags["rare"] = "yes"
    return NewTask("{}", DEMAND, f"align-{number // 2 % 1000}", tags=tags)
