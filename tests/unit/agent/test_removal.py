"""What tasks leave goes away, whatever its modes and however deep it is, and nothing else does."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.agent.removal import empty, remove
from packhorse.agent.slot.files import Files
from packhorse.agent.supervisor.scratch import remove_all

from .outputs import NOBODY, ROOT, USERS, place


@pytest.fixture(params=USERS)
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    with place(request.param) as made:
        yield made


def test_folders_of_every_mode(folder: Path) -> None:
    for number, mode in enumerate((0o000, 0o100, 0o200, 0o300, 0o400, 0o500, 0o600)):
        inner = folder / f"w/{number}/a/b"
        inner.mkdir(parents=True)
        (inner / "f").touch(0)
        for path in (inner, inner.parent, inner.parent.parent):
            path.chmod(mode)
    (folder / "w").chmod(0)
    assert remove(str(folder / "w")) and not (folder / "w").exists()


def test_deeper_than_a_path_can_be_long(folder: Path) -> None:
    here = os.getcwd()
    os.chdir(folder)
    try:
        for _ in range(1500):
            os.mkdir("d" * 100)
            os.chdir("d" * 100)
            open("f", "w").close()
        os.chmod(".", 0o500)
    finally:
        os.chdir(here)
    assert empty(str(folder)) and not list(folder.iterdir())


def test_links_are_removed_and_not_followed(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data/f").touch(0o640)
    (folder / "w/shut").mkdir(parents=True)
    for name, target in (("folder", "data"), ("file", "data/f"), ("loop", "w/loop")):
        (folder / "w" / name).symlink_to(folder / target)
        (folder / "w/shut" / name).symlink_to(folder / target)
    (folder / "w/shut").chmod(0o500)
    assert empty(str(folder / "w")) and not list((folder / "w").iterdir())
    assert stat.S_IMODE((folder / "data/f").stat().st_mode) == 0o640
    (folder / "w/l").symlink_to(folder / "data")
    assert remove(str(folder / "w/l")) and (folder / "data/f").exists()


@pytest.mark.parametrize("instead", ["link", "file", "nothing"])
def test_whatever_is_in_the_place_of_a_work_folder(folder: Path, instead: str) -> None:
    (folder / "data").mkdir()
    (folder / "data/f").touch()
    if instead == "link":
        (folder / "w").symlink_to(folder / "data")
    elif instead == "file":
        (folder / "w").touch()
    assert empty(str(folder / "w"))
    assert not (folder / "w").is_symlink() and not list((folder / "w").iterdir())
    assert (folder / "data/f").exists()


@pytest.mark.parametrize("mode", [0o000, 0o500, 0o777])
def test_the_next_task_finds_a_work_folder_that_is_as_new(folder: Path, mode: int) -> None:
    here = os.getcwd()
    files = Files({"work": str(folder / "w"), "captures": []})
    try:
        files.clean()
        new = stat.S_IMODE(os.stat(".").st_mode)
        os.chmod(".", mode)
        files.clean()
        assert stat.S_IMODE(os.stat(".").st_mode) == new
        (folder / "w").rename(folder / "moved")
        files.clean()
        assert os.getcwd() == str(folder / "w")
    finally:
        os.chdir(here)


@pytest.mark.skipif(not ROOT, reason="only root makes files of others")
@pytest.mark.parametrize(("whose", "mode"), [("w/theirs", 0o755), ("w", 0o755), ("w", 0o000)])
def test_what_another_user_owns_makes_room_for_a_fresh_folder(
    whose: str, mode: int, capfd: pytest.CaptureFixture[str]
) -> None:
    here = os.getcwd()
    with place("user") as folder:
        (folder / "w/theirs").mkdir(parents=True)
        (folder / "w/theirs/f").touch()
        (folder / whose).chmod(mode)
        os.seteuid(0)
        os.chown(folder / whose, 1234, 1234)
        os.seteuid(NOBODY)
        assert not remove(str(folder / whose))
        files = Files({"work": str(folder / "w"), "captures": []})
        try:
            files.clean()
            assert files.work == f"{folder}/w-1" == os.getcwd()
        finally:
            os.chdir(here)
        remove_all(str(folder / "scratch"), str(folder), "w")
        assert not (folder / "w-1").exists()
        assert f"{folder}/w could not be removed: something in it belongs to another user" in capfd.readouterr().err
