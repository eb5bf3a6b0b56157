"""Declared outputs are kept as a set: all of them whole, or none and the work folder as it was."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from packhorse.agent.outcome import Verdict
from packhorse.agent.slot.outputs.take import take_outputs

from .outputs import ROOT, Task

# -- sets


@pytest.mark.parametrize("order", [1, -1])
def test_outputs_in_each_other_to_any_depth_and_in_any_order(task: Task, order: int) -> None:
    task.write("out/all", "out/deep/er/summary", "out/deep/x", "other")
    paths = ["out", "out/deep", "out/deep/er/summary", "other", "./out//all", "out/deep/"]
    assert task.keep(*paths[::order]) == {
        "out": 7 + 19 + 10,
        "out/deep": 19 + 10,
        "out/deep/er/summary": 19,
        "other": 5,
        "./out//all": 7,
        "out/deep/": 29,
    }
    assert sorted(task.kept()) == [
        "other",
        "out",
        "out/all",
        "out/deep",
        "out/deep/er",
        "out/deep/er/summary",
        "out/deep/x",
    ]
    assert not list(task.work.iterdir())


def test_one_file_under_several_names(task: Task) -> None:
    task.write("table")
    os.link(task.work / "table", task.work / "hard")
    task.link("soft", "table")
    task.link("chain", "soft")
    assert task.keep("soft", "table", "./table", "hard", "chain") == dict.fromkeys(
        ["soft", "table", "./table", "hard", "chain"], 5
    )
    assert {name: (task.out / name).read_text() for name in ("soft", "table", "hard", "chain")} == dict.fromkeys(
        ("soft", "table", "hard", "chain"), "table"
    )
    assert not any(path.is_symlink() for path in task.out.iterdir())


@pytest.mark.parametrize(
    "paths",
    [
        ["run1", "latest"],
        ["latest", "run1"],
        ["latest"],
        ["latest/sub/f", "run1", "latest"],
        ["latest/sub", "run1/sub/f"],
    ],
)
def test_one_folder_under_several_names(task: Task, paths: list[str]) -> None:
    task.write("run1/sub/f")
    task.link("latest", "run1")
    assert task.keep(*paths) == dict.fromkeys(paths, 10)
    for path in paths:
        found = task.out / path
        file = next(place for place in (found / "sub/f", found / "f", found) if place.is_file())
        assert file.read_text() == "run1/sub/f"
        assert found.resolve().is_relative_to(task.out)
    if "run1" in paths:
        assert not (task.out / "run1").is_symlink(), "what has the name really is there"


def test_folders_that_are_reached_through_links(task: Task) -> None:
    task.write("real/deep/f", "real/g")
    task.link("a", "real/deep")
    task.link("b", task.work / "real")
    assert task.keep("a/f", "b/deep", "b/g") == {"a/f": 11, "b/deep": 11, "b/g": 6}
    assert (task.out / "a/f").read_text() == (task.out / "b/deep/f").read_text() == "real/deep/f"


def test_optional_outputs(task: Task) -> None:
    task.write("there")
    optional = [{"path": path, "optional": True} for path in ("gone", "gone/deeper", "there/below")]
    assert task.keep("there", *optional, {"path": "*.log", "glob": True, "optional": True}) == {"there": 5}
    assert sorted(task.kept()) == ["there"]


def test_wildcards_are_outputs_of_their_own(task: Task) -> None:
    task.write("p/a.txt", "p/b.txt", "p/.c.txt", "q/a.txt")
    files = take_outputs(
        str(task.work), {"outputs": [{"path": "*/?.txt", "glob": True}, {"path": "p"}], "out": str(task.out)}
    )
    assert files == [{"path": f"{name}.txt", "size": 7, "glob": "*/?.txt"} for name in ("p/a", "p/b", "q/a")] + [
        {"path": "p", "size": 22}
    ]
    assert sorted(task.kept()) == ["p", "p/.c.txt", "p/a.txt", "p/b.txt", "q", "q/a.txt"]


def test_names_are_bytes(task: Task) -> None:
    odd = os.fsencode(task.work) + b"/d"
    os.mkdir(odd)
    names = [b"caf\xe9.txt", b"new\nline", b"-rf", b"\x1b[31m", "é".encode(), b" "]
    for name in names:
        with open(odd + b"/" + name, "wb") as file:
            file.write(b"x")
    declared = [f"d/{os.fsdecode(name)}" for name in names]
    assert task.keep(*declared, {"path": "d/*", "glob": True}) == dict.fromkeys(declared, 1)
    assert sorted(os.listdir(os.fsencode(task.out) + b"/d")) == sorted(names)
    assert "caf\udce9" in declared[0]


def test_a_later_attempt_replaces_what_an_earlier_left(task: Task) -> None:
    task.write("out/f", "out/g")
    task.keep("out")
    for left in (".part/out", ".copies/0", ".old"):  # of one that was killed meanwhile
        Path(f"{task.out}{left}").mkdir(parents=True)
    task.write("out/f", content="new")
    assert task.keep("out", "out/f") == {"out": 3, "out/f": 3}
    assert sorted(task.kept()) == ["out", "out/f"]
    assert task.keep({"path": "out", "optional": True}) == {} and not task.out.exists()


# -- refusals: all are named, and nothing moves


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "an empty path is not a relative path"),
        ("/etc/passwd", "not a relative path"),
        ("a/../b", "not a relative path"),
        (".", "the work folder itself"),
        ("./", "the work folder itself"),
        ("a\0b", "not a relative path"),
        ("\ud800", "no name that a file can have"),
        ("itself", "itself is a link to the work folder itself"),
        ("away", "away leads out of the work folder, to /etc"),
        ("away/passwd", "away/passwd leads out of the work folder, to /etc/passwd"),
        ("nothing", "nothing is a link to nothing (gone)"),
        ("loop", "loop is a link that leads back to itself"),
        ("loop/x", "loop/x is a link that leads back to itself"),
        ("gone", "the task left no gone (it left away, fifo, here, itself, loop, nothing)"),
        ("here/x", "the task left no here/x"),
        ("fifo", "fifo is a named pipe (fifo)"),
    ],
)
def test_refusals(task: Task, path: str, words: str) -> None:
    task.write("here")
    task.link("itself", ".")
    task.link("away", "/etc")
    task.link("nothing", "gone")
    task.link("loop", "loop")
    os.mkfifo(task.work / "fifo")
    assert words in task.refuse("here", path)


def test_all_problems_are_named(task: Task) -> None:
    task.write("out/fine", "out/s/deep")
    for number in range(3):
        os.mkfifo(task.work / f"out/s/fifo{number}")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(task.work / "out/sock"))
    task.link("out/null", "/dev/null")
    task.link("out/round", "s/round")
    task.link("out/s/round", "../round")
    task.link("out/none", "s/none")
    task.link("out/home", task.data)
    task.link("out/missing", "/no/such/file")
    task.link("out/\x1b[31m\n", "/etc")
    message = task.refuse("out", "out/fine")
    for said in (
        "out/s/fifo0 is a",
        "out/s/fifo2 is a",
        "out/sock is a socket",
        "out/null leads out of the work folder, to /dev/null",
    ):
        assert said in message
    assert "more" in message
    (task.work / "out/s").rename(task.work / "s")
    (task.work / "out/sock").unlink()
    message = task.refuse("out", "gone")
    assert "the task left no gone (it left out/, s/)" in message
    assert f"out/home leads out of the work folder, to {task.data}" in message
    assert "out/none is a link to nothing (s/none)" in message and "out/round is a link to nothing" in message
    assert "out/missing leads out of the work folder, to /no/such/file, which is not there" in message
    assert "\\x1b[31m\\n leads out of the work folder, to /etc" in message and "\x1b" not in message


@pytest.mark.skipif(not ROOT, reason="only root makes devices")
def test_devices(task: Task) -> None:
    os.seteuid(0)
    (task.work / "out").mkdir()
    os.mknod(task.work / "out/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert "out/null is a device" in task.refuse("out")


def test_a_work_folder_that_has_been_replaced_is_not_followed(task: Task) -> None:
    (task.data / "f").write_text("of somebody else")
    task.work.rmdir()
    task.work.symlink_to(task.data)
    with pytest.raises(Verdict, match="in the place of its work folder"):
        task.keep("f")
    assert (task.data / "f").exists()


def test_relative_and_absolute_outputs_that_want_one_place(task: Task) -> None:
    task.write("data/x", "root/data/x")
    assert "data/x and /data/x would be kept in one place" in task.refuse("data/x", "/data/x", root="root")
    assert "/data and data/x" in task.refuse("/data", "data/x", root="root")
    assert "/ is the work folder itself" in task.refuse("/", root="root")
    assert task.keep("/data", "/data/x", root="root") == {"/data": 11, "/data/x": 11}
