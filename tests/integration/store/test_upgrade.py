"""Databases of earlier versions are brought to this one where they are, and their open runs finish."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from packhorse.domain.ids import new_id
from packhorse.domain.views import RunView
from packhorse.engine.embedded import Embedded
from packhorse.store.database import Database
from packhorse.store.demands import recount
from packhorse.store.migrate import ensure_schema
from packhorse.store.schema import TASKS_PER_RUN, metadata, step_counts, steps, tasks
from packhorse.store.steps import edges_into_step, steps_of_run
from tests.fixtures import old_home
from tests.fixtures.room import EngineProcess, wait_for

ROOT = Path(__file__).resolve().parents[3]
MANIFEST = {
    "packhorse": 1, "name": "old", "version": "2", "command": ["true", "{i}"], "parameters": {"i": {"type": "integer"}},
    "resources": {"cpu_cores": 2}, "gather": {"command": ["cat", "{results}"], "accept_failures": True},
}  # fmt: skip


@pytest.fixture
def old_database(database_url: str) -> Database:
    """An empty database of an earlier revision."""
    database = Database(database_url)
    old_home.make_old(database)
    return database


def named(room: Embedded, name: str) -> RunView:
    [found] = [run for run in room.mine.runs().items if run.name == name]
    return room.mine.run(found.id)


def has_ended(room: Embedded, name: str) -> bool:
    return named(room, name).ended


def results(room: Embedded, run: RunView) -> list[tuple[str, Any]]:
    return [(task.state.value, task.result) for task in room.mine.tasks(run.id, limit=100).items]


def test_open_runs_of_an_old_home_finish(tmp_path: Path, database_url: str) -> None:
    home = old_home.unpack(tmp_path, database_url)
    room = Embedded(home, database_url=database_url)
    ended = named(room, "ended gather")
    assert [step.name for step in ended.steps] == ["gathered", "gather"]
    assert ended.counts == {"COMPLETE": 7}
    logs = room.mine.log(f"{ended.id}.3", "stderr").data
    assert logs == b"error of 3\n"
    failures = named(room, "ended failures")
    assert failures.counts == {"CANCELED": 1, "COMPLETE": 4, "EXECUTOR_ERROR": 1}
    assert named(room, "open rows").counts == {"COMPLETE": 3, "RUNNING": 1, "QUEUED": 4}
    (tmp_path / "go").touch()
    with EngineProcess(home, database_url=database_url):
        names = ["gather", "tasks", "back-off", "rows", "session", "untouched"]
        for name in names:
            wait_for(partial(has_ended, room, f"open {name}"), 120, name)
    assert results(room, named(room, "open rows")) == [("COMPLETE", number) for number in range(8)]
    assert results(room, named(room, "open session")) == [("COMPLETE", number * number) for number in range(4)]
    assert results(room, named(room, "open untouched")) == [("COMPLETE", number) for number in range(3)]
    assert named(room, "open back-off").counts == {"COMPLETE": 2}
    assert named(room, "open tasks").counts == {"COMPLETE": 3}
    gather = named(room, "open gather")
    assert gather.counts == {"COMPLETE": 4}
    lines = (home / "site" / "runs" / gather.id / "3" / "all.jsonl").read_text().splitlines()
    assert [json.loads(line)["result"] for line in lines] == [0, 1, 2]
    assert room.mine.retry(failures.id).counts == {"QUEUED": 2}
    room.close()


def test_every_column_and_index_is_as_the_schema_says(tmp_path: Path, database_url: str) -> None:
    old_home.unpack(tmp_path, database_url)
    database = Database(database_url)
    ensure_schema(database)
    with database.write() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert recount(connection, "local") == 0, "what is ready was counted right"
        names = set(sa.inspect(connection).get_table_names())
        keys = connection.execute(sa.select(tasks.c.cache_key).distinct()).scalars().all()
        looked_up = connection.execute(sa.select(steps.c.reuse).distinct()).scalars().all()
    assert (keys, looked_up) == ([None], [False]), "nothing of what was before is looked up"
    assert names == {*metadata.tables, "alembic_version"}
    database.close()


def test_killed_in_the_middle_nothing_is_changed(tmp_path: Path, database_url: str) -> None:
    old_home.unpack(tmp_path, database_url)
    script = (
        "import os, sys, sqlalchemy as sa\n"
        "from packhorse.store.database import Database\n"
        "from packhorse.store.migrate import ensure_schema\n"
        "def look(connection, cursor, statement, *rest):\n"
        "    if statement.startswith('INSERT INTO step_counts'):\n"
        "        os._exit(9)\n"
        "sa.event.listen(sa.engine.Engine, 'before_cursor_execute', look)\n"
        "ensure_schema(Database(sys.argv[1]))\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, database_url], cwd=ROOT)
    assert killed.returncode == 9
    database = Database(database_url)
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == old_home.REVISION
        assert not sa.inspect(connection).has_table("steps")
        assert connection.execute(sa.text("SELECT count(role) FROM tasks")).scalar() == 40
    ensure_schema(database)
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(tasks)).scalar() == 40
    database.close()


class Old:
    """Puts runs into an old database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def run(self, seq: int, spec: dict[str, Any] | str, roles: str, *, states: str, **values: Any) -> None:
        """``roles`` and ``states`` are the first letters for each task: r(ow), g(ather), t(ask); Q, C, E."""
        known = {"r": "row", "g": "gather", "t": "task", "Q": "QUEUED", "C": "COMPLETE", "E": "EXECUTOR_ERROR"}
        text = spec if isinstance(spec, str) else json.dumps(spec)
        run = {"seq": seq, "id": new_id("r"), "user": "ada", "name": "n", "app": "", "request_hash": "", "spec": text}
        with self.database.write() as connection:
            self.insert(connection, "runs", {**run, "created_at": float(seq), **values})
            for index, (role, state) in enumerate(zip(roles, states, strict=True)):
                task = {"id": seq * TASKS_PER_RUN + index, "role": known[role], "state": known[state], "attempt": 0}
                self.insert(connection, "tasks", {**task, "params": "{}", "waiting_on": 0, "not_before": 0.0})

    def insert(self, connection: sa.Connection, table: str, values: dict[str, Any]) -> None:
        connection.execute(sa.insert(sa.table(table, *(sa.column(name) for name in values))), values)

    def do(self, table: str, *rows: dict[str, Any]) -> None:
        with self.database.write() as connection:
            for row in rows:
                self.insert(connection, table, row)

    def set(self, task: int, **values: Any) -> None:
        with self.database.write() as connection:
            old = sa.table("tasks", sa.column("id"), *(sa.column(name) for name in values))
            connection.execute(sa.update(old).where(old.c.id == task).values(values))


