"""Output paths with placeholders and wildcards, through the engine, with real processes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.client import Client
from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.submitted import task_run
from packhorse.domain.views import RunView
from packhorse.engine.embedded import Embedded
from tests.fixtures.commandline import packhorse_here
from tests.fixtures.room import wait_for
from tests.fixtures.truth import assert_each_ended_once


@pytest.fixture
def room(home: Path) -> Iterator[Embedded]:
    made = Embedded(home, linger_s=0.5)
    with made.run_engine():
        yield made
    assert_each_ended_once(made)
    made.close()


def end_of(room: Embedded, run: RunView) -> RunView:
    wait_for(lambda: room.mine.run(run.id).ended, 40, "the run's end")
    return room.mine.run(run.id)


def app_of(folder: Path, script: str, outputs: str, more: str = "") -> str:
    (folder / "app").mkdir()
    head = "packhorse: 1\nname: paths\nversion: '1'\nparameters:\n  s: {}\n  n: {type: number, optional: true}\n"
    command = f"command: {json.dumps(['/bin/sh', '-c', script, '{s}', '{task}'])}\n"
    (folder / "app" / "app.yaml").write_text(f"{head}{command}outputs:\n{outputs}{more}")
    return str(folder / "app")


def packhorse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PACKHORSE_HOME": str(folder / "home")}
    return packhorse_here(*arguments, environment=environment, folder=folder)


def files(room: Embedded, run: RunView, index: int) -> list[str]:
    return [str(file["path"]) for file in room.mine.task(f"{run.id}.{index}").attempts[0].files]


@pytest.mark.parametrize("session", ["none", "shell"])
def test_every_row_has_its_own_paths(room: Embedded, tmp_path: Path, session: str) -> None:
    script = 'mkdir -p "$(dirname "$0.txt")" "$1"; echo "$0" > "$0.txt"; echo > "$1/{{x}}"; echo > n'
    outputs = "  named: {path: '{s}.txt'}\n  whole: {path: '{task}/{{x}}'}\n  n: {path: 'n{n}'}\n"
    app = app_of(tmp_path, script, outputs, f"session: {session}\n")
    values = ["A", "a*b", "deep/er", "é ü", "{s}", "..."]
    run = end_of(room, room.mine.submit(AppRun(app=app), [{"s": value} for value in values]))
    assert run.counts == {TaskState.COMPLETE: len(values)}, room.mine.task(f"{run.id}.0").reason
    for index, value in enumerate(values):
        assert files(room, run, index) == [f"{value}.txt", f"{run.id}.{index}/{{x}}", "n"]
        assert room.mine.output_path(f"{run.id}.{index}", f"{value}.txt").read_text() == f"{value}\n"
        document = room.mine.task(f"{run.id}.{index}").document
        assert [output["path"] for output in document["outputs"]] == files(room, run, index)
        assert [output["path"] for output in document["logs"][0]["outputs"]] == files(room, run, index)


def test_wildcards_match_what_is_there_and_one_that_matches_nothing_is_a_missing_output(
    room: Embedded, tmp_path: Path
) -> None:
    script = (
        'for i in 1 2 3; do echo $i > "$0-$i.bam"; done; mkdir d; echo > d/x; echo > .hidden.bam; echo > other.bam;'
        ' echo > "*.log"'
    )
    outputs = (
        "  parts: {path: '{s}-[12].bam'}\n  folder: {path: '?/x'}\n  log: {path: '\\*.log'}\n  no: {path: '*.none',"
        " optional: true}\n"
    )
    outputs = outputs.replace("  no:", "  none:")
    app = app_of(tmp_path, script, outputs)
    run = end_of(room, room.mine.submit(AppRun(app=app), [{"s": "A"}, {"s": "[12]"}, {"s": "*"}]))
    assert run.counts == {TaskState.COMPLETE: 3}
    for index, value in enumerate(("A", "[12]", "*")):
        assert files(room, run, index) == [f"{value}-1.bam", f"{value}-2.bam", "d/x", "*.log"]
    task = task_run({"executors": [{"command": ["true"]}], "outputs": [{"path": "*.bam"}]})
    failed = end_of(room, room.mine.submit(task))
    assert failed.counts == {TaskState.EXECUTOR_ERROR: 1}
    assert "matches *.bam" in (room.mine.task(f"{failed.id}.0").reason or "")


def test_gathered_files_by_pattern_and_matches_as_inputs_of_other_tasks(room: Embedded, tmp_path: Path) -> None:
    gather = (
        "gather:\n  command: [/bin/sh, -c, 'mkdir o; echo 1 > o/a.txt; echo 2 > o/b.txt; echo $0 > $0.id', '{run}']\n"
        "  outputs:\n    parts: {path: 'o/*.txt'}\n    id: {path: '{run}.id'}\n    none: {path: none, optional: true}\n"
    )
    app = app_of(tmp_path, "true", "  none: {path: x, optional: true}\n", gather)
    run = end_of(room, room.mine.submit(AppRun(app=app), [{"s": "A"}]))
    found = room.mine.gathered(run.id)
    assert {name: path.read_text() for name, path in found.items()} == {
        "parts/a.txt": "1\n",
        "parts/b.txt": "2\n",
        "id": f"{run.id}\n",
    }
    tasks: list[dict[str, Any]] = [
        {
            "name": "a", "executors": [{"command": ["/bin/sh", "-c", "echo 1 > p-1; echo 2 > 'p*'"]}],
            "outputs": [{"path": "p-?"}, {"path": r"p\*"}],
        },
        {
            "name": "b", "executors": [{"command": ["cat", "x", "y"]}],
            "inputs": [{"path": "x", "url": "task://a/p-1"}, {"path": "y", "url": "task://a/p*"}],
        },
    ]  # fmt: skip
    run = end_of(room, room.mine.submit(task_run(tasks)))
    assert run.counts == {TaskState.COMPLETE: 2}
    assert room.mine.log(f"{run.id}.1", "stdout").data == b"1\n2\n"


def test_a_tes_task_by_itself_at_the_command_line_and_in_python(tmp_path: Path) -> None:
    document: dict[str, Any] = {
        "name": "two words",
        "executors": [{"command": ["/bin/sh", "-c", "echo 1 > a.txt; pwd"]}],
        "volumes": ["v/w"],
    }
    document["outputs"] = [{"path": "*.txt", "path_prefix": "", "url": f"file://{tmp_path}/to"}]
    (tmp_path / "task.json").write_text(json.dumps(document))
    done = packhorse(tmp_path, "run", "--tasks", "task.json", "--tag", "x=y")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "to" / "a.txt").read_text() == "1\n"
    (tmp_path / "wrong.json").write_text(json.dumps({**document, "executors": [{"image": "x"}]}))
    done = packhorse(tmp_path, "run", "--tasks", "wrong.json")
    assert done.returncode == 2 and "field 'executors[0].command': is required and missing." in done.stderr
    absolute = {"executors": [{"command": ["true"]}], "outputs": [{"path": "/data/x"}]}
    (tmp_path / "absolute.yaml").write_text(json.dumps(absolute))
    done = packhorse(tmp_path, "run", "--tasks", "absolute.yaml")
    assert done.returncode == 2 and "is absolute, which needs a container. Name an 'image'" in done.stderr
    with Client(home=tmp_path / "home") as client:
        run = client.run_tasks(document).wait()
        assert (run.view.name, run.view.counts) == ("two words", {TaskState.COMPLETE: 1})


def test_an_image_that_is_a_folder_beside_the_manifest_or_here_is_refused(tmp_path: Path) -> None:
    app = Path(app_of(tmp_path, "true", "  x: {path: x}\n", "image: rootfs\n"))
    (app / "rootfs").mkdir()
    done = packhorse(tmp_path, "apps", "check", str(app))
    assert (
        done.returncode == 2
        and "there is a file or folder of that name in" in done.stderr
        and "Push an OCI image there" in done.stderr
    )
    (app / "app.yaml").write_text((app / "app.yaml").read_text().replace("image: rootfs", "image: rootfs:1"))
    assert packhorse(tmp_path, "apps", "check", str(app)).returncode == 0
    (tmp_path / "tool").mkdir()
    for image in ("tool", "tool/", "./tool", "tool.sif"):
        done = packhorse(tmp_path, "run", str(app), "--image", image)
        assert done.returncode == 2 and "images come from a registry. Name it as a registry does" in done.stderr, (
            done.stderr
        )


def test_a_file_by_its_url_and_a_percent_sign_in_a_path(room: Embedded, tmp_path: Path) -> None:
    """A ``file://`` URL is percent-decoded, as a parameter and as an input; a path is as it is."""
    (tmp_path / "a b%41").write_text("odd\n")
    app = tmp_path / "app"
    app.mkdir()
    head = "packhorse: 1\nname: f\nversion: '1'\ncommand: [cat, '{f}']\nparameters: {f: {type: file}}\n"
    (app / "app.yaml").write_text(f"{head}outputs: {{said: {{from: stdout, type: text}}}}\n")
    rows = [{"f": f"file://{tmp_path}/a%20b%2541"}, {"f": f"{tmp_path}/a b%41"}]
    run = end_of(room, room.mine.submit(AppRun(app=str(app)), rows))
    assert [row["result"] for row in room.mine.results(run.id)] == ["odd", "odd"]
    inputs = [{"path": "x", "url": rows[0]["f"]}]
    run = end_of(room, room.mine.submit(task_run({"executors": [{"command": ["cat", "x"]}], "inputs": inputs})))
    assert room.mine.log(f"{run.id}.0", "stdout").data == b"odd\n"
