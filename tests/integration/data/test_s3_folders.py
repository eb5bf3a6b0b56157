"""Folders of S3 as inputs of TES tasks: all that lies below a prefix, as a folder that nobody can write to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.submitted import task_run
from packhorse.engine.data import s3folders
from packhorse.engine.embedded import Embedded
from tests.fixtures.s3server import S3Server

from .rooms import end_of, first_task, running


def task(url: str, command: str = "cat refs/a.txt refs/sub/b.txt; ls refs refs/sub | wc -l", **more: Any) -> Any:
    inputs = [{"path": "refs", "url": url, "type": "DIRECTORY"}]
    executor = {"command": ["sh", "-c", command], "stdout": "out.txt"}
    return task_run({"inputs": inputs, "outputs": [{"path": "out.txt"}], "executors": [executor], **more})


def output(room: Embedded, run: Any) -> str:
    return room.mine.output_path(f"{run.id}.0", "out.txt").read_text()


def test_a_folder_comes_whole_and_as_it_is_then(s3: S3Server, home: Path) -> None:
    bucket = s3.bucket("folders")
    for key, text in {
        "refs/a.txt": "a\n",
        "refs/sub/b.txt": "b\n",
        "refs/": "",
        "refsother/x": "x",
        "x y/é.txt": "é",
    }.items():
        s3.client.put_object(Bucket=bucket, Key=key, Body=text.encode())
    with running(home, data=s3.config) as room:
        first = room.mine.submit(task(f"s3://{bucket}/refs/"))
        assert end_of(room, first).counts == {"COMPLETE": 1}, first_task(room, first).reason
        assert output(room, first).split() == ["a", "b", "6"]
        s3.client.put_object(Bucket=bucket, Key="refs/a.txt", Body=b"new\n")
        again = room.mine.submit(task(f"s3://{bucket}/refs"))
        end_of(room, again)
        assert output(room, again).split()[0] == "new", "another run has it as it is by then"
        odd = room.mine.submit(task(f"s3://{bucket}/x%20y", "cat refs/é.txt; touch refs/mine || echo no"))
        assert end_of(room, odd).counts == {"COMPLETE": 1}
        assert output(room, odd).startswith("é")
        assert not list((home / "site" / "cache" / ".partial").glob("*-folder*")), "nothing is left of its way"


@pytest.mark.parametrize(
    ("keys", "why"),
    [([], "nothing below it"), (["refs/../x"], "a name that no file can have"), (["refs/1", "refs/2"], "more than 1")],
)  # fmt: skip
def test_what_is_no_folder_fails_with_the_reason(
    s3: S3Server, home: Path, keys: list[str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.bucket(f"bad-folders-{len(keys)}")
    for key in keys:
        s3.client.put_object(Bucket=bucket, Key=key, Body=b"x")
    monkeypatch.setattr(s3folders, "MAX_OBJECTS", 1)
    with running(home, data=s3.config) as room:
        run = room.mine.submit(task(f"s3://{bucket}/refs"))
        assert end_of(room, run).counts == {"SYSTEM_ERROR": 1}
        assert why in str(first_task(room, run).reason)


@pytest.mark.parametrize(
    ("url", "why"),
    [("https://host/refs/", "from s3:// only"), ("shock://h/node/1", "from s3:// only"), ("s3://bucket/", "no object")],
)  # fmt: skip
def test_other_folders_are_refused(home: Path, url: str, why: str) -> None:
    room = Embedded(home)
    with pytest.raises(InvalidRequest) as refused:
        room.mine.submit(task(url))
    assert why in str(refused.value)
    room.close()