def spec_of(**more: Any) -> dict[str, Any]:
    return {"kind": "app", "run_id": "r", "manifest": MANIFEST, "app_dir": "/nowhere", "site": "hpc", **more}


def upgraded(database: Database, ask: Callable[[sa.Connection], Any]) -> Any:
    ensure_schema(database)
    with database.read() as connection:
        return ask(connection)


def test_a_retry_gathers_from_the_run_that_it_retries(old_database: Database) -> None:
    old, task = Old(old_database), TASKS_PER_RUN
    old.run(1, spec_of(), "rrrg", states="CECE", ended_at=5.0)
    old.run(2, spec_of(), "rg", states="QQ", retry_of="r")
    edges = [(up, task + 3) for up in range(task, task + 3)]
    edges += [(task, 2 * task + 1), (task + 2, 2 * task + 1), (2 * task, 2 * task + 1)]
    old.do("edges", *({"upstream": up, "downstream": down, "accept_failure": True} for up, down in edges))
    old.set(2 * task + 1, waiting_on=1)

    def ask(connection: sa.Connection) -> None:
        first, second = steps_of_run(connection, 1), steps_of_run(connection, 2)
        assert [(step.name, step.first, step.tasks) for step in second] == [("old", 0, 1), ("gather", 1, 1)]
        of_first = edges_into_step(connection, first[1].seq)
        assert [(edge.left, edge.failed, edge.accept_failure) for edge in of_first] == [(0, 1, True)]
        of_second = edges_into_step(connection, second[1].seq)
        assert [(edge.upstream, edge.left) for edge in of_second] == [(first[0].seq, 0), (second[0].seq, 1)]
        assert connection.execute(sa.select(tasks.c.waiting_on).where(tasks.c.id == 2 * task + 1)).scalar() == 1
        assert connection.execute(sa.text("SELECT count(*) FROM edges")).scalar() == 0

    upgraded(old_database, ask)


