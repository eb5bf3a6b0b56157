"""The engine's pure decisions: sharing, blocks, retries, verdicts, and what a journal's bytes mean."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.failures import VERDICTS, FailureClass
from packhorse.domain.resources import Resources
from packhorse.engine.collecting.journal import parse_journal
from packhorse.engine.collecting.verdict import judge, last_line
from packhorse.engine.placing import pack
from packhorse.engine.placing.share import Turns, share
from packhorse.engine.retry import MAX_BACKOFF_S, Raised, RetryPolicy, escalate, raise_plainly
from packhorse.estimate.durations import Durations

GRANTED = Resources(ram_gb=1, walltime_s=60)

demands = st.lists(
    st.builds(pack.Demand, st.sampled_from("abcd"), st.integers(1, 50), st.integers(0, 10_000), st.floats(1e-4, 1e4)),
    max_size=12,
    unique_by=lambda demand: demand.seq,
)


@given(core_s=st.floats(0.001, 1e5), wanted=demands)
def test_sharing_gives_nobody_more_than_asked_and_all_there_is(core_s: float, wanted: list[pack.Demand]) -> None:
    given_tasks = share(core_s, wanted)
    assert all(0 < number <= demand.tasks for demand, number in given_tasks.items())
    spent = sum(number * demand.core_s for demand, number in given_tasks.items())
    assert spent <= core_s + max((demand.core_s for demand in given_tasks), default=0) + 1e-3
    assert spent >= 0.999 * min(core_s, sum(demand.tasks * demand.core_s for demand in wanted))


@given(
    core_s=st.floats(0.001, 100), wanted=demands, weights=st.dictionaries(st.sampled_from("abcd"), st.floats(0.1, 9))
)
def test_in_the_long_run_users_who_wait_get_equal_parts(
    core_s: float, wanted: list[pack.Demand], weights: dict[str, float]
) -> None:
    """Whatever their tasks take: nobody is ahead of another by more than the one task that was last, and a quota."""
    endless = [replace(demand, tasks=10**9) for demand in wanted]
    turns, had = Turns(), Counter[str]()
    for _ in range(30):
        for demand, number in turns.share(core_s, endless, weights).items():
            had[demand.user] += number * demand.core_s / weights.get(demand.user, 1.0)
    longest = {d.user: max(e.core_s for e in endless if e.user == d.user) / weights.get(d.user, 1.0) for d in endless}
    for one in longest:
        for other in longest:
            assert had[one] - had[other] <= longest[one] + core_s / weights.get(one, 1.0) + 1e-3


@pytest.mark.parametrize("task_s", [0.001, 1.0, 60.0])
def test_each_of_many_users_has_a_turn_in_each_round(task_s: float) -> None:
    turns, wanted = Turns(), [pack.Demand(f"u{number:02}", number, 5000, task_s) for number in range(40)]
    had: Counter[str] = Counter()
    quota = max(0.04, task_s)
    for _ in range(80):
        had.update({demand.user: number for demand, number in turns.share(quota, wanted).items()})
    assert len(had) == 40 and max(had.values()) - min(had.values()) <= 1, had


def test_a_newcomer_is_served_next_however_many_wait() -> None:
    turns, wanted = Turns(), [pack.Demand(f"u{number:02}", number, 5000, 1.0) for number in range(40)]
    for _ in wanted:
        turns.share(1.0, wanted)
    for rounds in range(50):
        turns.share(1.0, wanted)
        newcomer = pack.Demand(f"z{rounds}", 100 + rounds, 1, 1.0)
        assert turns.share(1.0, [*wanted, newcomer]) == {newcomer: 1}


def test_who_comes_again_and_again_gets_no_more_than_those_who_wait() -> None:
    turns, wanted = Turns(), [pack.Demand(f"u{number:02}", number, 5000, 1.0) for number in range(10)]
    again = pack.Demand("again", 99, 1, 1.0)  # always one task, which is always the last of theirs
    had: Counter[str] = Counter()
    for _ in range(220):
        had.update({demand.user: number for demand, number in turns.share(1.0, [*wanted, again]).items()})
    assert max(had.values()) - min(had.values()) <= 1, had


def test_who_had_much_while_nobody_waited_owes_nothing() -> None:
    turns = Turns()
    for _ in range(100):
        turns.share(10.0, [pack.Demand("alone", 1, 10, 1.0)])
    both = [pack.Demand("alone", 1, 100, 1.0), pack.Demand("other", 2, 100, 1.0)]
    assert list(turns.share(10.0, both).values()) == [5, 5]


def test_who_had_all_while_alone_waits_no_longer_than_the_others() -> None:
    turns, alone = Turns(), pack.Demand("alone", 1, 10**6, 1.0)
    for _ in range(100):
        turns.share(10.0, [alone])
    other = pack.Demand("other", 2, 10**6, 1.0)
    assert turns.share(10.0, [alone, other]) == {alone: 5, other: 5}


@given(wanted=demands)
def test_without_quota_nothing_is_given(wanted: list[pack.Demand]) -> None:
    assert share(0, wanted) == {}


def test_a_newcomer_gets_an_equal_part() -> None:
    given_tasks = share(4.0, [pack.Demand("alice", 1, 5000, 0.01), pack.Demand("bob", 2, 5000, 0.01)])
    assert list(given_tasks.values()) == [200, 200]


def test_what_one_leaves_the_others_get() -> None:
    alice, bob = pack.Demand("alice", 1, 5000, 0.01), pack.Demand("bob", 2, 1, 0.01)
    assert share(4.0, [alice, bob]) == {alice: 399, bob: 1}


@given(items=st.lists(st.integers(), max_size=2000), core_s=st.floats(0, 1e4), cores=st.integers(1, 256))
def test_blocks_hold_every_task_once_and_are_bounded(items: list[int], core_s: float, cores: int) -> None:
    blocks = pack.split(items, core_s, cores)
    assert [item for block in blocks for item in block] == items
    assert all(1 <= len(block) <= pack.MAX_BLOCK_TASKS for block in blocks)
    assert all(len(block) == 1 or len(block) * core_s <= pack.BLOCK_S * cores + 1e-9 for block in blocks)


@pytest.mark.parametrize(
    ("failure", "earlier", "again", "overrides"),
    [
        (FailureClass.APP, [], False, None),  # the same program on the same input
        (FailureClass.OUT_OF_MEMORY, [], True, {"ram_gb": 2.0}),
        (FailureClass.OUT_OF_MEMORY, ["out_of_memory"] * 2, False, None),  # used up
        (FailureClass.OUT_OF_TIME, [], True, {"walltime_s": 120.0}),
        (FailureClass.NODE_LOST, ["out_of_memory"], True, None),  # another class has its own count
        (FailureClass.NODE_LOST, ["node_lost"] * 3, False, None),
        (FailureClass.PREEMPTED, ["preempted"] * 9, True, None),
        (FailureClass.CANCELED, [], False, None),  # a cancel is final
        (FailureClass.UPSTREAM, [], False, None),
        (FailureClass.PREEMPTED, ["node_lost"] * 19, False, None),  # the cap over all classes
    ],
)
def test_retries_by_class(
    failure: FailureClass, earlier: list[str], again: bool, overrides: dict[str, float] | None
) -> None:
    decision = RetryPolicy.default().decide(failure, earlier, raise_plainly(failure, GRANTED, lambda _: True))
    assert (decision.again, decision.overrides) == (again, overrides)
    assert decision.why


def test_what_no_site_can_give_is_not_tried_again() -> None:
    raised = raise_plainly(FailureClass.OUT_OF_MEMORY, GRANTED, lambda _: False)
    decision = RetryPolicy.default().decide(FailureClass.OUT_OF_MEMORY, [], raised)
    assert (decision.again, decision.why) == (False, "no site can give it more")


def test_a_policy_may_be_overridden() -> None:
    assert RetryPolicy.default().override({FailureClass.APP: 1}).decide(FailureClass.APP, [], Raised()).again


def test_what_is_marked_as_hard_is_not_exceeded() -> None:
    hard = GRANTED.override({"hard": True})
    for failure in (FailureClass.OUT_OF_MEMORY, FailureClass.OUT_OF_TIME):
        raised = raise_plainly(failure, hard, lambda _: True)
        decision = RetryPolicy.default().decide(failure, [], raised)
        assert (decision.again, decision.why) == (False, "what was asked for is marked as a hard limit")
    assert RetryPolicy.default().decide(FailureClass.NODE_LOST, [], Raised()).again


def test_who_had_less_than_was_asked_for_loses_no_retry() -> None:
    policy = RetryPolicy.default().override({FailureClass.OUT_OF_MEMORY: 0})
    assert policy.decide(FailureClass.OUT_OF_MEMORY, [], Raised({"ram_gb": 2}, counts=False)).overrides == {"ram_gb": 2}
    assert not policy.decide(FailureClass.OUT_OF_MEMORY, [], Raised({"ram_gb": 2})).again


def test_back_off_grows_and_is_capped() -> None:
    policy = RetryPolicy.default().override({FailureClass.NODE_LOST: 15})
    delays = [policy.decide(FailureClass.NODE_LOST, ["node_lost"] * used, Raised()).delay_s for used in range(15)]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (1.0, MAX_BACKOFF_S)


def test_without_a_limit_there_is_nothing_to_raise() -> None:
    assert escalate(FailureClass.OUT_OF_MEMORY, Resources()) is None


@pytest.mark.parametrize(
    ("record", "failure", "words"),
    [
        ({"exit": 0}, None, ""),
        ({"exit": 3}, FailureClass.APP, "exit code 3."),
        (
            {"exit": 1, "tail": "Traceback\nKeyError: 'b0001'\n\n"},
            FailureClass.APP,
            "exit code 1; the last line of its stderr: KeyError: 'b0001'",
        ),
        ({"sig": 9}, FailureClass.APP, "signal 9 (SIGKILL)"),
        ({"sig": 250}, FailureClass.APP, "signal 250"),
        (
            {"why": "memory", "sig": 9, "peak": 1_100_000_000},
            FailureClass.OUT_OF_MEMORY,
            "memory limit of 1 GB (peak 1.10 GB)",
        ),
        ({"why": "walltime", "sig": 15}, FailureClass.OUT_OF_TIME, "walltime of 60 s"),
        ({"why": "outputs", "exit": 0, "msg": "it left no 'a.txt'"}, FailureClass.APP, "it left no 'a.txt'"),
        ({"why": "drained"}, FailureClass.PREEMPTED, "allocation ended"),
        ({"why": "canceled"}, FailureClass.CANCELED, "canceled"),
        ({"why": "a verdict of the future", "exit": 0}, FailureClass.NODE_LOST, "exit code 0"),  # never a success
    ],
)
def test_verdicts(record: dict[str, Any], failure: FailureClass | None, words: str) -> None:
    judged = judge(record, Resources(ram_gb=1, walltime_s=60), "n1")
    assert (judged.failure if judged else None) == failure
    assert judged is None or words in judged.evidence.message


@pytest.mark.parametrize(
    "record", [{"exit": 137}, {"exit": 1, "tail": "slurmstepd: error: Detected 1 oom_kill event in StepId=1.0"}]
)
def test_a_rank_that_is_killed_for_memory_on_another_node(record: dict[str, Any]) -> None:
    judged = judge(record, Resources(nodes=2), "n1")
    assert judged is not None
    assert judged.failure is FailureClass.OUT_OF_MEMORY
    alone = judge(record, Resources(), "n1")
    assert alone is not None
    assert alone.failure is FailureClass.APP


def test_a_task_over_nodes_that_ran_out_of_memory_gets_more_nodes() -> None:
    assert escalate(FailureClass.OUT_OF_MEMORY, Resources(nodes=4, ram_gb=8)) == {"nodes": 8}


def test_every_verdict_of_the_agent_has_a_class() -> None:
    assert set(VERDICTS.values()) <= set(FailureClass)


records = st.lists(
    st.one_of(
        st.builds(
            lambda task, n: {"k": "end", "id": task, "n": n, "exit": 0}, st.integers(0, 2**62), st.integers(1, 9)
        ),
        st.builds(lambda task: {"k": "back", "tasks": [[task, 1]], "why": "drain"}, st.integers(0, 2**62)),
        st.just({"k": "claim", "block": "00000001", "tasks": 3}),
    ),
    max_size=8,
)


@given(records, st.data())
def test_a_journal_read_in_pieces_says_the_same(lines: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    seen: list[dict[str, Any]] = []
    offset = 0
    while offset < len(whole):
        upto = data.draw(st.integers(offset + 1, len(whole)))
        batch = parse_journal(whole[offset:upto])
        seen += batch.records
        offset += batch.length or (upto - offset if upto == len(whole) else 0)
        assert not batch.bad_lines
    assert seen == lines


@given(st.binary())
def test_no_bytes_surprise_the_reader(data: bytes) -> None:
    batch = parse_journal(data)
    assert batch.length == data.rfind(b"\n") + 1
    assert len(batch.records) + batch.bad_lines == data[: batch.length].count(b"\n")


NO_RECORDS = ["x", "[]", "null", '{"k":"end"}', '{"k":"back","tasks":[1]}']
NO_RECORDS += ['{"k":"end","id":"1","n":1}', '{"k":"end","id":-1,"n":1}', '{"k":"end","id":true,"n":1}']


@pytest.mark.parametrize("line", NO_RECORDS)
def test_a_line_that_is_no_record_is_counted(line: str) -> None:
    batch = parse_journal(line.encode() + b"\n")
    assert (batch.records, batch.bad_lines) == ([], 1)


def test_a_line_longer_than_any_can_be_is_given_up() -> None:
    assert parse_journal(b"x" * 100, longest=100).length == 100
    assert parse_journal(b"x" * 99, longest=100).length == 0


def test_an_equal_part_for_many_users() -> None:
    parts = Counter(share(100.0, [pack.Demand(f"u{number}", number, 1000, 0.1) for number in range(10)]))
    assert set(parts.values()) == {100}


def test_parts_go_by_the_weights_of_users() -> None:
    given_tasks = share(30.0, [pack.Demand("alice", 1, 5000, 0.1), pack.Demand("bob", 2, 5000, 0.1)], {"alice": 2.0})
    assert {demand.user: number for demand, number in given_tasks.items()} == {"alice": 200, "bob": 100}


@given(
    st.floats(0.01, 1000),
    demands,
    st.dictionaries(st.sampled_from("abcd"), st.one_of(st.floats(1e-12, 1e6), st.sampled_from([1e-300, 1e6]))),
)
def test_no_weights_give_more_than_asked_or_leave_anything(
    core_s: float, wanted: list[pack.Demand], weights: dict[str, float]
) -> None:
    turns = Turns()
    for _ in range(3):
        given_tasks = turns.share(core_s, wanted, weights)
        assert all(0 < number <= demand.tasks for demand, number in given_tasks.items())
        spent = sum(number * demand.core_s for demand, number in given_tasks.items())
        assert spent >= 0.999 * min(core_s, sum(demand.tasks * demand.core_s for demand in wanted))


def test_a_user_of_next_to_no_weight_does_not_stop_the_others() -> None:
    light, heavy = pack.Demand("light", 1, 5000, 0.1), pack.Demand("heavy", 2, 10, 0.1)
    assert share(10.0, [light, heavy], {"light": 1e-12, "heavy": 1e6}) == {heavy: 10, light: 90}


def test_what_a_heavy_user_cannot_use_goes_to_the_others() -> None:
    alice, bob = pack.Demand("alice", 1, 10, 0.1), pack.Demand("bob", 2, 5000, 0.1)
    assert share(10.0, [alice, bob], {"alice": 9.0}) == {alice: 10, bob: 90}


def test_a_user_s_runs_go_by_priority_and_then_by_age() -> None:
    old, young = pack.Demand("u", 1, 100, 0.1), pack.Demand("u", 2, 100, 0.1)
    urgent = pack.Demand("u", 3, 100, 0.1, rank=-5)
    given_tasks = share(15.0, [old, young, urgent])
    assert given_tasks == {urgent: 100, old: 50}


def test_the_priority_of_one_user_is_nothing_to_another() -> None:
    pushy, modest = pack.Demand("pushy", 1, 1000, 0.1, rank=-100), pack.Demand("modest", 2, 1000, 0.1)
    assert share(10.0, [pushy, modest]) == {pushy: 50, modest: 50}


def test_the_frame_around_a_message_is_not_what_was_said() -> None:
    """mpirun draws one around what it has to say."""
    assert (
        last_line("-----\nmpirun has detected an attempt to run as root.\n-----\n\n")
        == "mpirun has detected an attempt to run as root."
    )
    assert last_line("---\n") == "" == last_line(None)


def test_of_thousands_of_runs_the_durations_of_the_last_are_known() -> None:
    durations = Durations()
    for number in range(3000):
        durations.observe("often", 2.0)
        durations.observe(f"run {number}", float(number))
    assert (durations.predict("run 0"), durations.predict("run 2999"), durations.predict("often")) == (
        None,
        2999.0,
        2.0,
    )
