"""What is expected of a number that tasks said."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.estimate.values import expected

draw = random.Random(1)
SLOW, FAST = [[draw.uniform(0.9, 1.1) * speed for _ in range(60)] for speed in (100.0, 400.0)]


def test_of_tasks_alike_it_is_the_median() -> None:
    assert expected(SLOW) == pytest.approx(100, rel=0.03)
    assert expected([7.0]) == 7.0
    assert expected([]) is None


def test_what_was_before_a_clear_change_does_not_count() -> None:
    assert expected([*SLOW, *FAST[:12]]) == pytest.approx(400, rel=0.08)
    assert expected([*FAST, *SLOW[:12]]) == pytest.approx(100, rel=0.08)


def test_a_few_strays_are_no_change() -> None:
    assert expected([*SLOW, *FAST[:3]]) == pytest.approx(100, rel=0.05)


def test_the_latest_count_more() -> None:
    either = [value for pair in zip(SLOW, FAST, strict=True) for value in pair]  # never clearly one or the other
    assert expected([*either, *FAST[:7]]) > 300  # type: ignore[operator]
    assert expected([*either, *SLOW[:7]]) < 200  # type: ignore[operator]


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=200))
def test_it_is_one_of_those_that_were_said(said: list[float]) -> None:
    assert expected(said) in said
