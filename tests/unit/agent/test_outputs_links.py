"""Links, modes and times of what is kept, and work folders that are odd."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from packhorse.agent.outcome import Verdict
from packhorse.agent.removal import remove

from .outputs import Task, picture

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
