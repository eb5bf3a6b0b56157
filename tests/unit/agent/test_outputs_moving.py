"""Moving outputs: what it costs, what happens when it fails or is killed half-way through, and on another device."""

from __future__ import annotations

import errno
import os
import stat
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from packhorse.agent.outcome import Verdict
from packhorse.agent.slot.outputs.move import recover

from .outputs import NOBODY, ROOT, USERS, Task, picture, place

ANOTHER = "/dev/shm"  # noqa: S108


@pytest.fixture(params=USERS)
def far(request: pytest.FixtureRequest) -> Iterator[Task]:
    """With the out folder on another device."""
    with place(request.param) as folder:
        if not os.path.isdir(ANOTHER) or os.stat(ANOTHER).st_dev == folder.stat().st_dev:
            pytest.skip("there is no other device")
        if ROOT:
            os.seteuid(0)
        with place(request.param, ANOTHER) as elsewhere:
            yield Task(folder, elsewhere)


def fill(task: Task) -> None:
    """Something of everything: several outputs, links that change, folders that are closed."""
    task.write("a", "out/b", "out/ro/c", "more/d", "shut/e", "work/x/y")
    task.link("out/ro/kept", task.work / "more/d")
    task.link("out/ro/content", "../../work/x")
    task.link("same", "a")
    for path, mode in {"out/ro": 0o555, "out": 0o500, "shut": 0, "work/x": 0o500}.items():
        (task.work / path).chmod(mode)


WANTED = ["a", "out", "same", "shut", "more"]


