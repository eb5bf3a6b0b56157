"""Properties of the predictor that hold whatever it has seen."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packhorse.domain.failures import FailureClass
from packhorse.estimate.decisions import Limits, Policy
from packhorse.estimate.predictor import Predictor
from packhorse.estimate.records import Amounts, Features, Kind, Record

from .records import KIND, PRESET, after, ended, linear, memory, task

SIZES = st.floats(1e3, 1e11)
NEEDS = st.floats(1, 1e6)
HISTORIES = st.lists(st.tuples(SIZES, NEEDS, st.floats(1, 1e5), st.booleans()), max_size=25)
QUICK = settings(max_examples=40)


def seen(history: list[tuple[float, float, float, bool]], kind: Kind = KIND) -> list[Record]:
    return [
        ended(
            size,
            need,
            kind,
            wall_s=wall,
            memory_censored=killed,
            failure=FailureClass.OUT_OF_MEMORY if killed else None,
        )
        for size, need, wall, killed in history
    ]


@QUICK
@given(HISTORIES, SIZES, NEEDS, NEEDS)
def test_more_memory_needed_never_lowers_the_request_of_a_retry(history, size, one, other) -> None:
    predictor = after(seen(history))
    less, more = (
        memory(predictor.retry(KIND, task(size), Amounts(memory_mb=failed), FailureClass.OUT_OF_MEMORY, PRESET))
        for failed in sorted((one, other))
    )
    assert min(one, other) < less <= more
    assert max(one, other) < more


@QUICK
@given(HISTORIES, SIZES, st.floats(0.001, 0.5), st.floats(0.001, 0.5))
def test_a_stricter_cap_on_failures_never_lowers_a_request(history, size, one, other) -> None:
    predictor = after(seen(history))
    strict, loose = (
        predictor.decide(KIND, task(size), PRESET, Policy(cap, cap)).request for cap in sorted((one, other))
    )
    assert (strict.memory_mb or 0) >= (loose.memory_mb or 0)
    assert (strict.walltime_s or 0) >= (loose.walltime_s or 0)


@QUICK
@given(HISTORIES, st.lists(HISTORIES, max_size=7), st.randoms(use_true_random=False), SIZES)
def test_the_order_in_which_other_apps_ran_changes_nothing(own, others, draw, size) -> None:
    records = [record for number, each in enumerate(others) for record in seen(each, Kind(f"app{number}"))]
    shuffled = list(records)
    draw.shuffle(shuffled)
    one, other = after([*records, *seen(own)]), after([*shuffled, *seen(own)])
    assert one.decide(KIND, task(size), PRESET) == other.decide(KIND, task(size), PRESET)


@QUICK
@given(HISTORIES, SIZES)
def test_a_request_is_within_reason_of_its_units(history, size) -> None:
    """Megabytes in, megabytes out: never more than a margin above all that was seen and asked for, and never below
    all.
    """
    decision = after(seen(history)).decide(KIND, task(size), PRESET)
    needs = [need for _, need, _, _ in history]
    walls = [wall for _, _, wall, _ in history]
    assert decision.memory_mb is not None and decision.walltime_s is not None
    farther = max(1, size / max([1e3, *(size for size, *_ in history)])) if history else 1
    assert 64 <= decision.memory_mb.request <= 100 * farther * max([PRESET.memory_mb or 0, *needs])
    assert 60 <= decision.walltime_s.request <= 10 * farther * max([PRESET.walltime_s or 0, *walls])


ODD = st.one_of(
    st.none(), st.floats(), st.sampled_from([0, -1, 1e-310, 1e308, -1e308]), st.integers(-(10**400), 10**400)
)
ODD_RECORDS = st.lists(
    st.builds(
        lambda peak, wall, cpu, disk, preset, granted, number, size, failure, node: Record(
            KIND,
            Features({"n": number or 0}, {}, {"a": size or 0, "b": 1}),
            Amounts(preset, preset, preset, preset),
            Amounts(granted, granted, granted, granted),
            peak,
            cpu,
            wall,
            disk,
            node,
            failure,
            memory_censored=failure is not None,
        ),
        *[ODD] * 8,
        st.sampled_from([None, None, None, FailureClass.OUT_OF_MEMORY, FailureClass.APP, FailureClass.PREEMPTED]),
        st.sampled_from(["", "old", "new"]),
    ),
    max_size=14,
)


@pytest.mark.filterwarnings("error")
@settings(max_examples=150, deadline=None)
@given(ODD_RECORDS, ODD, ODD)
def test_absurd_records_give_plain_requests_and_no_warning(records, number, size) -> None:
    """Numbers that are none, too large to be squared, or below zero: an import or a clock that jumps can bring them."""
    predictor = after(records)
    odd = Features({"n": number or 0}, {}, {"a": size or 0, "b": 1})
    for features in (odd, task(1e9)):
        decision = predictor.decide(KIND, features, PRESET, on=["new", "old"])
        failed = Amounts(memory_mb=1000, walltime_s=100)
        again = predictor.retry(KIND, features, failed, FailureClass.OUT_OF_MEMORY, PRESET)
        for found in (decision, again):
            told = [found.memory_mb, found.walltime_s, found.cores, found.disk_mb]
            assert all(
                0 <= value < 1e40 for one in told if one for value in (one.request, one.median, one.low, one.high)
            )
        assert memory(again) > 1000


@QUICK
@given(st.integers(1, 30), st.floats(0.1, 100), st.floats(1e9, 9e9))
def test_a_request_is_in_the_unit_of_what_was_used(seed, factor, reads) -> None:
    """Tasks that need so many times as much are granted so many times as much."""
    small = Limits(Amounts(memory_mb=1, walltime_s=1))
    one, other = (after(linear(40, seed, factor=each)) for each in (1.0, factor))
    request, scaled = (memory(each.decide(KIND, task(reads), Amounts(), Policy(), small)) for each in (one, other))
    assert scaled == pytest.approx(factor * request, rel=0.15)


@QUICK
@given(HISTORIES, SIZES)
def test_what_is_restored_decides_as_before(history, size) -> None:
    predictor = Predictor()
    for number, record in enumerate(seen(history)):
        predictor.observe(record)
        if number % 5 == 0:
            predictor.decide(KIND, task(size), PRESET)
    restored = Predictor.restored(json.loads(json.dumps(predictor.state())))
    assert restored.decide(KIND, task(size), PRESET) == predictor.decide(KIND, task(size), PRESET)
