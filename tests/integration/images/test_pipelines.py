"""Pipelines whose steps run in images: what gathers sees what it gathers; an image that is not there."""

from __future__ import annotations

from pathlib import Path

from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from tests.fixtures.pipelines import PIPELINE, samples, similarity, write_expression
from tests.fixtures.registry import registry

from .conftest import Hub
from .rooms import Room, container_site, opened, room

__all__ = ["registry", "room"]

GATHER = """
packhorse: 1
name: matrix
version: "1.0"
image: packhorse/box:1
command: [sh, -c, 'for bam in $(sed "s/.*\\"bam\\":\\"//; s/\\".*//" "$0"); do cat "$bam"; done > table.txt', "{rows}"]
parameters:
  rows: {type: file}
  title: {}
outputs:
  table: {path: table.txt}
"""


def test_what_gathers_in_a_container_sees_the_files_that_it_is_told_of(room: Room, tmp_path: Path) -> None:
    pipeline = write_expression(tmp_path / "p", PIPELINE.replace("gather: count", "gather: align"))
    (pipeline / "matrix" / "app.yaml").write_text(GATHER)
    mine = room.embedded.mine
    rows, params = samples(tmp_path, "a", "bb"), {"genome": str(tmp_path / "genome.txt")}
    run = mine.submit(AppRun(app=str(pipeline), over=rows, params=params))
    room.complete(run)
    assert mine.gathered(run.id)["table"].read_text() == "one two three\na\none two three\nb b\n"


def test_a_step_whose_image_does_not_exist_fails_by_itself_and_the_steps_before_it_go_on(
    hub: Hub, tmp_path: Path
) -> None:
    site = container_site("charliecloud", tmp_path / "site", image_patience_s=0.0)
    pipeline = write_expression(tmp_path / "p")
    count = pipeline / "count" / "app.yaml"
    count.write_text(count.read_text() + "image: lab/tool:10\n")
    rows, params = samples(tmp_path, "a", "bb"), {"genome": str(tmp_path / "genome.txt")}
    with opened(site, tmp_path / "home", hub.address, "127.0.0.1:1", default=hub.address) as room:
        run = room.embedded.mine.submit(AppRun(app=str(pipeline), over=rows, params=params))
        assert room.end(run) == {TaskState.COMPLETE: 3, TaskState.SYSTEM_ERROR: 3}
        told = [room.task(run, index) for index in range(6)]
        assert [task.failure for task in told] == [None, None, None, "image", "image", "upstream"]
        assert all("has no tag '10'" in (task.reason or "") for task in told[3:5])


def test_tasks_of_a_list_that_come_to_be_when_their_image_is_known_not_to_exist(hub: Hub, tmp_path: Path) -> None:
    site = container_site("charliecloud", tmp_path / "site", image_patience_s=0.0)
    pipeline = similarity(tmp_path / "p")
    search = pipeline / "search" / "app.yaml"
    search.write_text(search.read_text() + "image: lab/tool:10\n")
    with opened(site, tmp_path / "home", hub.address, "127.0.0.1:1", default=hub.address) as room:
        run = room.embedded.mine.submit(AppRun(app=str(pipeline), params={"said": "[1, 2]"}))
        assert room.end(run) == {TaskState.COMPLETE: 1, TaskState.SYSTEM_ERROR: 3}
        told = [room.task(run, index) for index in range(4)]
        assert sorted((task.step, task.failure) for task in told[1:]) == [
            ("merge", "upstream"), ("search", "image"), ("search", "image"),
        ]  # fmt: skip
        assert all("has no tag '10'" in (task.reason or "") for task in told if task.failure == "image")
