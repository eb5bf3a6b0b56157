"""The journal and the log on disks that fail: the file only ever holds whole records, in order, each once."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packhorse.agent.journal import Appender, Journal


class BadDisk:
    """os.pwrite with a plan: take only so many bytes, or fail with this errno."""

    def __init__(self, plan: list[int]) -> None:
        self.plan = plan

    def __call__(self, fd: int, data: memoryview, offset: int) -> int:
        step = self.plan.pop(0) if self.plan else 1 << 20
        if step < 0:
            raise OSError(-step, os.strerror(-step))
        return os.pwrite(fd, data[: max(1, step)], offset)


FAULTS = st.one_of(st.integers(1, 40), st.sampled_from([-errno.ENOSPC, -errno.EIO, -errno.EDQUOT, -errno.ESTALE]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=100)
@given(plan=st.lists(FAULTS, max_size=30), batches=st.lists(st.integers(1, 5), min_size=1, max_size=10))
def test_nothing_is_lost_doubled_or_torn(tmp_path: Path, plan: list[int], batches: list[int]) -> None:
    path = tmp_path / "j.jsonl"
    path.unlink(missing_ok=True)
    journal = Journal(str(path))
    journal.file.pwrite = BadDisk(plan)  # type: ignore[assignment]
    added = 0
    for batch in batches:
        for _ in range(batch):
            added += 1
            journal.add({"k": "end", "id": added, "msg": "é" * 10, "why": None})
        healthy = journal.flush()
        assert healthy == journal.healthy == (not journal.buffer)
        assert path.read_bytes() == b"" or path.read_bytes().endswith(b"\n")
    while not journal.flush():
        pass
    assert [json.loads(line) for line in path.read_bytes().splitlines()] == [
        {"k": "end", "id": number, "msg": "é" * 10} for number in range(1, added + 1)
    ]


def test_a_failed_append_leaves_the_offset(tmp_path: Path) -> None:
    log = Appender(str(tmp_path / "log"))
    assert log.append(b"abc") == 0
    log.pwrite = BadDisk([2, -errno.ENOSPC])  # type: ignore[assignment]
    with pytest.raises(OSError, match="No space"):
        log.append(b"defgh")
    assert log.append(b"xy") == 3 and (tmp_path / "log").read_bytes() == b"abcxy"


def test_flush_times() -> None:
    journal = Journal(os.devnull)
    assert journal.flush_at == float("inf") and journal.flush()
    journal.add({"k": "start"})
    first = journal.flush_at
    journal.add({"k": "start"})
    assert journal.flush_at == first < float("inf"), "a steady stream of records must not put off the flush"
