"""Turns to write: one at a time, and who waits gets theirs beside somebody who asks again and again."""

from __future__ import annotations

import threading
import time

from packhorse.store.turns import Turns


def test_one_at_a_time() -> None:
    turns, inside, most = Turns(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            assert turns.acquire(30)
            inside += 1
            most = max(most, inside)
            inside -= 1
            turns.release()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == 1
    assert not any(thread.is_alive() for thread in threads)


def test_who_waits_gets_a_turn_beside_somebody_who_asks_again_at_once() -> None:
    turns, done, times = Turns(), threading.Event(), 0

    def again_and_again() -> None:
        nonlocal times
        while not done.is_set() and times < 100:
            assert turns.acquire(30)
            time.sleep(0.03)
            times += 1
            turns.release()

    busy = threading.Thread(target=again_and_again)
    busy.start()
    while not times:
        time.sleep(0.001)
    before = times
    assert turns.acquire(30)
    waited = times - before
    turns.release()
    done.set()
    busy.join(30)
    assert waited <= 5, "whoever has waited for 50 ms is next"


def test_who_gives_up_is_no_longer_waited_for() -> None:
    turns = Turns()
    assert turns.acquire(1)
    assert not turns.acquire(0.06)
    turns.release()
    assert turns.acquire(1)
    turns.release()
