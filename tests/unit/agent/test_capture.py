"""Output on its way to the log of an agent, where it is in no file."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from packhorse.agent.journal import Appender
from packhorse.agent.supervisor.capture import Follow


def test_what_the_log_refused_is_there_once_when_it_takes_it(tmp_path: Path) -> None:
    log = Appender(str(tmp_path / "log"))
    log.append(b"before")
    follow = Follow((str(tmp_path / "out"), str(tmp_path / "err")), keep_all=False)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    working, log.pwrite = log.pwrite, full  # type: ignore[assignment]
    with pytest.raises(OSError, match="No space"):
        follow.take_printed(log, 100, b"answer")
    log.pwrite = working
    for _ in range(2):  # the second time, since what came after it was refused
        follow.take_printed(log, 100, b"answer")
    follow.copy_rest(log, 100, (0, 0))
    assert (tmp_path / "log").read_bytes() == b"beforeanswer"
    assert follow.take_ranges() == [("out", 6, 6)]


def test_what_is_over_the_limit_is_left_out_and_said(tmp_path: Path) -> None:
    log = Appender(str(tmp_path / "log"))
    follow = Follow(("", ""), keep_all=False)
    follow.take_printed(log, 4, b"answer")
    written = (tmp_path / "log").read_bytes()
    assert written == b"answ\n[packhorse: 2 more bytes of stdout were not kept]\n"
    assert follow.take_ranges() == [("out", 0, len(written))]
