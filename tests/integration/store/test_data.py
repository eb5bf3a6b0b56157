"""Data that tasks wait for, on both databases: who waits, who is let go, what may leave the cache, and many who ask at
once.
"""

from __future__ import annotations

import threading

import sqlalchemy as sa

from packhorse.domain.states import DataState, TaskState
from packhorse.store import data as stored
from packhorse.store import deliveries
from packhorse.store.data import DataKey
from packhorse.store.database import Database
from packhorse.store.moves import Move, apply_moves, lock_tasks
from packhorse.store.schema import data, data_edges, in_run, tasks
from tests.fixtures.stores import all_open_data, insert_tasks_run, new_task

A, B, DB = DataKey("https://h/a"), DataKey("s3://b/b"), DataKey("https://h/db.tar", "1")
SHA = "ab" * 32


def run_of(database: Database, *needs: tuple[DataKey, ...], site: str = "s") -> int:
    with database.write() as connection:
        return insert_tasks_run(connection, [new_task(data=keys) for keys in needs], site=site)


def waiting(database: Database, seq: int) -> list[int]:
    with database.read() as connection:
        return list(connection.execute(sa.select(tasks.c.waiting_on).where(in_run(seq)).order_by(tasks.c.id)).scalars())


def ready(database: Database, key: DataKey, sha256: str = SHA, at: float = 1.0) -> None:
    with database.write() as connection:
        [row] = [row for row in all_open_data(connection) if row.url == key.url]
        stored.lock_data(connection, row.id)
        stored.update_data(connection, row.id, state=DataState.READY, sha256=sha256, path=f"/cache/{sha256}")
        stored.remember_cached(connection, "s", sha256, 10, at)
        stored.give_data(connection, row.id, sha256, f"/cache/{sha256}")


def end_all(database: Database, seq: int) -> None:
    with database.write() as connection:
        current = lock_tasks(connection, connection.execute(sa.select(tasks.c.id).where(in_run(seq))).scalars().all())
        apply_moves(connection, [Move(task, TaskState.CANCELED, 2.0) for task in current], current)


def test_each_waits_for_what_it_named_and_is_let_go_when_that_is_there(database: Database) -> None:
    seq = run_of(database, (A,), (A, B, A), (), (B,))
    assert waiting(database, seq) == [1, 2, 0, 1]
    ready(database, A)
    assert waiting(database, seq) == [0, 1, 0, 1]
    with database.read() as connection:
        first = seq * (1 << 20)
        assert stored.given_data(connection, [first, first + 1, first + 3]) == {
            first + i: {A: f"/cache/{SHA}"} for i in (0, 1)
        }
        assert {
            task: [row.url for row in rows]
            for task, rows in stored.awaited_data(connection, range(first, first + 4)).items()
        } == {
            first + 1: [B.url],
            first + 3: [B.url],
        }
        assert [row.sha256 for row in stored.data_of_task(connection, first + 1)] == [SHA, None]


def test_a_new_run_has_a_url_looked_at_again_and_a_version_not(database: Database) -> None:
    run_of(database, (A,), (DB,))
    ready(database, A)
    ready(database, DB)
    second = run_of(database, (A,), (DB,))
    assert waiting(database, second) == [1, 0]
    with database.read() as connection:
        assert [row.url for row in all_open_data(connection)] == [A.url]
        assert stored.given_data(connection, [second * (1 << 20) + 1]) == {
            second * (1 << 20) + 1: {DB: f"/cache/{SHA}"}
        }


def test_one_under_way_is_joined_and_one_of_another_site_is_another(database: Database) -> None:
    run_of(database, (A,))
    with database.write() as connection:
        [row] = all_open_data(connection)
        stored.update_data(connection, row.id, state=DataState.FETCHING, bytes_done=5)
    second, elsewhere = run_of(database, (A,)), run_of(database, (A,), site="t")
    with database.read() as connection:
        assert [(row.state, row.bytes_done, bool(row.is_wanted)) for row in all_open_data(connection)] == [
            ("FETCHING", 5, True)
        ]
    ready(database, A)
    assert (waiting(database, second), waiting(database, elsewhere)) == ([0], [1])


def test_nobody_wants_what_only_ended_tasks_waited_for(database: Database) -> None:
    seq = run_of(database, (A,), (A,))
    end_all(database, seq)
    with database.read() as connection:
        [row] = all_open_data(connection)
        assert not row.is_wanted and stored.waiting_tasks(connection, row.id) == []


def test_what_an_active_task_has_stays_and_the_rest_leaves_by_age(database: Database) -> None:
    first, second = run_of(database, (A,)), run_of(database, (B,))
    ready(database, A, "a" * 64, at=1.0)
    ready(database, B, "b" * 64, at=2.0)
    with database.write() as connection:
        stored.remember_cached(connection, "s", "c" * 64, 10, 0.5)
        assert stored.cached_bytes(connection, "s") == 30
        assert [row.sha256 for row in stored.least_used(connection, "s")] == ["c" * 64]
        assert not stored.forget_cached(connection, "s", "a" * 64)
    end_all(database, first)
    end_all(database, second)
    with database.write() as connection:
        assert [row.sha256[0] for row in stored.least_used(connection, "s")] == ["c", "a", "b"]
        assert stored.forget_cached(connection, "s", "a" * 64) and not stored.is_cached(connection, "s", "a" * 64)


def test_a_version_that_has_left_the_cache_is_waited_for_again(database: Database) -> None:
    first = run_of(database, (DB,))
    ready(database, DB)
    end_all(database, first)
    with database.write() as connection:
        assert stored.forget_cached(connection, "s", SHA)
    assert waiting(database, run_of(database, (DB,))) == [1]


def test_many_who_want_the_same_at_once_make_one_row(database: Database) -> None:
    failures: list[BaseException] = []

    def submit() -> None:
        try:
            run_of(database, (A, B), (B,))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=submit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(data)).scalar_one() == 2
        assert connection.execute(sa.select(sa.func.count()).select_from(data_edges)).scalar_one() == 18


def test_a_held_task_has_left_its_allocation_and_ends_with_its_last_output(database: Database) -> None:
    seq = run_of(database, ())
    task = seq * (1 << 20)
    outputs = [
        {"task_id": task, "attempt": 1, "path": path, "source": f"/s/{path}", "url": f"s3://b/{path}"}
        for path in ("x", "y")
    ]
    with database.write() as connection:
        connection.execute(
            sa.update(tasks).where(tasks.c.id == task).values(state="RUNNING", allocation_seq=7, block=1)
        )
        deliveries.hold_for_delivery(
            connection, "s", {task: {"exit_code": 0, "reason": "Its outputs are delivered."}}, outputs
        )
        row = connection.execute(sa.select(tasks).where(tasks.c.id == task)).one()
        assert (row.state, row.allocation_seq, row.exit_code) == ("RUNNING", None, 0)
        first, second = deliveries.open_deliveries(connection, "s", 10)
        deliveries.update_delivery(connection, first.id, state=DataState.READY)
        assert not deliveries.are_all_delivered(connection, task, 1)
        deliveries.update_delivery(connection, second.id, state=DataState.READY)
        assert (
            deliveries.are_all_delivered(connection, task, 1) and deliveries.open_deliveries(connection, "s", 10) == []
        )
        connection.execute(sa.update(tasks).where(tasks.c.id == task).values(state="CANCELING"))
        assert deliveries.unfinished_cancels(connection, "s") == [task]
