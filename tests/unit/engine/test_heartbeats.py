"""When an agent counts as silent: by our own monotonic clock alone."""

from __future__ import annotations

from dataclasses import dataclass

from packhorse.engine.heartbeats import Heartbeats


@dataclass
class Clock:
    """Stands still until it is moved."""

    time: float = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def silence(every_s: float, stops_s: float, until_s: float) -> list[float]:
    """The times, in steps of half a second, at which an agent counts as silent that beats ``every_s`` and stops at
    ``stops_s``.
    """
    clock = Clock(0.0)
    heartbeats = Heartbeats(clock)
    silent = []
    while clock.time <= until_s:
        if heartbeats.is_due():
            heartbeats.take({("a-1", "n1-abc"): str(int(min(clock.time, stops_s) / every_s)).encode()})
        if heartbeats.any_silent():
            silent.append(clock.time)
        clock.time += 0.5
    return silent


def test_an_agent_that_beats_is_never_silent() -> None:
    assert silence(every_s=1.0, stops_s=60, until_s=60) == []


def test_one_that_stops_is_silent_two_seconds_later_and_after_a_while_no_news() -> None:
    silent = silence(every_s=1.0, stops_s=10, until_s=60)
    assert 11.5 <= silent[0] <= 12.0
    assert silent[-1] < 40.5


def test_one_of_many_beats_more_seldom_and_is_given_more_time() -> None:
    silent = silence(every_s=4.0, stops_s=20, until_s=60)
    assert [time for time in silent if 8 <= time < 26] == []
    assert 26 <= silent[-1] < 51


def test_an_agent_whose_allocation_runs_no_more_is_forgotten() -> None:
    clock = Clock()
    heartbeats = Heartbeats(clock)
    heartbeats.take({("a-1", "n1"): b"1"})
    clock.time += 10
    heartbeats.take({})
    assert not heartbeats.any_silent()


def test_a_beat_that_is_being_written_counts_as_the_one_before() -> None:
    clock = Clock()
    heartbeats = Heartbeats(clock)
    heartbeats.take({("a-1", "n1"): b"1"})
    clock.time += 1
    assert heartbeats.is_due()
    heartbeats.take({("a-1", "n1"): b""})
    assert not heartbeats.any_silent()
    clock.time += 1
    heartbeats.take({("a-1", "n1"): b"1"})
    assert heartbeats.any_silent()
