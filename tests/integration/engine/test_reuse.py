"""Results of earlier tasks, taken where nothing has changed: through a real engine, on both databases."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.users import User
from packhorse.domain.views import RunView, TaskView
from packhorse.engine.embedded import Embedded
from packhorse.store.schema import attempts, steps
from tests.fixtures.room import EngineProcess, wait_for
from tests.fixtures.truth import assert_each_ended_once

COPY = 'echo "$1" >> {witness}; (cat "$2"; echo "$1") > out; wc -c < "$2"'


@pytest.fixture
def room(embedded: Embedded) -> Iterator[Embedded]:
    with embedded.run_engine():
        yield embedded
    assert_each_ended_once(embedded)


class Sample:
    """An app over samples, each a file; how often it ran is seen in ``witness``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "app"
        self.witness = folder / "witness"
        self.files = [folder / f"sample{number}.txt" for number in range(3)]
        for number, file in enumerate(self.files):
            file.write_text(f"content {number}\n")
        self.folder.mkdir()
        self.write()

    def write(self, script: str = COPY, comment: str = "", **fields: Any) -> None:
        """Writes the manifest."""
        text = script.replace("{witness}", str(self.witness)).replace("{", "{{").replace("}", "}}")
        manifest = {
            "packhorse": 1, "name": "copy", "version": "1",
            "command": ["/bin/sh", "-c", text, "copy", "{i}", "{reads}"],
            "parameters": {"i": {"type": "integer"}, "reads": {"type": "file"}},
            "outputs": {"out": {"path": "out"}, "size": {"from": "stdout", "type": "json"}}, **fields,
        }  # fmt: skip
        (self.folder / "app.yaml").write_text(f"# {comment}\n{json.dumps(manifest)}\n")

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [{"i": number, "reads": str(file)} for number, file in enumerate(self.files)]

    def executed(self) -> int:
        """How many tasks ran since the last call."""
        number = len(self.witness.read_text().split()) if self.witness.exists() else 0
        self.witness.unlink(missing_ok=True)
        return number


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return Sample(tmp_path)


def run(room: Embedded, sample: Sample, user: User | None = None, **options: Any) -> RunView:
    request = AppRun(app=str(sample.folder), over=sample.rows, **{"reuse": True, **options})
    user = user or room.user
    started = room.service.as_user(user).submit(request)
    wait_for(lambda: room.service.as_user(user).run(started.id).ended, 60, "the run's end")
    return room.service.as_user(user).run(started.id)


def tasks_of(room: Embedded, view: RunView) -> list[TaskView]:
    return room.mine.tasks(view.id).items


def number_of_attempts(room: Embedded) -> int:
    with room.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(attempts)).scalar_one())


def test_a_run_in_which_nothing_has_changed_executes_nothing(room: Embedded, sample: Sample) -> None:
    first = run(room, sample)
    assert sample.executed() == 3
    before = number_of_attempts(room)
    second = run(room, sample)
    assert (sample.executed(), second.counts) == (0, {TaskState.COMPLETE: 3})
    assert number_of_attempts(room) == before, "what was not executed has no attempt"
    results = [list(room.mine.results(view.id)) for view in (first, second)]
    for old, new in zip(*results, strict=True):
        assert (new["result"], new["params"], new["files"]) == (old["result"], old["params"], old["files"])
    for index in range(3):
        paths = [room.mine.output_path(f"{view.id}.{index}", "out") for view in (first, second)]
        assert paths[0] != paths[1] and paths[0].read_bytes() == paths[1].read_bytes()
    task = room.mine.task(f"{second.id}.1")
    assert [(event.to_state, event.why) for event in task.events] == [
        ("QUEUED", None),
        ("COMPLETE", f"Taken from task {first.id}.1: nothing that matters has changed since."),
    ]
    with room.database.read() as connection:
        wait_for(lambda: not connection.execute(sa.select(steps.c.reuse)).scalar(), 10, "nothing is left to look up")


def why(room: Embedded, task: str) -> str:
    reuse = room.mine.task(task).reuse
    assert reuse is not None
    return reuse.why


def test_only_what_a_changed_sample_concerns_is_executed(room: Embedded, sample: Sample) -> None:
    first = run(room, sample)
    sample.executed()
    sample.files[1].write_text("content X\n")  # as many bytes as before
    second = run(room, sample)
    assert (sample.executed(), second.counts) == (1, {TaskState.COMPLETE: 3})
    assert room.mine.output_path(f"{second.id}.1", "out").read_text() == "content X\n1\n"
    said = f"No earlier result was taken: the nearest task, {first.id}.1, differs in the content of the input 'reads'."
    assert why(room, f"{second.id}.1") == said
    third = run(room, sample)
    assert (sample.executed(), third.counts) == (0, {TaskState.COMPLETE: 3})
    assert [why(room, f"{third.id}.{index}") for index in range(3)] == [
        f"Taken from task {of.id}.{index}: nothing that matters has changed since."
        for index, of in enumerate([first, second, first])
    ]