class Broken:
    """Functions of `os` of which the nth call fails, or never returns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str, kills: bool = False) -> None:
        self.calls, self.fails_at, self.kills = 0, 1 << 30, kills
        for name in names:
            monkeypatch.setattr(os, name, self.instead_of(getattr(os, name)))

    def instead_of(self, function: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            self.calls += 1
            if self.calls == self.fails_at and self.kills:
                os._exit(9)
            if self.calls == self.fails_at:
                raise OSError(errno.EIO, "Input/output error")
            return function(*arguments, **more)

        return call


def test_whichever_move_fails_the_work_folder_is_as_it_was(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(task)
    before = picture(task.work)
    broken = Broken(monkeypatch, "rename", "symlink", "link", "sendfile", "mkdir")
    for number in range(1, 100):
        broken.calls, broken.fails_at = 0, number
        try:
            task.keep(*WANTED)
        except Verdict as verdict:
            assert "could not be moved to" in verdict.msg and "Input/output error" in verdict.msg
            assert picture(task.work) == before
            assert not list(task.base.glob("runs/*"))
        else:
            break
    assert 9 <= number < 99, "the one that may fail: a second name, which a copy can stand in for"
    assert (task.out / "same").read_text() == "a"


def test_links_are_given_back_when_writing_one_fails(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(task)
    before = picture(task.work)
    wanted = [path for path in WANTED if path != "same"]
    broken = Broken(monkeypatch, "rename", "symlink")
    for number in range(1, 100):
        broken.calls, broken.fails_at = 0, number
        try:
            task.keep(*wanted)
        except Verdict:
            assert picture(task.work) == before
        else:
            break
    assert 6 < number < 99, "each of the calls has failed once"


def test_what_is_kept_on_another_device(far: Task) -> None:
    fill(far)
    os.link(far.work / "a", far.work / "more/hard")
    os.utime(far.work / "more/d", (5, 6))
    with (far.work / "more/holes").open("wb") as file:
        file.seek(50 << 20)
        file.write(b"end")
    before = {path: look for path, look in picture(far.work).items() if path != "same"}
    holes = before.pop("more/holes")
    assert far.keep(*WANTED) == {"a": 1, "out": 5 + 8 + 8, "same": 1, "shut": 6, "more": 6 + 1 + (50 << 20) + 3}
    kept = far.kept()
    assert kept.pop("more/holes") == holes and (far.out / "more/holes").stat().st_blocks * 512 < 5 << 20
    assert kept.pop("same")[0] == b"a" and kept["out/ro/kept"] == "-> ../../more/d" and kept["out/ro/content"] == 0o500
    assert {path: look for path, look in kept.items() if not path.startswith("out/ro/")} == {
        path: look for path, look in before.items() if not path.startswith(("out/ro/", "work"))
    }
    assert (far.out / "more/d").stat().st_mtime == 6


@pytest.mark.skipif(not ROOT, reason="only root meets files of others that it may read")
def test_owners_are_kept_on_another_device_by_root() -> None:
    with place("root") as folder, place("root", ANOTHER) as elsewhere:
        task = Task(folder, elsewhere)
        task.write("out/f")
        os.chown(task.work / "out/f", NOBODY, NOBODY)
        (task.work / "out/f").chmod(0o4755)
        task.keep("out")
        status = (task.out / "out/f").stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (NOBODY, 0o4755)


@pytest.mark.skipif(not ROOT, reason="only root makes files of others")
def test_another_users_folder_is_copied_where_it_can_be_read() -> None:
    with place("user") as folder:
        task = Task(folder)
        task.write("out/f", "secret/g")
        os.seteuid(0)
        for path in ("out", "out/f", "secret", "secret/g"):
            os.chown(task.work / path, 1234, 1234)
        (task.work / "secret").chmod(0o700)
        os.seteuid(NOBODY)
        assert "secret cannot be read: Permission denied (it belongs to user 1234)" in task.refuse("out", "secret")
        assert task.keep("out") == {"out": 5}
        assert (task.out / "out/f").read_text() == "out/f"


def test_a_work_folder_that_is_kept_gets_back_what_a_killed_attempt_had_moved(task: Task) -> None:
    fill(task)
    before = picture(task.work)
    for number in range(1, 100):
        child = os.fork()
        if not child:
            with pytest.MonkeyPatch.context() as patch:
                broken = Broken(patch, "rename", "symlink", "link", "chmod", "replace", kills=True)
                broken.fails_at = number
                try:
                    task.keep(*WANTED, work=str(task.work))
                    os._exit(0)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
        status = os.waitpid(child, 0)[1]
        assert status >> 8 != 1
        if status == 0:
            break
        recover(str(task.out))
        after = picture(task.work)
        assert {path: look for path, look in after.items() if not isinstance(look, int)} == {
            path: look for path, look in before.items() if not isinstance(look, int)
        }
        assert after.keys() == before.keys()
    assert 8 < number < 99
    recover(str(task.out))  # of one that was killed when all was done, before anybody heard of it
    assert picture(task.work).keys() == before.keys() and not task.out.exists()
    assert task.keep(*WANTED)["a"] == 1


def test_a_large_folder_costs_one_look_at_each_file(task: Task) -> None:
    """Counted and not timed: calls of the system for each file, whose number must not grow with outputs or links."""
    for number in range(20):
        (task.work / f"out/{number}").mkdir(parents=True)
        for file in range(50):
            (task.work / f"out/{number}/{file}").touch()
        task.link(f"out/{number}/link", "0")
    calls: Counter[str] = Counter()

    def count(frame: Any, event: str, called: Any) -> None:
        if event == "c_call" and getattr(called, "__module__", None) in ("posix", None):
            calls[called.__name__] += 1

    sys.setprofile(count)
    try:
        task.keep("out", "out/3", "out/3/7")
    finally:
        sys.setprofile(None)
    assert calls["scandir"] <= 23 and calls["readlink"] <= 60, calls
    assert 1000 <= calls["stat"] + calls["lstat"] < 1200, calls
    assert calls["rename"] == 2, calls


@pytest.mark.parametrize("left", ["file", "link", "folder", "shut"])
def test_whatever_an_earlier_attempt_left_is_replaced(task: Task, left: str) -> None:
    task.write("a")
    task.out.parent.mkdir()
    if left == "file":
        task.out.touch()
    elif left == "link":
        task.out.symlink_to(task.data)
    else:
        (task.out / "x/y").mkdir(parents=True)
        if left == "shut":
            (task.out / "x").chmod(0)
    task.keep("a")
    assert sorted(task.kept()) == ["a"] and not task.out.is_symlink()
