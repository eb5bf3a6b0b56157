"""The parts of a report: distributions, timelines, the graph's layout, numbers with units, markup."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.report import units
from packhorse.report.facts import Pairs, Spent
from packhorse.report.graph import layers_of, ordered, short
from packhorse.report.markup import Markup, el, lines, text
from packhorse.report.scatter import draw_scatter
from packhorse.report.sketch import Sketch
from packhorse.report.timeline import BINS, MAX_LANES, Allocation, Bar, Timeline, rows_of

NUMBERS = st.lists(st.floats(0, 1e15), min_size=1, max_size=200)


@given(NUMBERS, st.floats(0, 1))
def test_a_quantile_is_right_to_one_percent(numbers: list[float], part: float) -> None:
    sketch = Sketch(numbers)
    exact = sorted(numbers)[int(part * (len(numbers) - 1))]
    assert sketch.quantile(part) == pytest.approx(exact, rel=0.0101, abs=1e-8)
    assert sketch.maximum == max(numbers) and sketch.count == len(numbers)


@given(NUMBERS, st.integers(1, 50))
def test_a_histogram_has_each_number_once(numbers: list[float], bins: int) -> None:
    sketch = Sketch(numbers)
    counts = sketch.histogram(sketch.maximum * 1.1, bins)
    assert sum(counts) == (len(numbers) if sketch.maximum > 0 else 0)


def test_a_sketch_of_a_million_numbers_is_small_and_leaves_out_what_is_no_number() -> None:
    sketch = Sketch([-1.0, math.nan, math.inf])
    assert (sketch.count, sketch.quantile(0.5)) == (0, 0.0)
    for number in range(1, 100_000):
        sketch.add(number)
    assert len(sketch._buckets) < 700


def bars(many: list[tuple[float, float, int]]) -> list[Bar]:
    return [Bar(step, start, start + took, 2.0, False, "") for start, took, step in many]


BARS = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 50), st.integers(0, 25)), max_size=60).map(bars)


@given(BARS)
def test_a_timeline_keeps_all_core_seconds(many: list[Bar]) -> None:
    timeline = Timeline(0, 150, {0: (None, "n")}, [], bars=False)
    for bar in many:
        timeline.add(0, bar)
    whole = sum(2 * (bar.end - bar.start) for bar in many)
    assert sum(map(sum, timeline.total.values())) == pytest.approx(whole, abs=1e-6)
    assert len(timeline.total) <= 10 and all(len(of_step) == BINS for of_step in timeline.total.values())


@given(BARS)
def test_bars_of_a_row_do_not_cover_each_other(many: list[Bar]) -> None:
    rows = rows_of(many)
    assert sorted(id(bar) for row in rows for bar in row) == sorted(map(id, many))
    for row in rows:
        assert all(before.end <= after.start for before, after in pairwise(row))


def test_what_has_no_lane_of_its_own_is_drawn_together_and_no_attempt_is_lost() -> None:
    job = Allocation("a", "s", "1", 4, 1, 0, 0, 100)
    timeline = Timeline(0, 100, {place: (job, f"n{place:03}") for place in range(60)}, [job], bars=True)
    for place in range(60):
        timeline.add(place, Bar(0, place, place + 1, 1, False, ""))
    timeline.add(None, Bar(0, -5, 500, 1, False, ""))  # clocks differ
    assert timeline.left_out == 60 - MAX_LANES
    assert [lane.attempts for lane in timeline.lanes] == [1] * MAX_LANES + [21]
    assert timeline.lanes[-1].allocation is None
    assert timeline.held() == [4.0] * BINS


def test_each_step_is_behind_those_that_it_waits_for() -> None:
    edges = [(0, 1), (1, 2), (0, 2), (3, 2), (2, 4)]
    assert layers_of(5, edges) == [0, 1, 2, 0, 3]
    assert sorted(box for column in ordered([0, 1, 2, 0, 3], edges) for box in column) == list(range(5))
    assert max(layers_of(2, [(0, 1), (1, 0)])) <= 2  # a circle, which no run has


def test_lines_do_not_cross_where_they_need_not() -> None:
    edges = [(0, 5), (1, 4), (2, 3)]
    columns = ordered([0, 0, 0, 1, 1, 1], edges)
    assert [columns[1].index(down) for up in columns[0] for one, down in edges if one == up] == [0, 1, 2]


def test_a_name_is_cut_after_it_was_made_plain() -> None:
    assert short("\x00" * 10, 9) == "\\x00\\x00…"


@pytest.mark.parametrize(
    ("show", "value", "shown"),
    [
        (units.duration, None, "–"), (units.duration, 0, "0 s"), (units.duration, 0.004, "4 ms"),
        (units.duration, 0.25, "0.25 s"), (units.duration, 59.7, "1 min"), (units.duration, 3725, "1 h 2 min"),
        (units.duration, 7200, "2 h"), (units.duration, 200_000, "2 d 7 h"),
        (units.size, 0, "0 B"), (units.size, 999_700, "1 MB"), (units.size, 1.5e9, "1.5 GB"),
        (units.size, 2e16, "20 PB"),
        (units.hours, 0, "0"), (units.hours, 0.1, "<0.0001"), (units.hours, 10, "0.0028"), (units.hours, 4500, "1.25"),
        (units.hours, 3.6e6, "1,000"), (units.number, 12_000, "12,000"), (units.number, 2.5, "2.5"),
        (units.moment, 1e30, "–"), (units.moment, 0, "1970-01-01 00:00:00 UTC"),
    ],
)  # fmt: skip
def test_numbers_have_units(show: Callable[[object], str], value: object, shown: str) -> None:
    assert show(value) == shown


@given(st.floats(1e-3, 1e9))
def test_an_axis_has_some_marks_whatever_its_length(length_s: float) -> None:
    assert 2 <= len(units.time_ticks(length_s)) <= 16
    assert 2 <= len(units.value_ticks(length_s)) <= 6


def test_what_was_granted_is_used_unused_or_lost() -> None:
    spent = Spent()
    for granted, used, failed in ((10, 4, False), (10, 12, False), (5, 5, True)):
        spent.add(granted, used, failed=failed)
    assert (spent.granted, spent.used, spent.unused, spent.failed, spent.wasted) == (25, 14, 6, 5, 11)


@given(st.text())
def test_markup_says_what_was_said(said: str) -> None:
    made = ElementTree.fromstring(el("p", said, title=said))
    again = ElementTree.fromstring(el("p", text(said)))
    assert made.get("title") == made.text == again.text or not said
    assert ElementTree.fromstring(f"<pre>{lines(said)}</pre>") is not None
    assert el("p", Markup("<b/>")) == "<p><b/></p>"


PAIRS = st.lists(st.tuples(st.floats(0, 1e15), st.floats(0, 1e15), st.booleans()), max_size=60)


@given(PAIRS)
def test_a_plot_has_a_point_for_each_attempt_that_was_measured(some: list[tuple[float, float, bool]]) -> None:
    pairs = Pairs()
    for granted, used, failed in some:
        pairs.add(granted, used, failed=failed)
    drawn = ElementTree.fromstring(f"<body>{draw_scatter(pairs, 1, units.size, 'Memory')}</body>")
    points = list(drawn.iter("circle"))
    measured = [one for one in some if min(one[:2]) > 1e-9]
    assert len(points) == len(measured)
    assert sum("failed" in point.get("class", "") for point in points) == sum(failed for *_, failed in measured)


def test_of_many_attempts_some_are_points() -> None:
    pairs = Pairs()
    for number in range(1, 10_001):
        pairs.add(2.0 * number, number, failed=False)
    assert 100 <= len(pairs.kept) <= 201
    used = [used for _, used, _ in pairs.kept]
    assert max(later - before for before, later in pairwise(used)) == pairs.each, "they are from all over the run"
    assert f"One point stands for {pairs.each} attempts" in draw_scatter(pairs, 0, units.size, "Memory")


@pytest.mark.parametrize(
    ("low", "high", "show", "shown"),
    [
        (0.05, 40, units.duration, ["0.05 s", "0.2 s", "1 s", "5 s", "20 s"]),
        (4, 4000, units.duration, ["5 s", "20 s", "2 min", "10 min", "1 h"]),
        (3000, 200_000, units.duration, ["1 h", "2 h", "5 h", "10 h", "1 d", "2 d"][::2]),
        (8e7, 2.4e9, units.size, ["100 MB", "200 MB", "500 MB", "1 GB", "2 GB"]),
    ],
)
def test_logarithmic_axes_have_few_marks_at_values_that_are_round_in_their_unit(
    low: float, high: float, show: Callable[[float], str], shown: list[str]
) -> None:
    assert [show(tick) for tick in units.log_ticks(low, high, show)] == shown


def test_an_axis_of_time_has_no_tenths_of_a_minute() -> None:
    assert [units.duration(tick) for tick in units.ticks(7500, units.duration, 3)] == ["0 s", "1 h", "2 h"]
    assert units.ticks(7500, units.number, 3) == [0, 5000]