def test_what_the_manifest_says_besides_does_not_matter_and_its_command_does(room: Embedded, sample: Sample) -> None:
    run(room, sample)
    sample.executed()
    sample.write(comment="changed", title="T", description="D", resources={"ram_gb": 0.5}, retry={"app": 3})
    assert run(room, sample).counts == {TaskState.COMPLETE: 3}
    assert sample.executed() == 0
    (sample.folder / "helper.py").write_text("1")
    run(room, sample)
    assert sample.executed() == 3, "what is in the app's folder"
    (sample.folder / "helper.py").unlink()
    sample.write(COPY + "; true")
    last = run(room, sample)
    assert sample.executed() == 3
    told = room.mine.task(f"{last.id}.0").reuse
    assert told is not None and (told.taken_from, told.differs) == (None, ["the command"])
    assert told.why == f"No earlier result was taken: the nearest task, {told.nearest}, differs in the command."


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda path: path.unlink(), "'out' is gone (No such file or directory)"),
        (lambda path: path.write_text("more\n" * 10), "'out' has 50 bytes now, and 12 were left"),
        (lambda path: path.write_text("content 0\nX\n"), "'out' has another content now: its checksum differs"),
    ],
)
def test_outputs_that_are_gone_or_damaged_are_not_taken(room: Embedded, sample: Sample, damage: Any, what: str) -> None:
    first = run(room, sample)
    sample.executed()
    path = room.mine.output_path(f"{first.id}.0", "out")
    path.chmod(0o644)
    before = path.stat()
    damage(path)
    if path.exists():
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = run(room, sample)
    assert (sample.executed(), second.counts) == (1, {TaskState.COMPLETE: 3})
    assert room.mine.output_path(f"{second.id}.0", "out").read_text() == "content 0\n0\n"
    same = f"task {first.id}.0 has the same key, but its outputs are not as it left them: {what}."
    assert why(room, f"{second.id}.0") == f"No earlier result was taken: {same}"
    third = run(room, sample)
    assert (sample.executed(), third.counts) == (0, {TaskState.COMPLETE: 3})


def test_an_older_result_is_taken_where_the_newest_is_gone(room: Embedded, sample: Sample) -> None:
    first, second = run(room, sample), run(room, sample)
    sample.executed()
    room.mine.output_path(f"{second.id}.0", "out").unlink()
    assert room.mine.output_path(f"{first.id}.0", "out").exists(), "each has a name of its own"
    run(room, sample)
    assert sample.executed() == 0


def test_nobody_is_given_what_another_user_has(room: Embedded, sample: Sample) -> None:
    first = run(room, sample, User("ada", admin=True))
    assert sample.executed() == 3
    second = run(room, sample, User("bob", admin=True))
    assert sample.executed() == 3
    for user, view in (("ada", first), ("bob", second)):
        again = run(room, sample, User(user, admin=True))
        assert why(room, f"{again.id}.0") == f"Taken from task {view.id}.0: nothing that matters has changed since."
    assert sample.executed() == 0


def test_a_run_that_does_not_ask_has_no_keys_and_takes_nothing(room: Embedded, sample: Sample) -> None:
    run(room, sample)
    view = run(room, sample, reuse=None)
    assert sample.executed() == 6
    assert room.mine.task(f"{view.id}.0").reuse is None
    room.sites[0].reuse = True
    run(room, sample, reuse=False)
    assert sample.executed() == 3
    run(room, sample, reuse=None)
    assert sample.executed() == 0, "its site says so"


def test_the_log_of_a_task_that_was_not_executed_is_that_of_the_one_that_was(room: Embedded, sample: Sample) -> None:
    run(room, sample)
    second = run(room, sample)
    third = run(room, sample)
    for view in (second, third):
        assert room.mine.log(f"{view.id}.0", "stdout").data == b"10\n"


def test_an_engine_that_dies_while_it_looks_tasks_up_takes_each_once(home: Path, sample: Sample) -> None:
    room = Embedded(home)
    with room.run_engine():
        run(room, sample)
    sample.executed()
    second = room.mine.submit(AppRun(app=str(sample.folder), over=sample.rows, reuse=True))
    for number in range(1, 7):
        if not room.mine.run(second.id).ended:
            with EngineProcess(home, crash_at=number) as engine:
                wait_for(lambda: engine.process.poll() is not None or room.mine.run(second.id).ended, 60, "its end")
    with room.run_engine():
        wait_for(lambda: room.mine.run(second.id).ended, 60, "the run's end")
    assert (sample.executed(), room.mine.run(second.id).counts) == (0, {TaskState.COMPLETE: 3})
    assert room.mine.output_path(f"{second.id}.0", "out").read_text() == "content 0\n0\n"
    assert_each_ended_once(room)
    room.close()
