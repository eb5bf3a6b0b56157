"""Results of earlier tasks, taken where nothing has changed: through a real engine, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.views import RunView, TaskView, User
from packhorse.engine.embedded import Embedded
from packhorse.store.schema import attempts, steps
from tests.fixtures.room import wait_for
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
    started = room.service.submit(user, request)
    wait_for(lambda: room.service.run(user, started.id).ended, 60, "the run's end")
    return room.service.run(user, started.id)


def tasks_of(room: Embedded, view: RunView) -> list[TaskView]:
    return room.service.tasks(room.user, view.id).items


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
    results = [list(room.service.results(room.user, view.id)) for view in (first, second)]
    for old, new in zip(*results, strict=True):
        assert (new["result"], new["params"], new["files"]) == (old["result"], old["params"], old["files"])
    for index in range(3):
        paths = [room.service.output_path(room.user, f"{view.id}.{index}", "out") for view in (first, second)]
        assert paths[0] != paths[1] and paths[0].read_bytes() == paths[1].read_bytes()
    task = room.service.task(room.user, f"{second.id}.1")
    assert [(event.to_state, event.why) for event in task.events] == [
        ("QUEUED", None),
        ("COMPLETE", f"Taken from task {first.id}.1: nothing that matters has changed since."),
    ]
    with room.database.read() as connection:
        wait_for(lambda: not connection.execute(sa.select(steps.c.reuse)).scalar(), 10, "nothing is left to look up")
