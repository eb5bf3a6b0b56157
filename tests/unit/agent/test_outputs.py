"""Declared outputs are kept as a set: all of them whole, or none and the work folder as it was."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.agent.outcome import Verdict
from packhorse.agent.removal import remove
from packhorse.agent.slot.outputs.take import take_outputs

from .outputs import ROOT, USERS, Task, picture, place


@pytest.fixture(params=USERS)
def task(request: pytest.FixtureRequest) -> Iterator[Task]:
    with place(request.param) as folder:
        yield Task(folder)


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


# -- links in what is kept


def test_links_to_what_is_kept_stay_links(task: Task) -> None:
    task.write("out/reads.bai", "out/deep/x", "other/y", "other/sub/z")
    task.link("out/inside", "reads.bai")
    task.link("out/deep/up", "../reads.bai")
    task.link("out/chain", "deep/up")
    task.link("out/absolute", task.work / "out/deep/x")
    task.link("out/around", "../out/deep/x")
    task.link("out/self", ".")
    task.link("out/to-other", "../other/y")
    task.link("out/to-folder", task.work / "other")
    task.link("other/sub/back", "../../out/deep")
    task.link("other/through", "../out/to-folder/sub/z")
    task.keep("out", "other")
    assert not list(task.work.iterdir())
    links = {path: look for path, look in task.kept().items() if isinstance(look, str)}
    assert links == {
        "out/inside": "-> reads.bai",
        "out/deep/up": "-> ../reads.bai",
        "out/chain": "-> deep/up",
        "out/absolute": "-> deep/x",
        "out/around": "-> deep/x",
        "out/self": "-> .",
        "out/to-other": "-> ../other/y",
        "out/to-folder": "-> ../other",
        "other/sub/back": "-> ../../out/deep",
        "other/through": "-> sub/z",
    }
    for path in links:
        assert (task.out / path).resolve(strict=True).is_relative_to(task.out)


def test_links_to_other_things_of_the_work_folder_become_their_content(task: Task) -> None:
    task.write("work/reads.bam", "big/a/f", "big/g")
    (task.work / "big/a/f").chmod(0o751)
    os.utime(task.work / "big/a/f", (1, 2))
    task.link("big/up", "a/../g")
    task.link("out/reads.bam", "../work/reads.bam")
    task.link("out/again", task.work / "work/reads.bam")
    task.link("out/big", "../big")
    task.link("out/deep/part", "../../big/a")
    assert task.keep("out", "out/big/g") == {"out": 14 + 7 + 5, "out/big/g": 5}
    assert (task.out / "out/deep/part").readlink() == Path("../big/a"), "what is there already is not copied once more"
    assert (task.out / "out/again").read_text() == (task.out / "out/reads.bam").read_text() == "work/reads.bam"
    assert (task.out / "out/deep/part/f").read_text() == (task.out / "out/big/a/f").read_text() == "big/a/f"
    assert (task.out / "out/big/up").read_text() == "big/g"
    status = (task.out / "out/big/a/f").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o751, 2)


def test_links_that_lead_round_in_circles_come_to_an_end(task: Task) -> None:
    task.write("x/f", "y/g")
    task.link("x/y", "../y")
    task.link("y/x", "../x")
    task.link("x/out", "../out")
    task.link("out/x", "../x")
    task.write("out/h")
    task.keep("out")
    for path in ("out/x/f", "out/x/y/g", "out/x/y/x/f", "out/x/out/h"):
        assert (task.out / path).is_file()
    assert (task.out / "out/x/y/x").resolve() == task.out / "out/x"


def test_a_link_to_a_folder_that_it_lies_in(task: Task) -> None:
    task.write("x/out/f", "x/g", "x/other/h")
    task.link("x/out/up", "..")
    assert task.keep("x/out", "x/other") == {"x/out": 7 + 3, "x/other": 9}
    assert (task.out / "x/out/up/g").read_text() == "x/g"
    assert (task.out / "x/out/up/out").resolve() == task.out / "x/out"
    assert (task.out / "x/out/up/other/h").resolve() == task.out / "x/other/h"
    task.write("out/f")
    task.link("out/up", "..")
    task.out = task.base / "runs2" / "8"
    assert "out/up is a link to the work folder itself" in task.refuse("out")


def test_links_to_inputs_become_their_content(task: Task) -> None:
    (task.data / "db").mkdir()
    (task.data / "db/index").write_text("index")
    (task.data / "db/same").symlink_to("index")
    (task.data / "reads.fq").write_text("ACGT")
    inputs = [
        {"path": "reads.fq", "source": str(task.data / "reads.fq")},
        {"path": "out/db", "source": str(task.data / "db")},
        {"path": "conf", "content": "k=21"},
    ]
    task.link("reads.fq", task.data / "reads.fq")
    task.link("out/db", task.data / "db")
    task.write("conf", content="k=21")
    task.link("out/reads.fq", "../reads.fq")
    task.link("out/direct", task.data / "db/index")
    task.link("out/conf", "../conf")
    assert task.keep("out", "reads.fq", "out/db/index", inputs=inputs) == {
        "out": 5 + 4,
        "reads.fq": 4,
        "out/db/index": 5,
    }
    assert not (task.out / "reads.fq").is_symlink() and (task.out / "out/reads.fq").read_text() == "ACGT"
    assert (task.out / "out/direct").read_text() == (task.out / "out/db/same").read_text() == "index"
    assert (task.out / "out/conf").read_text() == "k=21"
    assert sorted(path.name for path in task.data.iterdir()) == ["db", "reads.fq"], "inputs stay where they are"
    (task.data / "secret").write_text("")
    (task.data / "db/out").symlink_to("../secret")
    task.out = task.base / "runs2" / "8"
    task.link("again", task.data / "db")
    assert f"{task.data}/db/out leads out of the work folder, to {task.data}/secret" in task.refuse(
        "again", inputs=inputs
    )


def test_links_that_were_made_in_a_container(task: Task) -> None:
    """It saw `root` as `/`, and the work folder at its own path."""
    (task.data / "ref.fa").write_text(">ref")
    inputs = [{"path": "/data/ref.fa", "source": str(task.data / "ref.fa")}]
    task.link("root/data/ref.fa", task.data / "ref.fa")
    task.write("root/data/out/f", "root/data/other", "mine")
    task.link("root/data/out/other", "/data/other")
    task.link("root/data/out/f2", "/data/out/f")
    task.link("root/data/out/ref", "/data/ref.fa")
    task.link("root/data/out/up", "../../../../data/out/f")
    task.link("root/data/out/mine", task.work / "mine")
    assert task.keep("/data/out", root="root", inputs=inputs) == {"/data/out": 15 + 15 + 4 + 4}
    kept = {path: (task.out / path).read_text() for path in task.kept() if path.startswith("data/out/")}
    assert kept == {
        "data/out/f": "root/data/out/f", "data/out/f2": "root/data/out/f", "data/out/up": "root/data/out/f",
        "data/out/other": "root/data/other", "data/out/ref": ">ref", "data/out/mine": "mine",
    }  # fmt: skip
    task.write("root/data/out/f")
    task.link("root/data/out/os", "/etc/os-release")
    task.link("root/data/out/gone", "/data/gone")
    task.out = task.base / "runs2" / "8"
    message = task.refuse("/data/out", root="root", inputs=inputs)
    assert (
        "root/data/out/os leads out of the work folder, to" in message
        and "root/data/out/gone is a link to nothing" in message
    )


# -- modes


def test_modes_are_kept_whatever_they_are(task: Task) -> None:
    task.write("out/deep/file", "out/script", "shut/in/f", "work/x/y", "out/ro/a")
    task.link("out/ro/l", "../../work/x")
    (task.work / "out/script").chmod(0o755)
    (task.work / "out/deep/file").chmod(0o400)
    modes = {
        "out/deep": 0,
        "out/ro": 0o555,
        "out": 0o555,
        "work/x/y": 0,
        "work/x": 0o500,
        "shut/in/f": 0,
        "shut/in": 0,
        "shut": 0o111,
    }
    for path, mode in modes.items():
        (task.work / path).chmod(mode)
    assert task.keep("out", "shut/in", "out/deep/file") == {"out": 13 + 10 + 8 + 8, "shut/in": 9, "out/deep/file": 13}
    kept = task.kept()
    assert (
        kept["out"] == kept["out/ro"] == 0o555
        and kept["out/deep"] == kept["shut/in"] == 0o000
        and kept["out/ro/l"] == 0o500
    )
    assert kept["out/deep/file"] == (b"out/deep/file", 0o400) and kept["out/script"][1] == 0o755
    assert kept["out/ro/l/y"] == (b"work/x/y", 0) and kept["shut/in/f"][1] == 0
    assert remove(str(task.work))


def test_modes_are_given_back_where_nothing_is_kept(task: Task) -> None:
    task.write("out/deep/file", "in/x/f")
    for path in ("out/deep", "out", "in/x", "in"):
        (task.work / path).chmod(0o000)
    assert "the task left no gone" in task.refuse("out/deep", "in/x/f", "gone")
    with pytest.raises(Verdict, match="could not be moved"):
        Path(f"{task.out.parent}").touch()
        task.keep("out", "in/x/f")
    assert picture(task.work)["out"] == 0
    task.out.parent.unlink()


def test_times_are_kept(task: Task) -> None:
    task.write("out/sub/f", "w/x")
    task.link("out/sub/l", "../../w/x")
    for path in ("out/sub/f", "out/sub", "out"):
        os.utime(task.work / path, (11, 22))
    task.keep("out")
    assert [(task.out / path).stat().st_mtime for path in ("out", "out/sub", "out/sub/f")] == [22, 22, 22]


def test_more_matches_than_can_be_reported(task: Task) -> None:
    for number in range(80):
        task.write(f"out/{'x' * 200}{number}/{'é' * 120}", content="")
    assert len(task.keep({"path": "out/*/*", "glob": True})) == 80
    for folder in range(20):
        for number in range(80):
            task.write(f"out/{'x' * 200}{folder}/{'é' * 110}{number}", content="")
    task.out = task.base / "runs2" / "8"
    assert "its patterns match 1600 paths, more than can be reported" in task.refuse({"path": "out/*/*", "glob": True})


def test_a_root_outside_of_the_work_folder(task: Task) -> None:
    task.write("f")
    assert "none of the work folder" in task.refuse("/f", root="../data")


def test_a_work_folder_that_is_gone(task: Task) -> None:
    task.work.rmdir()
    assert task.keep({"path": "a", "optional": True}) == {}
    with pytest.raises(Verdict, match="the task has removed its work folder, and its outputs with it"):
        task.keep("a")


def test_a_folder_too_deep_to_be_looked_at(task: Task) -> None:
    task.write("out/f")
    here = os.getcwd()
    os.chdir(task.work / "out")
    try:
        for _ in range(45):
            os.mkdir("d" * 100)
            os.chdir("d" * 100)
    finally:
        os.chdir(here)
    with pytest.raises(Verdict, match="cannot be read: File name too long"):
        task.keep("out")
    assert (task.work / "out/f").exists() and not task.out.exists()
    assert remove(str(task.work / "out"))
