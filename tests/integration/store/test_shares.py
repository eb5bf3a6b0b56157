"""Shares on both databases: added up, read by index, and made from what an earlier program wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from packhorse.store import migrate
from packhorse.store.allocations import insert_allocation, update_allocation
from packhorse.store.database import Database
from packhorse.store.schema import TASKS_PER_RUN, allocations, attempts, shares
from packhorse.store.shares import Share, add_shares, iter_shares, shares_query
from tests.fixtures.stores import insert_tasks_run

SHAPE = '{"cores": 2, "memory_mb": null, "nodes": 1}'


def add_allocation(connection: sa.Connection, name: str, ended_at: float | None, shape: str = SHAPE) -> int:
    seq = insert_allocation(connection, name, "local", shape, 0.0)
    update_allocation(connection, seq, started_at=1.0, ended_at=ended_at)
    return seq


def read(database: Database, **which: Any) -> list[tuple[Any, ...]]:
    with database.read() as connection:
        return [
            (row.seq, row.user, row.attempts, row.core_s, row.all_core_s) for row in iter_shares(connection, **which)
        ]


def test_shares_are_added_up_by_allocation_user_and_app(database: Database) -> None:
    with database.write() as connection:
        alice, again, bob = (insert_tasks_run(connection, 1, user=user) for user in ("alice", "alice", "bob"))
        first, second, idle = (
            add_allocation(connection, name, ended) for name, ended in (("a-1", 10.0), ("a-2", None), ("a-3", 30.0))
        )
        add_shares(connection, first, {alice: Share(1, 2, 1, 3.0, 1.0, 0.5), bob: Share(1, 1, 0, 4.0)})
        add_shares(connection, first, {alice: Share(0, 1, 0, 5.0), again: Share(1, 1, 0, 2.0)})
        add_shares(connection, second, {bob: Share(1, 1, 0, 1.0)})
        add_shares(connection, second, {})
        assert connection.execute(sa.select(shares).where(shares.c.run_seq == alice)).one() == (
            first,
            alice,
            1,
            3,
            1,
            8.0,
            1.0,
            0.5,
            0,
        )
    everybody = [(first, "alice", 4, 10.0), (first, "bob", 1, 4.0), (second, "bob", 1, 1.0), (idle, None, 0, 0)]
    assert sorted(read(database), key=str) == [(*row, None) for row in everybody]
    assert read(database, user="alice") == [(*everybody[0], 14.0)]
    assert read(database, run_seq=bob) == [(*everybody[1], 14.0), (*everybody[2], 1.0)]
    assert read(database, since=20.0) == [(*row, None) for row in everybody[2:]]
    assert read(database, user="bob", since=20.0) == [(*everybody[2], 1.0)]


def test_shares_are_found_by_index(database: Database) -> None:
    with database.write() as connection:
        run_seqs = [insert_tasks_run(connection, 1, user=f"user-{number}") for number in range(400)]
        rows = [
            {
                "id": f"a-{n}",
                "site": "local",
                "state": "ENDED",
                "shape": SHAPE,
                "created_at": 0.0,
                "started_at": 1.0,
                "ended_at": float(n),
            }
            for n in range(20_000)
        ]
        connection.execute(sa.insert(allocations), rows)
        none = dict.fromkeys(("tasks", "attempts", "failed", "core_s", "failed_core_s", "cpu_s"), 0)
        used = [{"allocation_seq": seq, "run_seq": run_seqs[seq % 400], **none} for seq in range(1, 20_001)]
        connection.execute(sa.insert(shares), used)
    with database.write() as connection:
        connection.execute(sa.text("ANALYZE"))
    # of a user, of a run, of all since a while ago, of a user since then
    for which in (
        ("user-3", None, None),
        (None, run_seqs[7], None),
        (None, None, 19_900.0),
        ("user-3", None, 19_900.0),
    ):
        compiled = shares_query(*which).compile(database.engine, compile_kwargs={"literal_binds": True})
        with database.read() as connection:
            if not database.is_sqlite:  # which reads so small a table whole if it may
                connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
            prefix = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
            plan = "\n".join(" ".join(map(str, line)) for line in connection.exec_driver_sql(f"{prefix} {compiled}"))
        assert "SCAN allocations" not in plan and "SCAN shares" not in plan, plan  # SQLite
        assert "Seq Scan on allocations" not in plan and "Seq Scan on shares" not in plan, plan  # PostgreSQL


def test_attempts_of_an_earlier_program_are_added_up(database_url: str) -> None:
    database = Database(database_url)
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        one = add_allocation(connection, "a-1", 10.0)
        spanned = add_allocation(
            connection, "a-2", 20.0, '{"cores": 2, "memory_mb": null, "nodes": 3, "for_one_task": true}'
        )
        values = [
            (0, 1, one, "app", 2.0),
            (0, 2, one, None, 3.0),
            (1, 1, spanned, None, 4.0),
            (2, 1, one, "node_lost", None),
        ]
        rows = [
            {
                "task_id": 5 * TASKS_PER_RUN + task,
                "attempt": attempt,
                "allocation_seq": seq,
                "failure": failure,
                "wall_s": wall_s,
                "cores": 1.5,
                "cpu_s": 0.5,
                "ended_at": 1.0,
            }
            for task, attempt, seq, failure, wall_s in values
        ]
        connection.execute(sa.insert(attempts), rows)
        command.upgrade(config, "0002")
    with database.read() as connection:
        then = [column for column in shares.c if column.name != "stored_bytes"]
        found = connection.execute(sa.select(*then).order_by(shares.c.allocation_seq)).all()
    assert found == [(one, 5, 2, 3, 2, 7.5, 3.0, 1.5), (spanned, 5, 1, 1, 0, 18.0, 0.0, 0.5)]
    database.close()
