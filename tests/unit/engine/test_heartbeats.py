"""When an agent counts as silent: by our own monotonic clock alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from packhorse.domain.states import AllocationState
from packhorse.engine.heartbeats import Heartbeats
from packhorse.sites.site import local_site


@dataclass
class Clock:
    """Stands still until it is moved."""

    time: float = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def beat_file(tmp_path: Path) -> Path:
    file = tmp_path / "spool" / "a-1" / "journal" / "n1-abc.beat"
    file.parent.mkdir(parents=True)
    return file


RUNNING = [SimpleNamespace(id="a-1", state=AllocationState.RUNNING)]


def silence(tmp_path: Path, beat_file: Path, every_s: float, stops_s: float, until_s: float) -> list[float]:
    """The times, in steps of half a second, at which an agent counts as silent that beats ``every_s`` and stops at
    ``stops_s``.
    """
    clock = Clock(0.0)
    heartbeats = Heartbeats(local_site(str(tmp_path)), clock)
    silent = []
    while clock.time <= until_s:
        beat_file.write_text(str(int(min(clock.time, stops_s) / every_s)))
        if heartbeats.any_silent(RUNNING):
            silent.append(clock.time)
        clock.time += 0.5
    return silent


def test_an_agent_that_beats_is_never_silent(tmp_path: Path, beat_file: Path) -> None:
    assert silence(tmp_path, beat_file, every_s=1.0, stops_s=60, until_s=60) == []


def test_one_that_stops_is_silent_two_seconds_later_and_after_a_while_no_news(tmp_path: Path, beat_file: Path) -> None:
    silent = silence(tmp_path, beat_file, every_s=1.0, stops_s=10, until_s=60)
    assert 11.5 <= silent[0] <= 12.0
    assert silent[-1] < 40.5


def test_one_of_many_beats_more_seldom_and_is_given_more_time(tmp_path: Path, beat_file: Path) -> None:
    silent = silence(tmp_path, beat_file, every_s=4.0, stops_s=20, until_s=60)
    assert [time for time in silent if 8 <= time < 26] == []
    assert 26 <= silent[-1] < 51


def test_an_agent_that_is_not_running_is_not_looked_at(tmp_path: Path, beat_file: Path) -> None:
    beat_file.write_text("1")
    clock = Clock()
    heartbeats = Heartbeats(local_site(str(tmp_path)), clock)
    closing = [SimpleNamespace(id="a-1", state=AllocationState.CLOSING)]
    heartbeats.any_silent(closing)
    clock.time += 10
    assert not heartbeats.any_silent(closing)
