"""What all tasks of a step need: while some of it is missing, none of them is offered."""

from __future__ import annotations

import time
from collections.abc import Sequence

import sqlalchemy as sa

from packhorse.domain.states import DataState, TaskState
from packhorse.store import data as stored
from packhorse.store.data import DataKey
from packhorse.store.database import Database
from packhorse.store.demands import waiting_demands
from packhorse.store.holds import settle_holds
from packhorse.store.images import want_images
from packhorse.store.schema import TASKS_PER_RUN, data, step_data, steps
from packhorse.store.stepdata import (
    awaited_by_steps,
    forget_need,
    give_to_steps,
    given_to_steps,
    need_data,
    queued_between,
    steps_in_vain,
)
from tests.fixtures.stores import SITE, all_open_data, end_tasks, ids_of, insert_tasks_run

APP, FILE = DataKey("app:t", "d" * 64), DataKey("file:///x", "5-7")
SHA = "ab" * 32


def step_of(connection: sa.Connection, run: int) -> int:
    return int(connection.execute(sa.select(steps.c.seq).where(steps.c.run_seq == run)).scalar_one())


def offered(connection: sa.Connection) -> int:
    return sum(row.ready for row in waiting_demands(connection, SITE))


def give(connection: sa.Connection, key: DataKey, *, keep: bool) -> None:
    [row] = [row for row in all_open_data(connection) if row.url == key.url]
    stored.update_data(connection, row.id, state=DataState.READY, sha256=SHA, path=f"/there/{key.url}")
    give_to_steps(connection, row, SHA, f"/there/{key.url}", keep=keep)


def need(connection: sa.Connection, runs: Sequence[int], *keys: DataKey) -> set[int]:
    return need_data(connection, SITE, {step_of(connection, run): keys for run in runs})


def test_a_step_is_held_until_all_is_there(database: Database) -> None:
    with database.write() as connection:
        one, other, free = (insert_tasks_run(connection, 2) for _ in range(3))
        first = step_of(connection, one)
        assert need(connection, [one], APP, FILE) == {first}
        assert need(connection, [other], APP) == {step_of(connection, other)}
        assert [bool(row.is_wanted) for row in all_open_data(connection)] == [True, True] and offered(connection) == 2
        assert settle_holds(connection, SITE) == 0, "who looks at images frees nobody who waits for data"
        assert awaited_by_steps(connection, [first, step_of(connection, free)])[first].url == APP.url
        give(connection, APP, keep=False)
        assert offered(connection) == 4
        assert need(connection, [one], APP, FILE) == {first}, "asked for again, and it still waits"
        give(connection, APP, keep=False)
        give(connection, FILE, keep=True)
        assert offered(connection) == 6 and awaited_by_steps(connection, [first]) == {}
        assert given_to_steps(connection, [first]) == {first: {FILE: "/there/file:///x"}}
        assert need(connection, [one], FILE) == set(), "what it was given stays given"


def test_an_image_that_is_missing_holds_a_step_that_has_its_data(database: Database) -> None:
    with database.write() as connection:
        run = insert_tasks_run(connection, 2)
        need(connection, [run], APP)
        want_images(connection, run, {SITE: ["x"]})
        give(connection, APP, keep=False)
        assert offered(connection) == 0


def test_what_a_step_of_an_open_run_has_stays_in_the_cache(database: Database) -> None:
    with database.write() as connection:
        run = insert_tasks_run(connection, 1)
        need(connection, [run], FILE)
        stored.remember_cached(connection, SITE, SHA, 10, 1.0)
        give(connection, FILE, keep=True)
        assert not stored.forget_cached(connection, SITE, SHA) and stored.least_used(connection, SITE) == []
        other, late = insert_tasks_run(connection, 1), insert_tasks_run(connection, 1)
        connection.execute(sa.update(data).values(fetched_at=time.time() - 3600))
        assert need(connection, [other], FILE) == set(), "the same file as it was is there already"
        connection.execute(sa.update(data).values(fetched_at=time.time() - 90_000))
        assert need(connection, [late], FILE) == {step_of(connection, late)}, "it is looked at again after a day"
        end_tasks(connection, ids_of(run, [0]) + ids_of(other, [0]) + ids_of(late, [0]), TaskState.COMPLETE)
        assert stored.forget_cached(connection, SITE, SHA)


def test_nobody_wants_what_runs_that_are_over_waited_for(database: Database) -> None:
    with database.write() as connection:
        run = insert_tasks_run(connection, 1)
        need(connection, [run], APP)
        end_tasks(connection, ids_of(run, [0]), TaskState.CANCELED)
        [row] = all_open_data(connection)
        assert not row.is_wanted and not stored.is_awaited(connection, row.id)


def test_who_waits_in_vain_is_found_and_let_go(database: Database) -> None:
    with database.write() as connection:
        insert_tasks_run(connection, 1)
        run = insert_tasks_run(connection, 3)
        need(connection, [run], APP)
        assert steps_in_vain(connection, SITE) == []
        connection.execute(sa.update(data).values(state=DataState.FAILED, error="Lost."))
        [lost] = steps_in_vain(connection, SITE)
        assert (lost.url, lost.error, lost.first, lost.last) == (APP.url, "Lost.", *ids_of(run, [0, 2]))
        assert queued_between(connection, lost.first, lost.last, 2) == [run * TASKS_PER_RUN, run * TASKS_PER_RUN + 1]
        end_tasks(connection, ids_of(run, [0, 1]), TaskState.SYSTEM_ERROR)
        forget_need(connection, SITE, lost.step_seq, lost.data_id)
        assert steps_in_vain(connection, SITE) == [] and offered(connection) == 2
        assert connection.execute(sa.select(step_data)).all() == []


def test_each_kind_has_places_of_its_own(database: Database) -> None:
    many = [DataKey(f"file:///{number}", "1-1") for number in range(50)]
    with database.write() as connection:
        run, other = insert_tasks_run(connection, 1), insert_tasks_run(connection, 1)
        need(connection, [run], *many)
        need(connection, [other], APP)
        room = {"program": 2, "file": 3, "url": 4}
        found = stored.open_data(connection, SITE, (), room, 1.0, 2.0)
        assert [row.url for row in found] == [APP.url, "file:///0", "file:///1", "file:///10"]
        under_way = [row.id for row in found]
        assert [row.id for row in stored.open_data(connection, SITE, under_way, {"file": 0}, 1.0, 2.0)] == sorted(
            under_way
        )
        connection.execute(sa.update(data).values(not_before=1.5))
        assert stored.open_data(connection, SITE, (), room, 1.0, 2.0) == [], "a back-off is under way"
        assert len(stored.open_data(connection, SITE, (), room, 1.0, 1.2)) == 4, "one that a clock set that has jumped"