def test_what_a_gathering_task_waits_for_is_counted_anew(old_database: Database) -> None:
    old, gather = Old(old_database), TASKS_PER_RUN + 2
    old.run(1, spec_of(has_data=True), "rrg", states="QQQ")
    edges = ({"upstream": TASKS_PER_RUN + i, "downstream": gather, "accept_failure": True} for i in range(2))
    old.do("edges", *edges)
    needed = [{"data_id": 1, "task_id": gather}, {"data_id": 2, "task_id": gather, "sha256": "a", "path": "/a"}]
    for row in needed:
        old.do("data_edges", row)
    old.set(gather, waiting_on=3)
    query = sa.select(tasks.c.waiting_on).where(tasks.c.id == gather)
    assert upgraded(old_database, lambda connection: connection.execute(query).scalar()) == 2


def test_runs_that_wait_for_an_image_are_held(old_database: Database) -> None:
    old = Old(old_database)
    old.run(1, spec_of(image="img", priority=3), "r", states="Q")
    old.run(2, spec_of(image="img"), "r", states="C", ended_at=3.0)
    for run in (1, 2):
        old.do("run_images", {"run_seq": run, "reference": "img", "site": "hpc", "failed": False})

    def ask(connection: sa.Connection) -> None:
        assert connection.execute(sa.select(steps.c.held).order_by(steps.c.seq)).scalars().all() == [True, False]
        [pair] = connection.execute(sa.text("SELECT rank, ready, held FROM step_demands")).all()
        assert tuple(pair) == (-3, 1, 1)
        [demand] = connection.execute(sa.text("SELECT label, image, resources, ready FROM demands")).all()
        assert tuple(demand) == ("old@2 none", "img", '{"cpu_cores":2.0}', 0)

    upgraded(old_database, ask)


def test_tasks_that_ask_for_more_are_counted_by_themselves(old_database: Database) -> None:
    old = Old(old_database)
    old.run(1, spec_of(), "rrr", states="QQQ")
    old.set(TASKS_PER_RUN + 1, overrides='{"ram_gb":9}')

    def ask(connection: sa.Connection) -> None:
        found = connection.execute(sa.text("SELECT resources, ready FROM demands ORDER BY seq")).all()
        assert [(json.loads(row.resources), row.ready) for row in found] == [
            ({"cpu_cores": 2}, 2),
            ({"cpu_cores": 2, "ram_gb": 9}, 1),
        ]

    upgraded(old_database, ask)


@pytest.mark.parametrize("spec", ["not JSON", '{"kind": "new"}', '{"kind": "app", "manifest": {}}', "[]"])
def test_a_run_that_is_not_understood_is_kept(old_database: Database, spec: str) -> None:
    old = Old(old_database)
    old.run(1, spec, "rt", states="QC")
    old.run(2, spec_of(), "r", states="Q")

    def ask(connection: sa.Connection) -> None:
        odd, good = steps_of_run(connection, 1), steps_of_run(connection, 2)
        assert [(step.spec, step.held, step.tasks) for step in odd] == [(spec, True, 2)]
        assert [step.held for step in good] == [False]
        counts = {(row.run_seq, row.state): row.tasks for row in connection.execute(sa.select(step_counts))}
        assert counts == {(1, "QUEUED"): 1, (1, "COMPLETE"): 1, (2, "QUEUED"): 1}

    upgraded(old_database, ask)


def test_a_large_run_costs_no_more_statements_than_a_small_one(old_database: Database) -> None:
    old = Old(old_database)
    old.run(1, spec_of(), "r" * 2, states="QC")
    ten = " UNION ALL ".join(f"SELECT {n} AS x" for n in range(10))
    many = f"SELECT {TASKS_PER_RUN + 2} + a.x + 10 * b.x + 100 * c.x + 1000 * d.x, 'row', 'QUEUED', :none, 0, 0, 0"
    many += "".join(f"{word} ({ten}) {name}" for word, name in zip([" FROM", ",", ",", ","], "abcd", strict=True))
    with old_database.write() as connection:
        columns = "id, role, state, params, waiting_on, attempt, not_before"
        connection.execute(sa.text(f"INSERT INTO tasks ({columns}) {many}"), {"none": "{}"})
    statements: list[str] = []
    sa.event.listen(old_database.engine, "before_cursor_execute", lambda c, u, text, *rest: statements.append(text))
    ensure_schema(old_database)
    assert len(statements) < 150
    with old_database.read() as connection:
        assert connection.execute(sa.text("SELECT ready FROM demands")).scalar() == 10_001
