"""Packing: never more than the node has, never past a head that has waited long enough."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from packhorse.agent.supervisor.pack import (
    EPSILON,
    LOOK_AHEAD,
    MAX_BLOCKED_S,
    MAX_PASSED,
    choose,
    fits_in_time,
    is_reserved,
    never_fits,
)

WANTS = st.lists(st.tuples(st.sampled_from([0.1, 0.5, 1.0, 2.0, 4.0]), st.integers(0, 100)), max_size=100)


@given(WANTS, st.floats(0, 8), st.integers(0, 200), st.booleans())
def test_what_is_chosen_fits_and_nothing_before_it_does(
    wants: list[tuple[float, int]], cores: float, memory: int, reserved: bool
) -> None:
    index = choose(wants, cores, memory, reserved)
    fitting = [at for at, (c, m) in enumerate(wants[:LOOK_AHEAD]) if c <= cores + EPSILON and m <= memory]
    if reserved:
        assert index == (0 if 0 in fitting else None)
    else:
        assert index == (fitting[0] if fitting else None)


@given(WANTS.filter(bool), st.integers(0, 10))
def test_every_task_runs_in_the_end(wants: list[tuple[float, int]], keep: int) -> None:
    """A node of 4 cores and 100 bytes, tasks that end in order of start whenever nothing fits: each is started once,
    none is starved.
    """
    queue, running, done = list(enumerate(wants)), [], []
    passed = dict.fromkeys(range(len(wants)), 0)
    while queue or running:
        cores, memory = 4.0 - sum(wants[at][0] for at in running), 100 - sum(wants[at][1] for at in running)
        assert cores >= -EPSILON and memory >= 0
        first = queue[0][0] if queue else 0
        index = choose([want for _, want in queue], cores, memory, is_reserved(passed[first], 0.0))
        if index is None or len(running) > keep:
            done.append(running.pop(0))
            continue
        passed[first] += 1 if index else 0
        assert passed[first] <= MAX_PASSED
        running.append(queue.pop(index)[0])
    assert sorted(done) == list(range(len(wants)))


def test_a_node_drains_for_what_was_passed_often_or_waited_long() -> None:
    assert not is_reserved(MAX_PASSED - 1, MAX_BLOCKED_S - 1)
    assert is_reserved(MAX_PASSED, 0.0) and is_reserved(0, MAX_BLOCKED_S)


def test_ten_tenths_of_a_core_fit() -> None:
    free = 1.0
    for _ in range(10):
        assert choose([(0.1, 0)], free, 0, False) == 0
        free -= 0.1
    assert choose([(0.1, 0)], free, 0, False) is None


def test_never_fits() -> None:
    assert never_fits(2, 10, 2, 10) is None
    assert "cores" in str(never_fits(3, 0, 2, 10)) and "memory" in str(never_fits(1, 11, 2, 10))


def test_fits_in_time() -> None:
    assert fits_in_time(1000, 0, None) and fits_in_time(10, 0, 10) and fits_in_time(None, 9, 10)
    assert not fits_in_time(10.1, 0, 10) and not fits_in_time(None, 11, 10)
