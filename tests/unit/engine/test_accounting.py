"""Sharing out what an allocation paid: nothing is lost, nothing negative, and sums hold to the last unit."""

from __future__ import annotations

import json
from itertools import groupby
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.views import Account, AccountBy
from packhorse.engine.requests.accounting import account, paid_for, share_out

NOW = 10_000.0
ALL = tuple(AccountBy)
times = st.floats(0, 20_000) | st.floats(0, 1e10)


@given(paid=st.integers(0, 10**20), granted=st.lists(st.integers(0, 10**20), max_size=50))
def test_shares_and_the_rest_are_what_was_paid(paid: int, granted: list[int]) -> None:
    shares, rest = share_out(paid, granted)
    assert sum(shares) + rest == paid
    assert rest >= 0 and len(shares) == len(granted)
    assert all(0 <= share <= asked for share, asked in zip(shares, granted, strict=True))


@given(paid=st.integers(0, 10**20), granted=st.lists(st.integers(0, 10**20), min_size=1, max_size=50))
def test_nobody_is_cut_unless_all_are_in_proportion(paid: int, granted: list[int]) -> None:
    shares, rest = share_out(paid, granted)
    total = sum(granted)
    if total <= paid:
        assert shares == granted
    else:
        assert rest < len(granted)
        assert all(0 <= asked * paid - share * total < total for share, asked in zip(shares, granted, strict=True))


@given(paid=st.integers(0, 10**15), mine=st.integers(0, 10**15), others=st.lists(st.integers(0, 10**15), max_size=9))
def test_a_share_does_not_depend_on_how_the_others_are_told_apart(paid: int, mine: int, others: list[int]) -> None:
    assert share_out(paid, [mine, *others])[0][0] == share_out(paid, [mine, sum(others)])[0][0]


def allocation(
    seq: int, began: float | None, ended: float | None, *, cores: int = 4, nodes: int = 1, site: str = "s"
) -> dict[str, Any]:
    shape = json.dumps({"cores": cores, "memory_mb": None, "nodes": nodes})
    return {"seq": seq, "site": site, "shape": shape, "started_at": began, "ended_at": ended, "all_core_s": None}


def row(of: dict[str, Any], user: str | None, app: str | None, core_s: float, **sums: Any) -> Any:
    none = {"tasks": 1, "attempts": 1, "failed": 0, "failed_core_s": 0.0, "cpu_s": 0.0}
    return SimpleNamespace(**{**of, **none, "user": user, "app": app, "core_s": core_s, **sums})


@st.composite
def rows_of_allocations(draw: st.DrawFn) -> list[Any]:
    rows: list[Any] = []
    for seq in range(draw(st.integers(0, 6))):
        of = allocation(
            seq,
            draw(st.none() | times),
            draw(st.none() | times),
            cores=draw(st.integers(1, 128)),
            nodes=draw(st.integers(1, 9000)),
            site=draw(st.sampled_from("st")),
        )
        users = draw(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["x@1", ""])), unique=True))
        used = [
            row(of, user, app, cost := draw(times), failed_core_s=cost * draw(st.floats(0, 1))) for user, app in users
        ]
        for one in used:
            one.all_core_s = sum(other.core_s for other in used)
        rows += used or [row(of, None, None, 0.0, tasks=0, attempts=0)]
    return rows


def us(seconds: float | None) -> int:
    assert seconds is not None and seconds >= 0
    return round(seconds * 1e6)


@given(rows=rows_of_allocations())
def test_every_line_and_every_grouping_adds_up(rows: list[Any]) -> None:
    seen = account(rows, ALL, NOW, whole=True)
    first_rows = [next(group) for _, group in groupby(rows, key=lambda one: one.seq)]
    exact = pytest.approx(us(seen.total.used_core_s), rel=1e-14, abs=20)  # views are floats
    assert us(seen.total.paid_core_s) == pytest.approx(sum(paid_for(one, NOW) for one in first_rows), rel=1e-14, abs=1)
    for line in (seen.total, *seen.by[AccountBy.SITE]):
        parts = us(line.used_core_s) + us(line.idle_core_s) + us(line.unsettled_core_s)
        assert parts == pytest.approx(us(line.paid_core_s), rel=1e-14, abs=3)
    for lines in seen.by.values():
        assert sum(us(line.used_core_s) for line in lines) == exact
        assert sum(line.attempts for line in lines) == seen.total.attempts
        assert all(us(line.failed_core_s) <= us(line.used_core_s) <= us(line.granted_core_s) for line in lines)


@given(rows=rows_of_allocations(), user=st.sampled_from("ab"))
def test_users_are_told_the_same_as_their_admin_and_no_more(rows: list[Any], user: str) -> None:
    told = account([one for one in rows if one.user == user], ALL, NOW, whole=False)
    known = next((line for line in account(rows, ALL, NOW, whole=True).by[AccountBy.USER] if line.name == user), None)
    assert us(told.total.used_core_s) == pytest.approx(us(known.used_core_s) if known else 0, rel=1e-9, abs=20)
    assert {line.name for line in told.by[AccountBy.USER]} <= {user}
    lines = [told.total, *(line for lines in told.by.values() for line in lines)]
    assert {(line.paid_core_s, line.paid_node_s, line.idle_core_s, line.unsettled_core_s) for line in lines} == {
        (None,) * 4
    }


def of_one(*rows: Any) -> Account:
    return account(rows, ALL, NOW, whole=True)


def test_nodes_count_and_what_nobody_used_was_idle() -> None:
    seen = of_one(row(allocation(1, 100.0, 200.0, cores=4, nodes=3), "alice", "x@1", 900.0, failed_core_s=300.0))
    assert (seen.total.paid_core_s, seen.total.paid_node_s) == (1200, 300)
    assert (seen.total.used_core_s, seen.total.used_node_s, seen.total.failed_core_s) == (900, 225, 300)
    assert (seen.total.idle_core_s, seen.total.unsettled_core_s) == (300, 0)


def test_of_a_running_allocation_the_rest_is_not_yet_known_to_be_idle() -> None:
    seen = of_one(row(allocation(1, NOW - 100, None, cores=2), "alice", "x@1", 50.0))
    assert (seen.total.paid_core_s, seen.total.used_core_s, seen.total.idle_core_s, seen.total.unsettled_core_s) == (
        200,
        50,
        0,
        150,
    )


def test_more_granted_than_paid_is_scaled_down() -> None:
    of = allocation(1, 0.0, 10.0, cores=1)
    seen = of_one(row(of, "alice", "x@1", 15.0, failed_core_s=7.5), row(of, "bob", "", 5.0))
    assert [(line.name, line.used_core_s, line.failed_core_s) for line in seen.by[AccountBy.USER]] == [
        ("alice", 7.5, 3.75),
        ("bob", 2.5, 0),
    ]
    assert [line.name for line in seen.by[AccountBy.APP]] == ["x@1", "(tasks)"]
    assert seen.total.idle_core_s == 0


@pytest.mark.parametrize(("began", "ended"), [(None, None), (None, 50.0), (60.0, 50.0)])
def test_what_never_started_or_ended_before_it_began_cost_nothing(began: float | None, ended: float | None) -> None:
    seen = of_one(row(allocation(1, began, ended), None, None, 0.0, tasks=0, attempts=0))
    assert (seen.total.paid_core_s, seen.by[AccountBy.USER]) == (0, [])
