"""A crate becomes a folder whole, or not at all."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from packhorse.client.crates import unpack_crate
from packhorse.domain.errors import InvalidRequest, Unavailable


def archive(damaged: bool = False) -> Callable[[IO[bytes]], None]:
    def write(target: IO[bytes]) -> None:
        with zipfile.ZipFile(target, "w") as crate:
            crate.writestr("first.txt", "one")
            crate.writestr("second.txt", "two and more")
            place = crate.infolist()[1].header_offset + 45
        if damaged:
            target.seek(place)
            target.write(b"!")

    return write


def test_a_folder_that_is_new_or_empty_has_all_of_it_and_nothing_is_left_beside(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new/below"):
        unpack_crate(archive(), tmp_path / name)
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["first.txt", "second.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]


def test_of_a_damaged_one_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cut off"):
        unpack_crate(archive(damaged=True), tmp_path / "crate")
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_is_told_with_what_to_do() -> None:
    with pytest.raises(InvalidRequest, match="cannot be written to /proc/none") as refusal:
        unpack_crate(archive(), Path("/proc/none"))
    assert "that you may write to" in refusal.value.hint
