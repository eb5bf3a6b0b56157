"""Whose history counts for whom, and which attempts of many are remembered."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from packhorse.domain.config import EstimatesConfig
from packhorse.domain.failures import FailureClass
from packhorse.domain.history import Features
from packhorse.domain.resources import Estimates, Resources
from packhorse.engine.collecting.thinning import Thinning
from packhorse.engine.sizing.estimator import Estimator, Sized
from packhorse.engine.sizing.histories import OWN, Histories
from packhorse.engine.sizing.rules import Rules, bounds, decides, of_owner
from packhorse.estimate.decisions import Decision
from packhorse.estimate.predictor import Predictor
from packhorse.estimate.records import Kind
from packhorse.sites.base import Limits

KIND = Kind("app", "1", "")


def row(owner: str, peak: int = 100, **changes: Any) -> Any:
    """A row of the store's history."""
    used: dict[str, Any] = dict.fromkeys(
        ("asked_memory_mb", "asked_walltime_s", "asked_cores", "memory_mb", "walltime_s", "cores", "cpu_s",
         "disk_bytes", "failure")
    )  # fmt: skip
    about = {"app": "app", "version": "1", "part": "", "features": "{}", "node_type": "", "owner": owner}
    measured = {"peak_memory": peak, "wall_s": 1.0, "memory_censored": False, "time_censored": False}
    return SimpleNamespace(**{**used, **about, **measured, **changes})


def histories(*owners: str) -> Histories:
    found = Histories()
    for owner in owners:
        found._take(row(owner))
    return found


def test_who_has_enough_of_their_own_is_judged_by_that_alone() -> None:
    known = histories(*(["a"] * OWN + ["b"] * 500))
    assert known.best(KIND, "a") == (of_owner(KIND, "a"), False)
    assert known.best(KIND, "c") == (KIND, True)


def test_who_is_alone_is_bound_by_nobody() -> None:
    known = histories("a", "a")
    assert known.best(KIND, "a") == (KIND, False), "it is their own, though little"
    assert known.best(KIND, "b") == (KIND, True)


def test_tasks_are_decided_for_the_nodes_on_which_attempts_ended_last_at_their_site() -> None:
    found = Histories()
    about = {"site": "s", "task_id": 1}
    for node in ["old"] * 150 + ["new"] * 130 + [""]:
        found._take(row("a", node_type=node, **about))
    found._take(row("a", node_type="far", site="t", task_id=2))
    found._take(row("a", node_type="imported", site="s", task_id=None))
    assert found.nodes_of("s") == ["new", "old"]
    assert found.nodes_of("t") == ["far"]
    assert found.nodes_of("u") == []


def test_the_limit_for_time_is_enough_on_the_slower_nodes_of_a_site() -> None:
    estimator = Estimator(Rules(EstimatesConfig()))
    estimator.features.texts._key = bytes(32)
    asked = Resources(ram_gb=1, walltime_s=36_000)

    def granted(nodes: str) -> float:
        step: Any = SimpleNamespace(kind=lambda _: KIND, sizes_itself=False, row=SimpleNamespace(user="u", site=nodes))
        sized = estimator.decide(cast(sa.Connection, None), step, "{}", asked, Features(), [])
        return sized.granted.walltime_s or 0

    for number in range(30):
        site, node, wall_s = [("fast", "new", 1000.0), ("mixed", "new", 1000.0), ("mixed", "old", 4000.0)][number % 3]
        found = row("a", site=site, node_type=node, task_id=number, wall_s=wall_s)
        estimator._histories._take(found)
    assert granted("mixed") >= 3.5 * granted("fast")


@given(st.lists(st.sampled_from("abc"), min_size=60, max_size=400), st.integers(0, 2000))
def test_nobody_has_more_than_half_of_what_is_shared(owners: list[str], flood: int) -> None:
    """However many attempts one of them adds at the end."""
    known = histories(*owners, *["evil"] * flood)
    shares = known._shares[KIND]
    total = len(shares.owners)
    alone = len(set(owners)) == 1
    assert alone or shares.numbers["evil"] <= max(20, total / 2 + 1)
    assert sum(shares.numbers.values()) == total <= 200


@given(st.integers(1, 30_000), st.booleans())
def test_of_many_attempts_few_are_kept_and_they_stand_for_all(number: int, is_short: bool) -> None:
    thinning = Thinning()
    core_s = 1.0 if is_short else 100.0
    kept = [thinning.keep(1, None, core_s, core_s, 5.0) for _ in range(number)]
    whole = 100 if is_short else 2000
    assert all(kept[:whole])
    assert sum(map(bool, kept)) <= whole * (2 + math.log(max(1.0, number / whole)))
    assert sum(kept) <= number
    assert number - sum(kept) <= number / whole, "but for those that wait for the next one"


def test_what_used_more_than_all_before_is_kept_and_so_is_another_outcome() -> None:
    thinning = Thinning()
    for _ in range(1500):
        thinning.keep(1, None, 0.1, 0.1, 100.0)
    for _ in range(20):
        assert thinning.keep(1, None, 0.1, 0.1, 104.0) <= 16
    assert thinning.keep(1, None, 0.1, 0.1, 110.0)
    assert thinning.keep(1, None, 0.1, 0.2, 100.0)
    assert thinning.keep(1, "app", 0.1, 0.1, 1.0) == 1


