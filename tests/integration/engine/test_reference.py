"""Reference data that an app makes: once for each site, whoever wants it; through a real engine, on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.run import AppRun, StepRun
from packhorse.domain.states import TaskState
from packhorse.domain.users import User
from packhorse.domain.views import RunView, TaskDetail
from packhorse.engine.embedded import Embedded
from packhorse.engine.requests.service import UserService
from tests.fixtures.apps import Apps
from tests.fixtures.room import EngineProcess, wait_for
from tests.fixtures.truth import assert_each_ended_once

#: Says that it is there, waits until it may go on, and fails if it is to.
SCRIPT = """echo $$ >> {folder}/made; echo "for $USER"
while [ ! -e {folder}/gate ]; do sleep 0.02; done
[ ! -e {folder}/fail ] || exit 3
(echo database; cat "$1") > db"""


class Database:
    """An app that makes a database of a file; how often it was begun is seen in ``made``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proteins = folder / "proteins.fasta"
        self.proteins.write_text("MKV\n")
        manifest = {
            "packhorse": 1, "name": "database", "version": "1", "reference": True,
            "command": ["/bin/sh", "-c", SCRIPT.replace("{folder}", str(folder)), "database", "{proteins}"],
            "parameters": {"proteins": {"type": "file"}},
            "outputs": {"db": {"path": "db"}, "said": {"from": "stdout", "type": "text"}},
        }  # fmt: skip
        (folder / "database").mkdir()
        (folder / "database" / "app.yaml").write_text(json.dumps(manifest))

    def begun(self) -> int:
        """How many tasks were begun so far."""
        made = self.folder / "made"
        return len(made.read_text().split()) if made.exists() else 0

    def go_on(self) -> None:
        """Lets tasks that were begun go on."""
        (self.folder / "gate").touch()


@pytest.fixture
def room(embedded: Embedded) -> Iterator[Embedded]:
    with embedded.run_engine():
        yield embedded
    assert_each_ended_once(embedded)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path)


def user(room: Embedded, name: str) -> UserService:
    return room.service.as_user(User(name, admin=True))


def submit(room: Embedded, database: Database, name: str, **options: Any) -> RunView:
    params = {"proteins": str(database.proteins)}
    return user(room, name).submit(AppRun(app=str(database.folder / "database"), params=params, **options))


def task_of(room: Embedded, name: str, run: RunView) -> TaskDetail:
    return user(room, name).task(f"{run.id}.0")


def wait_until_it_waits(room: Embedded, name: str, run: RunView) -> None:
    says = "Another task makes the same reference data at this site. It is waited for."
    wait_for(lambda: task_of(room, name, run).reason == says, 60, "that it waits for another")


def end_of(room: Embedded, name: str, run: RunView) -> TaskDetail:
    wait_for(lambda: user(room, name).run(run.id).ended, 60, "the run's end")
    return task_of(room, name, run)


def text_of(room: Embedded, name: str, run: RunView) -> str:
    return user(room, name).output_path(f"{run.id}.0", "db").read_text()


def test_two_users_at_once_have_it_made_once_and_later_runs_take_it(room: Embedded, database: Database) -> None:
    first = submit(room, database, "ada")
    wait_for(database.begun, 60, "that it is being made")
    second, third = submit(room, database, "bob"), submit(room, database, "ada")
    for name, run in (("bob", second), ("ada", third)):
        wait_until_it_waits(room, name, run)
    database.go_on()
    assert end_of(room, "ada", first).state == TaskState.COMPLETE
    for name, run in (("bob", second), ("ada", third), ("bob", submit(room, database, "bob"))):
        task = end_of(room, name, run)
        assert task.state == TaskState.COMPLETE and task.attempts == [] and task.reuse is not None
        assert task.reason == task.reuse.why == "The site has this reference data: it was made before."
        assert text_of(room, name, run) == "database\nMKV\n"
        told = user(room, name).task(f"{run.id}.0").model_dump_json()
        assert run is third or first.id not in told, "nobody is told whose it was"
    assert database.begun() == 1
    assert user(room, "bob").log(f"{second.id}.0", "stdout").data == b"", "nor is another user's log shown"
    assert user(room, "ada").log(f"{third.id}.0", "stdout").data.startswith(b"for")


def cancel(room: Embedded, database: Database, run: RunView) -> None:
    user(room, "ada").cancel_run(run.id)


