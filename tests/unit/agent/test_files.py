"""A slot's capture files, whatever tasks do to them."""

from __future__ import annotations

import os
from pathlib import Path

from packhorse.agent.slot.files import Files


def test_what_was_left_of_one_task_is_not_the_output_of_the_next(tmp_path: Path) -> None:
    paths = [str(tmp_path / "out"), str(tmp_path / "err")]
    files = Files({"work": str(tmp_path / "work"), "captures": [paths]})
    files.take_pair(0)
    os.write(files.captures[0][0], b"of the first")
    os.unlink(paths[0])  # by a task in another slot, before the supervisor has read it
    files.take_pair(0)
    os.write(files.captures[0][0], b"second")
    assert files.sizes(0) == (6, 0)
    assert Path(paths[0]).read_bytes() == b"second"
