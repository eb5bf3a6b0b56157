"""Waits between tries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.backoff import BackOff, wait_after


@given(st.integers(min_value=1, max_value=200), st.sampled_from([1.0, 30.0]))
def test_waits_double_up_to_a_limit(failures: int, patience: float) -> None:
    back_off = BackOff(1.0, 60.0)
    assert back_off.wait_s(0) == 0
    for _ in range(failures):
        wait_s = back_off.failed(1000.0, patience=patience)
    assert wait_s == back_off.wait_s(1000.0) == patience * wait_after(failures, 1.0, 60.0)
    assert wait_s == patience * min(60.0, 2.0 ** (failures - 1))
    assert back_off.wait_s(1000.0 + wait_s) == 0
    back_off.succeeded()
    assert back_off.wait_s(1000.0) == 0
