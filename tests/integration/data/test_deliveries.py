"""Outputs that go to URLs: a task is complete when they are there, and is not executed again for them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.config import DataConfig, ShockConfig
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.run import AppRun, NamedTask, TaskRun
from packhorse.domain.states import TaskState
from packhorse.domain.users import User
from packhorse.domain.views import RunView
from packhorse.engine.embedded import Embedded
from tests.fixtures.room import EngineProcess, wait_for
from tests.fixtures.s3server import S3Server
from tests.fixtures.shockserver import ShockServer
from tests.fixtures.truth import assert_each_ended_once
from tests.fixtures.webserver import WebServer

from .rooms import DATA, end_of, first_task, running, sha


@pytest.fixture
def config(s3: S3Server, shock_config: ShockConfig) -> DataConfig:
    return s3.config.model_copy(update={"shock": {"shock.test": shock_config}})


@pytest.fixture
def room(home: Path, config: DataConfig) -> Iterator[Embedded]:
    with running(home, data=config) as room:
        yield room


def submit_task(room: Embedded, script: str, *outputs: dict[str, Any]) -> RunView:
    task = {"executors": [{"command": ["/bin/sh", "-c", script]}], "outputs": list(outputs)}
    return room.mine.submit(TaskRun(tasks=[NamedTask.model_validate({"name": "t", "task": task})]))


def writing_app(folder: Path) -> str:
    app = folder / "app"
    app.mkdir()
    (app / "app.yaml").write_text(
        "packhorse: 1\nname: write\nversion: '1'\ncommand: [/bin/sh, -c, 'echo $0 > o.txt; mkdir d; echo $0 > \"d/e"
        " f\"', '{i}']\nparameters:\n  i: {type: integer}\noutputs:\n  o: {path: o.txt}\n  d: {path: d}\n"
    )
    return str(app)


def test_outputs_of_an_app_lie_below_a_prefix_with_their_checksums(
    room: Embedded, s3: S3Server, tmp_path: Path
) -> None:
    bucket = s3.bucket("results")
    request = AppRun(app=writing_app(tmp_path), over=[{"i": 0}, {"i": 1}], outputs=f"s3://{bucket}/my/prefix/")
    run = end_of(room, room.mine.submit(request))
    assert run.counts == {TaskState.COMPLETE: 2}
    keys = [item["Key"] for item in s3.client.list_objects_v2(Bucket=bucket)["Contents"]]
    there = {key: s3.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}
    assert there == {
        f"my/prefix/{run.id}/{index}/{path}": f"{index}\n".encode() for index in (0, 1) for path in ("o.txt", "d/e f")
    }
    task = room.mine.task(f"{run.id}.1")
    assert sorted(task.attempts[0].files, key=lambda file: str(file["path"])) == [
        {"path": path, "size": 2, "sha256": sha(b"1\n"), "url": f"s3://{bucket}/my/prefix/{run.id}/1/{name}"}
        for path, name in (("d/e f", "d/e%20f"), ("o.txt", "o.txt"))
    ]
    assert len(task.attempts) == 1 and task.reason is None


def test_outputs_of_a_task_go_to_files_and_to_shock(room: Embedded, shock: ShockServer, tmp_path: Path) -> None:
    outputs = [
        {"path": "a", "url": f"file://{tmp_path}/out/a"},
        {"path": "b", "url": "shock://shock.test/node"},
        {"path": "c"},
    ]
    run = end_of(room, submit_task(room, "echo a > a; echo b > b; echo c > c", *outputs))
    assert run.counts == {TaskState.COMPLETE: 1}
    assert (tmp_path / "out" / "a").read_text() == "a\n"
    [(node, (name, data))] = shock.nodes.items()
    assert (name, data) == ("b", b"b\n")
    detail = first_task(room, run)
    assert [file.get("url") for file in detail.attempts[0].files] == [
        f"file://{tmp_path}/out/a",
        f"shock://shock.test/node/{node}",
        None,
    ]
    urls = {output["path"]: output["url"] for output in detail.document["logs"][0]["outputs"]}
    assert urls["b"] == f"shock://shock.test/node/{node}"


def test_a_delivery_that_cannot_be_made_fails_the_task_without_a_second_execution(
    room: Embedded, tmp_path: Path
) -> None:
    witness = tmp_path / "witness"
    run = end_of(
        room, submit_task(room, f"echo x >> {witness}; echo x > o", {"path": "o", "url": "s3://no-such-bucket/o"})
    )
    task = first_task(room, run)
    assert (task.state, task.failure, len(task.attempts)) == (TaskState.SYSTEM_ERROR, "staging", 1)
    assert (
        task.reason
        == "It has finished, but its output 'o' could not be delivered to s3://no-such-bucket/o: S3, bucket 'no-such-bucket', says NoSuchBucket: there is no such object or bucket."  # noqa: E501
    )
    assert witness.read_text() == "x\n"


def test_a_target_that_is_away_is_waited_for_while_the_allocation_ends(room: Embedded, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder is to be")
    run = submit_task(room, "echo x > o", {"path": "o", "url": f"file://{blocked}/o"})
    wait_for(lambda: "did not get to file://" in (first_task(room, run).reason or ""), 30, "a reason that says so")
    allocations = "select count(*) from allocations where state <> 'ENDED'"
    with sqlite3.connect(room.home / "packhorse.db") as connection:
        wait_for(lambda: connection.execute(allocations).fetchone() == (0,), 30, "the allocation's end")
    task = first_task(room, run)
    assert (task.state, task.ended_at) == (TaskState.RUNNING, None)
    blocked.unlink()
    assert end_of(room, run).counts == {TaskState.COMPLETE: 1}
    assert (blocked / "o").read_text() == "x\n" and len(first_task(room, run).attempts) == 1


def test_a_cancel_while_outputs_are_on_their_way(room: Embedded, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder is to be")
    run = submit_task(room, "echo x > o", {"path": "o", "url": f"file://{blocked}/o"})
    wait_for(lambda: "did not get to file://" in (first_task(room, run).reason or ""), 30, "a reason that says so")
    room.mine.cancel_run(run.id)
    assert end_of(room, run).counts == {TaskState.CANCELED: 1}
    assert first_task(room, run).reason == "It had finished when the cancel arrived; its outputs are not delivered."


def test_where_outputs_cannot_go_is_refused(home: Path, tmp_path: Path) -> None:
    app = writing_app(tmp_path)
    room = Embedded(
        home, app_folders=[tmp_path], data_roots=[tmp_path / "data"], data=DataConfig(output_urls=["s3://ours/x"])
    )
    somebody = User("somebody", admin=False)
    cases = [
        (room.user, app, "ftp://h/x", "Known are s3://, shock:// and file://"),
        (room.user, app, "file:///etc/x", "outside those that this server may use"),
        (room.user, app, "file://relative/../x", "names no absolute path"),
        (room.user, app, "s3://BAD/", "cannot be one"),
        (room.user, app, "s3://key:pass@ours/", "carries a name or a password"),
        (somebody, "write", "s3://theirs/x", "delivers no outputs of its users"),
        (somebody, "write", "s3://ours/xyz", "delivers no outputs of its users"),
    ]
    for user, name, url, says in cases:
        with pytest.raises(InvalidRequest) as refused:
            room.service.as_user(user).submit(AppRun(app=name, over=[{"i": 1}], outputs=url))
        assert says in str(refused.value), json.dumps([url, str(refused.value)])
    room.service.as_user(somebody).submit(AppRun(app="write", over=[{"i": 1}], outputs="s3://ours/x/y"))
    room.close()


@pytest.mark.parametrize("step", [17, 20, 23])
def test_an_engine_that_dies_on_the_way_loses_and_repeats_nothing(
    home: Path, web: WebServer, tmp_path: Path, step: int
) -> None:
    """After a commit or a change of the site's files between the end of the input's fetch and the delivery of the
    output.
    """
    witness, web.files["/x"] = tmp_path / "witness", DATA
    app = tmp_path / "app"
    app.mkdir()
    command = f"[/bin/sh, -c, 'echo x >> {witness}; cp $0 o', '{{f}}']"
    text = (
        f"packhorse: 1\nname: o\nversion: '1'\ncommand: {command}\nparameters:\n  f: {{type: file}}\noutputs:\n  o:"
        " {path: o}\n"
    )
    (app / "app.yaml").write_text(text)
    room = Embedded(home)
    request = AppRun(app=str(app), over=[{"f": web.url("/x")}], outputs=f"file://{tmp_path}/out")
    run = room.mine.submit(request)
    with EngineProcess(home, crash_at=step) as engine:
        assert engine.wait() < 0
    with EngineProcess(home):
        assert end_of(room, run).counts == {TaskState.COMPLETE: 1}
    assert_each_ended_once(room)
    assert (tmp_path / "out" / run.id / "0" / "o").read_bytes() == DATA
    assert (witness.read_text(), web.asked["GET /x"]) == ("x\n", 1)
    room.close()
