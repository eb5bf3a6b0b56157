"""Values of a pipeline that come from what tasks of earlier runs said: through a real engine, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.users import User
from packhorse.domain.views import TaskDetail
from packhorse.engine.embedded import Embedded
from tests.fixtures.pipelines import write_app
from tests.fixtures.room import wait_for

SPLIT = """
    packhorse: 1
    name: split
    version: "1"
    command: [sh, -c, 'echo "$1" >> made; echo "[1, 2, 3]"', split, "{speed}"]
    parameters:
      speed: {type: number, optional: true}
    outputs:
      chunks: {from: stdout, type: json}
"""
SEARCH = """
    packhorse: 1
    name: search
    version: "1"
    command: [sh, -c, 'echo "{{\\"speed\\": $(($1 * $2))}}"', search, "{chunk}", "{factor}"]
    parameters:
      chunk: {type: integer}
      factor: {type: integer}
      tool: {}
    outputs:
      report: {from: stdout, type: json}
"""
PIPELINE = """
    packhorse: 1
    name: searching
    version: "1"
    parameters:
      tool: {default: diamond}
      factor: {type: integer}
      speed: {type: number, optional: true, maximum: 1000, history: {value: search.report.speed, same: [tool]}}
    steps:
      split: {app: ./split, once: true, params: {speed: "{speed}"}}
      search: {app: ./search, over: split.chunks, item: chunk, params: {factor: "{factor}", tool: "{tool}"}}
"""


@pytest.fixture
def room(embedded: Embedded) -> Iterator[Embedded]:
    with embedded.run_engine():
        yield embedded


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    folder = write_app(tmp_path / "searching", PIPELINE)
    write_app(folder / "split", SPLIT)
    write_app(folder / "search", SEARCH)
    return folder


def run(room: Embedded, pipeline: Path, factor: int, user: str = "ada", **said: Any) -> TaskDetail:
    """The task of the step 'split' of a run that has ended."""
    options = {"reuse": said.pop("reuse", None)}
    mine = room.service.as_user(User(user, admin=True))
    started = mine.submit(AppRun(app=str(pipeline), params={"factor": factor, **said}, **options))
    wait_for(lambda: mine.run(started.id).ended, 60, "the run's end")
    assert mine.run(started.id).counts == {TaskState.COMPLETE: 4}
    return mine.task(f"{started.id}.0")


def speed_of(task: TaskDetail) -> Any:
    return (task.params or {}).get("speed")


def test_a_value_is_the_median_of_what_tasks_of_earlier_runs_said(room: Embedded, pipeline: Path) -> None:
    first = run(room, pipeline, 10)
    assert speed_of(first) is None and first.from_history == {"speed": "no earlier run has said one"}
    second = run(room, pipeline, 30)
    assert speed_of(second) == 20
    name = first.id.partition(".")[0]
    assert second.from_history == {"speed": f"estimated from 'speed' of 3 tasks of step 'search' in run {name}"}
    third = run(room, pipeline, 1)
    assert speed_of(third) == 30  # of 10, 20, 30, 30, 60, 90
    assert "of 6 tasks of step 'search' in 2 runs, the last of them" in third.from_history["speed"]


def test_runs_with_other_values_and_of_other_users_say_nothing(room: Embedded, pipeline: Path) -> None:
    run(room, pipeline, 10)
    assert speed_of(run(room, pipeline, 10, tool="blast")) is None
    assert speed_of(run(room, pipeline, 10, user="bob")) is None
    assert speed_of(run(room, pipeline, 10)) == 20


def test_what_is_given_is_taken_and_what_may_not_be_is_not(room: Embedded, pipeline: Path) -> None:
    run(room, pipeline, 600)
    given = run(room, pipeline, 600, speed=7)
    assert speed_of(given) == 7 and given.from_history == {}
    assert speed_of(run(room, pipeline, 1)) is None, "1200 is more than the most"


def test_a_value_of_earlier_runs_makes_nothing_be_executed_again(room: Embedded, pipeline: Path) -> None:
    first = run(room, pipeline, 10, reuse=True)
    second = run(room, pipeline, 10, reuse=True)
    assert (speed_of(first), speed_of(second)) == (None, 20)
    assert second.attempts == [] and second.reuse is not None and second.reuse.taken_from == first.id
    third = run(room, pipeline, 10, reuse=True, speed=5)
    assert len(third.attempts) == 1 and third.reuse is not None
    assert "the value of 'speed' (5.0; it was none)" in third.reuse.why


def test_it_has_one_value_in_a_run(room: Embedded, pipeline: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        room.mine.submit(AppRun(app=str(pipeline), params={"factor": 1}, over=[{"speed": 1}]))
    assert "speed" in str(caught.value.problems[0])
