"""The schema on both databases: migrations, indexes, two programs at once, refusals."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from packhorse.domain.errors import Conflict, Unavailable
from packhorse.store import migrate
from packhorse.store.database import Database
from packhorse.store.demands import _READY_OF, take_ready
from packhorse.store.lookups import newest_with_keys, tasks_to_look_up
from packhorse.store.migrate import ensure_schema
from packhorse.store.schema import demands, in_run, metadata, tasks
from packhorse.store.tasks import page_of_tasks
from tests.fixtures.postgres import Postgres
from tests.fixtures.stores import counted_statements, insert_tasks_run, new_task


def test_migrations_make_what_the_schema_says(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_partial_indexes_are_there(database: Database) -> None:
    with database.read() as connection:
        names = {
            index["name"]
            for table in ("tasks", "runs", "steps", "demands", "step_demands", "allocations")
            for index in sa.inspect(connection).get_indexes(table)
        }
    assert {"ix_tasks_ready", "ix_tasks_back_off", "ix_tasks_at_site", "ix_runs_open", "ix_runs_unfinished"} <= names
    assert {"ix_steps_held", "ix_demands_ready", "ix_step_demands_ready", "ix_allocations_live"} <= names


def test_head_is_the_newest_migration() -> None:
    folder = migrate.__file__.replace("migrate.py", "migrations")
    assert ScriptDirectory(folder).get_current_head() == migrate.HEAD


def test_two_programs_may_make_the_schema_at_once(database_url: str) -> None:
    failures: list[BaseException] = []

    def make() -> None:
        try:
            ensure_schema(Database(database_url))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_new_sqlite_file_that_another_program_writes_to_is_waited_for(tmp_path: Path) -> None:
    """SQLite itself would say at once that it is locked: it does not wait when a file's first journal mode is
    changed.
    """
    other = sqlite3.connect(tmp_path / "packhorse.db", isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE theirs (x)")
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.rollback)
    release.start()
    ensure_schema(Database(f"sqlite:///{tmp_path}/packhorse.db"))
    release.join()


def test_a_database_of_a_newer_program_is_refused(database: Database) -> None:
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match="written by a newer Packhorse"):
        ensure_schema(database)


def explain(database: Database, statement: sa.Select[Any]) -> str:
    compiled = str(statement.compile(database.engine, compile_kwargs={"literal_binds": True}))
    with database.read() as connection:
        if not database.is_sqlite:
            connection.execute(sa.text("ANALYZE tasks"))
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        prefix = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        return "\n".join(" ".join(map(str, row)) for row in connection.exec_driver_sql(f"{prefix} {compiled}"))


def test_pages_and_ready_tasks_are_found_by_index(database: Database) -> None:
    with database.write() as connection:
        insert_tasks_run(connection, 20_000)
        connection.execute(sa.update(tasks).where(tasks.c.id < (1 << 20) + 19_990).values(state="COMPLETE"))
        [demand] = connection.execute(sa.select(demands.c.seq)).scalars()
        [step] = connection.execute(sa.select(tasks.c.step_seq).distinct()).scalars()
    page = sa.select(tasks.c.id).where(in_run(1), tasks.c.id > 5).order_by(tasks.c.id).limit(100)
    assert "SCAN tasks" not in explain(database, page)
    if database.is_sqlite:  # PostgreSQL chooses by its statistics, which so small a table does not fill
        for of_steps in ([step], [step, step + 1]):
            plan = explain(database, _READY_OF.params(steps=of_steps, demand=demand, number=10))
            assert "ix_tasks_ready" in plan and "TEMP B-TREE" not in plan, plan
        plans = []
        with counted_statements(database) as sent, database.read() as connection:
            newest_with_keys(connection, {"k": None, "l": 7})
            tasks_to_look_up(connection, [step], 10)
            for statement in [text for text in sent if text.startswith("SELECT")]:
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", ("[0]",) * statement.count("?"))
                plans.append(" ".join(row.detail for row in rows))
        wanted = ["ix_tasks_reusable (cache_key=? AND id<?)", "ix_tasks_to_look_up (step_seq=?)"]
        assert all(index in plan for index, plan in zip(wanted, plans, strict=True)), plans
    with database.write() as connection:
        first = (1 << 20) + 19_990
        assert [row.id for row in take_ready(connection, demand, 3)] == [first, first + 1, first + 2]
        assert len(page_of_tasks(connection, 1, None, None, 100)) == 100


def test_a_server_that_is_away_is_a_sentence(postgres: Postgres) -> None:
    database = Database(f"postgresql+psycopg://postgres@127.0.0.1:{postgres.port}/no_such_database")
    with pytest.raises(Unavailable, match="The database does not answer"), database.read():
        pass


def test_a_full_or_locked_sqlite_is_a_sentence(tmp_path: object, database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("SQLite only: PostgreSQL's own disk is its operator's")
    with pytest.raises(Unavailable, match="full"), database.write() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 60")
        insert_tasks_run(connection, [new_task(params=json.dumps({"x": "y" * 1000}))] * 5000)


def test_a_writer_waits_for_its_turn_and_is_refused_when_it_does_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(f"sqlite:///{tmp_path}/store.db")
    ensure_schema(database)
    began, leave = threading.Event(), threading.Event()

    def write() -> None:
        with database.write():
            began.set()
            leave.wait(30)

    other = threading.Thread(target=write)
    other.start()
    assert began.wait(30)
    with monkeypatch.context() as patch:
        patch.setattr("packhorse.store.database._BUSY_TIMEOUT_S", 0.05)
        with pytest.raises(Unavailable, match="is locked") as refusal, database.write():
            pass
    assert "try again" in refusal.value.hint
    with database.read() as connection:
        assert connection.execute(sa.select(tasks)).all() == [], "who reads waits for nobody"
    threading.Timer(0.2, leave.set).start()
    with database.write():
        assert leave.is_set(), "it waited"
    other.join()
    database.close()


def test_a_second_look_at_a_file_frees_no_locks_of_the_first(tmp_path: Path) -> None:
    """POSIX frees a process's locks on a file when that process closes it, whoever opened it."""
    first = Database(f"sqlite:///{tmp_path}/packhorse.db")
    ensure_schema(first)
    tries = f"import sqlite3; sqlite3.connect({str(tmp_path / 'packhorse.db')!r}, timeout=0).execute('BEGIN IMMEDIATE')"
    with first.write():
        Database(f"sqlite:///{tmp_path}/packhorse.db").close()
        other = subprocess.run([sys.executable, "-c", tries], capture_output=True, text=True)
    first.close()
    assert "database is locked" in other.stderr
