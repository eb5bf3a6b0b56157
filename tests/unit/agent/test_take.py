"""What an earlier task left is looked at, and given to another: whole, or not at all."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from packhorse.agent.background import take as taking
from packhorse.agent.background.take import main, try_to_take
from packhorse.agent.sums import stamp_of, sum_of


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The outputs of a task: a file, a folder, and a link between them."""
    folder = tmp_path / "runs" / "old" / "0"
    (folder / "index" / "deep").mkdir(parents=True)
    (folder / "out").write_bytes(b"text\n")
    (folder / "index" / "deep" / "a").write_bytes(b"a")
    (folder / "index" / "link").symlink_to("../out")
    return folder


def wanted(left: Path) -> dict[str, Any]:
    files = [
        {
            "path": name,
            "size": size,
            "sha256": sum_of(os.fsencode(left / name)),
            "stamp": stamp_of(os.fsencode(left / name)),
        }
        for name, size in (("out", 5), ("index", 1))
    ]
    return {"from": str(left), "to": str(left.parents[1] / "new" / "7"), "files": files}


def test_each_file_gets_another_name_and_outlives_the_first(left: Path) -> None:
    request = wanted(left)
    stamps = try_to_take(request)
    new = Path(request["to"])
    assert stamps == [stamp_of(os.fsencode(new / name)) for name in ("out", "index")]
    assert (new / "out").samefile(left / "out") and (new / "index" / "link").readlink() == Path("../out")
    (left / "out").unlink()
    assert (new / "out").read_bytes() == b"text\n"
    assert sum_of(os.fsencode(new / "index")) == request["files"][1]["sha256"]


def test_it_may_be_done_again_and_what_was_begun_is_replaced(left: Path) -> None:
    request = wanted(left)
    new = Path(request["to"])
    (new.parent / "7.part").mkdir(parents=True)
    new.mkdir()
    (new / "other").touch()
    assert isinstance(try_to_take(request), list)
    assert isinstance(try_to_take(request), list)
    assert sorted(path.name for path in new.iterdir()) == ["index", "out"]
    assert [path.name for path in new.parent.iterdir()] == ["7"]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("out", None, "'out' is gone (No such file or directory)"),
        ("out", b"longer\n", "'out' has 7 bytes now, and 5 were left"),
        ("out", b"TEXT\n", "'out' has another content now: its checksum differs"),
        ("index/deep/a", None, "'index' has another content now: its checksum differs"),
        ("index/deep/a", b"b", "'index' has another content now: its checksum differs"),
        ("index/more", b"", "'index' has another content now: its checksum differs"),
    ],
)
def test_what_is_gone_or_damaged_is_not_given(left: Path, name: str, content: bytes | None, why: str) -> None:
    request = wanted(left)
    path = left / name
    before = path.stat() if path.exists() else None
    path.unlink() if content is None else path.write_bytes(content)
    if before is not None and content is not None:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert try_to_take(request) == why
    assert not Path(request["to"]).exists()


def test_what_nobody_has_written_to_is_not_read_again(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def noted(path: bytes) -> str:
        read.append(path)
        return sum_of(path)

    monkeypatch.setattr(taking, "sum_of", noted)
    first = wanted(left)
    stamps = try_to_take(first)
    assert isinstance(stamps, list) and read == []
    files = [{**file, "stamp": stamp} for file, stamp in zip(first["files"], stamps, strict=True)]
    again = {"from": first["to"], "to": f"{first['to']}-again", "files": files}
    assert isinstance(try_to_take(again), list) and read == [], "what was taken is taken from there"
    (left / "out").touch()
    (left / "index" / "deep" / "a").chmod(0o600)
    assert isinstance(try_to_take(first), list), "it has the content that it had"
    assert read == [os.fsencode(left / name) for name in ("out", "index")]


def test_the_stamp_of_a_folder_tells_names_links_and_files(left: Path) -> None:
    folder, found = os.fsencode(left / "index"), set()
    for change in (
        lambda: None,
        lambda: (left / "index" / "link").unlink(),
        lambda: (left / "index" / "link").symlink_to("deep"),
        lambda: (left / "index" / "empty").mkdir(),
        lambda: (left / "index" / "deep" / "a").rename(left / "index" / "deep" / "b"),
    ):
        change()
        assert stamp_of(folder) == stamp_of(folder)
        found.add(stamp_of(folder))
    assert len(found) == 5


def test_a_link_that_leads_elsewhere_changes_the_checksum_of_its_folder(left: Path) -> None:
    request = wanted(left)
    (left / "index" / "link").unlink()
    (left / "index" / "link").symlink_to("deep")
    assert try_to_take(request) == "'index' has another content now: its checksum differs"


def test_answers_come_in_order(
    left: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = {**wanted(left), "from": str(tmp_path / "nowhere"), "to": str(tmp_path / "runs" / "new" / "8"), "level": 1}
    last = {**wanted(left), "to": str(tmp_path / "runs" / "new" / "9"), "level": 2}
    asked = "".join(f"{json.dumps(one)}\n" for one in (wanted(left), gone, {**wanted(left), "level": 1}, last))
    monkeypatch.setattr("sys.stdin", io.StringIO(asked))
    monkeypatch.setattr("os.nice", lambda _: 0)
    assert main() == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answers[1], answers[3]] == ["'out' is gone (No such file or directory)", False]
    assert [len(answers[0]), len(answers[2])] == [2, 2], "what is on the same level does not depend on it"
    assert not Path(last["to"]).exists()