def fail(room: Embedded, database: Database, run: RunView) -> None:
    (database.folder / "fail").touch()
    database.go_on()
    wait_for(lambda: user(room, "ada").run(run.id).ended, 60, "the run's end")
    (database.folder / "fail").unlink()


@pytest.mark.parametrize("end", [cancel, fail])
def test_where_it_is_not_made_the_next_one_makes_it(
    room: Embedded, database: Database, end: Callable[[Embedded, Database, RunView], None]
) -> None:
    first = submit(room, database, "ada")
    wait_for(database.begun, 60, "that it is being made")
    others = [submit(room, database, name) for name in ("bob", "eve")]
    for name, run in zip(("bob", "eve"), others, strict=True):
        wait_until_it_waits(room, name, run)
    if end is fail:
        (database.folder / "gate").unlink(missing_ok=True)
    end(room, database, first)
    database.go_on()
    ends = [end_of(room, name, run) for name, run in zip(("bob", "eve"), others, strict=True)]
    assert {task.state for task in ends} == {TaskState.COMPLETE}
    assert sorted(len(task.attempts) for task in ends) == [0, 1] and database.begun() == 2


def test_it_is_made_of_what_its_key_says_though_the_file_changes_meanwhile(room: Embedded, database: Database) -> None:
    """Else who changes a file of theirs in time would make everybody's database."""
    first = submit(room, database, "ada")
    wait_for(database.begun, 60, "that it is being made")
    database.proteins.write_text("EVIL\n")
    database.go_on()
    assert end_of(room, "ada", first).state == TaskState.COMPLETE
    database.proteins.write_text("MKV\n")
    second = submit(room, database, "bob")
    assert end_of(room, "bob", second).attempts == []
    assert text_of(room, "bob", second) == "database\nMKV\n"


def test_other_content_is_other_data_and_who_wants_everything_executed_is_given_nothing(
    room: Embedded, database: Database
) -> None:
    database.go_on()
    end_of(room, "ada", submit(room, database, "ada"))
    end_of(room, "ada", submit(room, database, "ada", reuse=False))
    assert database.begun() == 2
    end_of(room, "bob", submit(room, database, "bob"))
    assert database.begun() == 2
    database.proteins.write_text("MKL\n")
    other = submit(room, database, "bob")
    end_of(room, "bob", other)
    assert database.begun() == 3 and text_of(room, "bob", other) == "database\nMKL\n"


def test_what_was_changed_where_it_lies_is_made_again(room: Embedded, database: Database) -> None:
    database.go_on()
    first = submit(room, database, "ada")
    end_of(room, "ada", first)
    user(room, "ada").output_path(f"{first.id}.0", "db").write_text("database\nEVL\n")
    second = submit(room, database, "bob")
    task = end_of(room, "bob", second)
    assert task.reuse is not None and first.id not in task.reuse.why
    assert task.reuse.why.startswith("No earlier result was taken: the site had this reference data, but its files are")
    assert text_of(room, "bob", second) == "database\nMKV\n" and database.begun() == 2


def test_of_what_another_task_left_it_is_made_for_that_run_alone(
    room: Embedded, database: Database, tmp_path: Path
) -> None:
    database.go_on()
    apps = Apps(tmp_path)
    steps = [
        {"name": "number", "app": apps.number(), "params": {"i": 1}},
        {"name": "db", "app": str(database.folder / "database"), "inputs": {"proteins": "number.out"}},
    ]
    for name in ("ada", "bob"):
        run = user(room, name).submit(StepRun.model_validate({"steps": steps}))
        end_of(room, name, run)
        task = user(room, name).task(f"{run.id}.1")
        assert task.state == TaskState.COMPLETE and task.reuse is not None
        assert "what another task of a user left is no input of reference data" in task.reuse.why
    assert database.begun() == 2


def test_an_engine_that_dies_while_it_is_made_has_it_made_once(home: Path, database: Database) -> None:
    room = Embedded(home)
    runs = [submit(room, database, name) for name in ("ada", "bob")]
    with EngineProcess(home) as engine:
        wait_for(database.begun, 60, "that it is being made")
        engine.kill()
    with room.run_engine():
        wait_until_it_waits(room, "bob", runs[1])
        database.go_on()
        for name, run in zip(("ada", "bob"), runs, strict=True):
            assert end_of(room, name, run).state == TaskState.COMPLETE
    assert database.begun() == 1
    assert_each_ended_once(room)
    room.close()