def test_the_run_s_word_goes_first_then_the_app_s_then_the_site_s() -> None:
    config = EstimatesConfig.model_validate({"mode": "off", "apps": {"a": "on"}})
    assert Rules(config).mode("b", Resources()) is Estimates.OFF
    assert Rules(config, Estimates.OBSERVE).mode("b", Resources()) is Estimates.OBSERVE
    assert Rules(config, Estimates.OBSERVE).mode("a", Resources()) is Estimates.ON
    said = Resources.model_validate({"estimates": "off"})
    assert Rules(config, Estimates.OBSERVE).mode("a", said) is Estimates.OFF


def test_what_can_be_decided() -> None:
    both = Resources(ram_gb=1, walltime_s=60)
    assert decides(both, sizes_itself=False) == (True, True)
    assert decides(both, sizes_itself=True) == (False, True)
    assert decides(Resources(), sizes_itself=False) == (False, False), "what has no limit gets none"
    assert decides(both.override({"nodes": 2}), sizes_itself=False) == (False, False)


def test_bounds_are_the_site_s_the_user_s_where_hard_and_twice_what_was_asked_for_by_others_history() -> None:
    site = [Limits(4, 16_000, walltime_s=3600.0)]
    asked = Resources(ram_gb=2, walltime_s=600)
    assert bounds(asked, site, others=False).most.memory_mb == 16_000
    assert bounds(asked, site, others=True).most.memory_mb == 4000
    hard = bounds(asked.override({"hard": True}), site, others=False)
    assert (hard.most.memory_mb, hard.most.walltime_s) == (2000, 600)
    assert bounds(asked.override({"ram_gb": 0.01, "hard": True}), site, others=False).least.memory_mb == 10
    assert bounds(asked, [], others=False).most.memory_mb is None, "nothing is known of the site"


def test_a_decision_that_cannot_be_made_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a history holds: it must not stop the site."""

    def fails(*_: Any) -> Decision:
        raise ArithmeticError("of a matrix without a rank")

    monkeypatch.setattr(Predictor, "decide", fails)
    monkeypatch.setattr(Predictor, "retry", fails)
    estimator = Estimator(Rules(EstimatesConfig()))
    monkeypatch.setattr(estimator, "_owner", lambda *_: "a")
    step: Any = SimpleNamespace(kind=lambda _: KIND, sizes_itself=False, row=SimpleNamespace(site="s"))
    asked, connection = Resources(ram_gb=1, walltime_s=60), cast(sa.Connection, None)
    assert estimator.decide(connection, step, "{}", asked, Features(), []).granted == asked
    failed = FailureClass.OUT_OF_MEMORY
    raised = estimator.raised(connection, step, "{}", Features(), failed, asked, asked, [])
    assert isinstance(raised, Sized) and raised.granted == asked


odd_numbers = st.one_of(st.none(), st.floats(allow_nan=False, width=64), st.integers(0, 1 << 62))


remembered = st.fixed_dictionaries(
    {
        "peak_memory": st.one_of(st.none(), st.integers(0, 1 << 62)),
        **dict.fromkeys(("wall_s", "cpu_s", "memory_mb", "walltime_s"), odd_numbers),
        "features": st.sampled_from(['{"numbers":{"a":1e300}}', '{"inputs":{"b":0}}', '{"compressed":["b"]}', "{}"]),
        "failure": st.sampled_from([None, "app", "out_of_memory", "preempted"]),
    }
)


_BARE = {
    **dict.fromkeys(("peak_memory", "wall_s", "cpu_s", "memory_mb", "walltime_s", "failure")),
    "features": '{"numbers":{"a":1e300}}',
}


@given(st.lists(remembered, max_size=12))
@example(
    [
        _BARE,
        _BARE,
        {**_BARE, "wall_s": 1.0},
        {**_BARE, "wall_s": 1.0},
        {**_BARE, "wall_s": 1.1984620899082105e308, "failure": "out_of_memory"},
    ]
)
@settings(deadline=None, max_examples=25)
def test_whatever_was_remembered_a_task_is_granted_something(rows: list[dict[str, Any]]) -> None:
    estimator = Estimator(Rules(EstimatesConfig()))
    for changes in rows:
        estimator._histories._take(row("a", **changes))
    step: Any = SimpleNamespace(kind=lambda _: KIND, sizes_itself=False, row=SimpleNamespace(user="u", site="s"))
    estimator.features.texts._key = bytes(32)
    site = [Limits(4, 16_000, walltime_s=3600.0)]
    asked = Resources(ram_gb=1, walltime_s=60)
    sized = estimator.decide(cast(sa.Connection, None), step, "{}", asked, Features(numbers={"a": 2.0}), site)
    assert 0 < (sized.granted.memory_mb or 0) <= 16_000
    assert 0 < (sized.granted.walltime_s or 0) <= 3600
