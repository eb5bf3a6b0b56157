"""The predictor: it learns, it keeps to its limits, it says why."""

from __future__ import annotations

import random
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import pytest

from packhorse.domain.failures import FailureClass
from packhorse.estimate.decisions import Decision, Limits, Policy
from packhorse.estimate.predictor import Predictor
from packhorse.estimate.records import Amounts, Features, Kind, Record

from .records import GB, KIND, PRESET, after, ended, linear, memory, task


def test_what_was_asked_for_is_asked_for_while_nothing_is_known() -> None:
    decision = Predictor().decide(KIND, task(GB), PRESET)
    assert decision.request == PRESET
    assert decision.memory_mb is not None and decision.memory_mb.history == 0
    assert decision.memory_mb.reason == "as asked: nothing is known yet"


def test_nothing_is_asked_for_where_nothing_is_known_and_nothing_was_asked_for() -> None:
    assert Predictor().decide(KIND, task(GB), Amounts()) == Decision()


def test_memory_follows_the_size_of_the_inputs() -> None:
    predictor = after(linear(60))
    for reads in (1e9, 5e9, 9e9):
        decision = predictor.decide(KIND, task(reads), PRESET)
        need = 1000 + 2 * reads / 1e6
        assert decision.memory_mb is not None
        assert need * 1.0 < decision.memory_mb.request < need * 1.25
        assert decision.memory_mb.low <= decision.memory_mb.median <= decision.memory_mb.high
        assert decision.memory_mb.median == pytest.approx(need, rel=0.1)
        assert decision.memory_mb.history == 60
        assert decision.memory_mb.failure_chance <= 0.05


def test_the_plan_for_time_is_a_median_and_the_limit_lies_above_all_that_was_seen() -> None:
    records = linear(60)
    decision = after(records).decide(KIND, task(5e9), PRESET)
    assert decision.walltime_s is not None
    assert decision.walltime_s.median == pytest.approx(500, rel=0.15)
    assert decision.walltime_s.request > max(record.wall_s or 0 for record in records)


def test_cores_that_stay_idle_are_not_asked_for() -> None:
    decision = after(linear(10)).decide(KIND, task(5e9), PRESET)
    assert decision.cores is not None
    # 3 of 8 were busy: by Amdahl's law a quarter of the work is serial, and 5 cores are busy to half or more
    assert decision.cores.request == 5
    assert "3.0 of 8" in decision.cores.reason


def test_cores_that_are_busy_are_kept() -> None:
    decision = after(replace(record, cpu_s=7.9 * (record.wall_s or 1)) for record in linear(10)).decide(
        KIND, task(5e9), PRESET
    )
    assert decision.cores is not None and decision.cores.request == 8


def test_a_request_stays_within_limits() -> None:
    predictor = after(linear(30))
    limits = Limits(Amounts(memory_mb=64), Amounts(memory_mb=5000, walltime_s=200, cores=2, disk_mb=1000))
    decision = predictor.decide(KIND, task(9e9), PRESET, Policy(), limits)
    assert decision.request == Amounts(5000, 200, 2, 1000)
    assert "to a limit" in decision.memory_mb.reason


def test_a_retry_says_when_its_limit_leaves_nothing_more() -> None:
    predictor = after(linear(30))
    limits = Limits(Amounts(), Amounts(memory_mb=5000))
    failed = Amounts(memory_mb=5000, walltime_s=1000)
    again = predictor.retry(KIND, task(9e9), failed, FailureClass.OUT_OF_MEMORY, PRESET, Policy(), limits)
    assert again.exhausted == "memory_mb"
    again = predictor.retry(KIND, task(9e9), failed, FailureClass.OUT_OF_MEMORY, PRESET)
    assert again.exhausted is None and memory(again) > 5000


def test_a_task_that_ran_out_of_time_is_given_more() -> None:
    predictor = after(linear(30))
    failed = Amounts(walltime_s=40_000)
    again = predictor.retry(KIND, task(9e9), failed, FailureClass.OUT_OF_TIME, PRESET)
    assert again.walltime_s is not None and again.walltime_s.request == 80_000


def test_what_was_killed_at_a_limit_counts_as_at_least_that() -> None:
    """Half of the tasks need more than they were given: whoever took what was measured for need would ask for it
    again.
    """
    records = [ended(GB, 2000) for _ in range(10)]
    killed = [
        ended(GB, 2100, failure=FailureClass.OUT_OF_MEMORY, memory_censored=True, wall_s=3 + number)
        for number in range(10)
    ]
    without, with_killed = after(records), after([*records, *killed])
    assert memory(without.decide(KIND, task(GB), PRESET)) < 2300
    assert memory(with_killed.decide(KIND, task(GB), PRESET)) > 3000


def test_a_task_that_was_killed_and_then_ran_to_its_end_counts_once() -> None:
    killed = ended(2e9, 2000, failure=FailureClass.OUT_OF_MEMORY, memory_censored=True, wall_s=20)
    predictor = after([*linear(20), killed, ended(2e9, 5000)])
    assert predictor.history(KIND) == 21


def test_an_app_that_failed_by_itself_says_nothing_of_its_need() -> None:
    predictor = after([*linear(5), ended(GB, 1, failure=FailureClass.APP)])
    assert predictor.history(KIND) == 5


def test_history_of_before_a_change_hardly_counts() -> None:
    before = after(linear(60))
    changed = after([*linear(60), *linear(10, seed=2, factor=4)])
    assert memory(changed.decide(KIND, task(5e9), PRESET)) > 3.5 * memory(before.decide(KIND, task(5e9), PRESET))
    less = after([*linear(60), *linear(20, seed=2, factor=0.25)])
    assert memory(less.decide(KIND, task(5e9), PRESET)) < 0.5 * memory(before.decide(KIND, task(5e9), PRESET))


def test_an_app_that_takes_what_it_is_given_is_recognised() -> None:
    draw = random.Random(3)
    records = []
    for number in range(12):
        granted = (4000, 8000, 16_000)[number % 3]
        reads = draw.uniform(1, 5) * GB
        records.append(ended(reads, granted * draw.uniform(0.85, 0.9), granted=replace(PRESET, memory_mb=granted)))
    decision = after(records).decide(KIND, task(3e9), replace(PRESET, memory_mb=8000))
    assert decision.memory_mb is not None
    assert decision.memory_mb.follows_grant
    assert decision.memory_mb.request == 8000
    unasked = after(records).decide(KIND, task(3e9), Amounts())
    assert unasked.memory_mb is not None and unasked.memory_mb.request == 4000


def test_a_good_estimate_is_not_taken_for_an_app_that_follows_its_grant() -> None:
    records = [
        replace(each, granted=replace(PRESET, memory_mb=(each.peak_memory_bytes or 0) / 1e6 * 1.1))
        for each in linear(40)
    ]
    decision = after(records).decide(KIND, task(3e9), PRESET)
    assert decision.memory_mb is not None and not decision.memory_mb.follows_grant


def test_a_new_version_begins_with_what_the_one_before_needed() -> None:
    predictor = after(linear(40))
    newer = replace(KIND, version="1.1")
    decision = predictor.decide(newer, task(5e9), PRESET)
    assert 10_000 < memory(decision) < 15_000
    for record in linear(12, seed=5, kind=newer, factor=0.5):
        predictor.observe(record)
    assert memory(predictor.decide(newer, task(5e9), PRESET)) < 8000


def test_a_new_step_begins_with_what_the_others_used_of_their_presets() -> None:
    predictor = Predictor()
    for step in range(6):
        for record in linear(8, seed=step, kind=Kind("pipeline", "1", f"step{step}")):
            predictor.observe(replace(record, requested=replace(PRESET, memory_mb=400_000)))
    new = Kind("pipeline", "1", "new")
    decision = predictor.decide(new, task(5e9), PRESET)
    assert memory(decision) < 0.2 * 32_000
    again = predictor.retry(new, task(5e9), decision.request, FailureClass.OUT_OF_MEMORY, PRESET)
    assert memory(again) == 32_000


def test_time_is_scaled_between_node_types() -> None:
    def run(kind: Kind, node_type: str, factor: float) -> list[Record]:
        return [
            replace(each, node_type=node_type, wall_s=(each.wall_s or 0) * factor) for each in linear(20, kind=kind)
        ]

    other = Kind("other", "1")
    predictor = after([*run(other, "old", 2), *run(other, "new", 1), *run(KIND, "old", 2)])
    slow, fast, either = (
        predictor.decide(KIND, task(5e9), PRESET, on=names).walltime_s for names in (["old"], ["new"], ["new", "old"])
    )
    assert slow is not None and fast is not None and either is not None
    assert slow.median == pytest.approx(2 * fast.median, rel=0.05)
    assert either.median == fast.median, "planned with the likelier"
    assert either.request == slow.request > 1.5 * fast.request, "enough on the slower"


def test_a_choice_tells_tasks_apart() -> None:
    records = []
    for number, record in enumerate(linear(60)):
        mode = ("fast", "thorough")[number % 2]
        peak = (record.peak_memory_bytes or 0) * (1 if mode == "fast" else 5)
        features = replace(record.features, categorical={"mode": mode})
        records.append(replace(record, features=features, peak_memory_bytes=peak))
    predictor = after(records)
    fast, thorough = (
        memory(predictor.decide(KIND, replace(task(5e9), categorical={"mode": mode}), PRESET))
        for mode in ("fast", "thorough")
    )
    assert thorough > 2 * fast


def test_what_is_held_is_bounded() -> None:
    predictor = after(ended(GB, 1000 + number) for number in range(2000))
    assert predictor.history(KIND) == 300
    for number in range(1200):
        predictor.observe(ended(GB, 1000, Kind(f"app{number}")))
    assert predictor.history(KIND) == 0
    assert len(predictor.state()["kinds"]) == 1000


def test_memory_is_bounded_with_a_hundred_thousand_attempts() -> None:
    """All models of all kinds included: what is held of a kind does not grow with the square of its history."""
    draw = random.Random(4)
    one_kind = linear(300)
    tracemalloc.start()
    try:
        predictor = Predictor()
        for number in range(40):
            kind = Kind(f"app{number}")
            for record in one_kind:
                predictor.observe(replace(record, kind=kind))
            predictor.decide(kind, task(draw.uniform(1e9, 9e9)), PRESET)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held / (40 * 300) < 1500, "bytes for each attempt: 100,000 of them take 150 MB at most"


def test_an_app_with_thousands_of_parameters_takes_no_more_than_others() -> None:
    predictor = Predictor()
    for number in range(10):
        numeric = {f"p{number}_{index}": float(index) for index in range(1000)}
        predictor.observe(replace(ended(GB, 1000), features=Features(numeric=numeric)))
    assert len(predictor.state()["kinds"][0]["history"]["columns"]) <= 24


@pytest.mark.parametrize("state", [{}, {"version": 0}, {"version": 1}, {"version": 1, "kinds": [{"kind": ["a"]}]}])
def test_a_state_that_is_none_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="learnt anew"):
        Predictor.restored(state)


def test_importing_the_predictor_imports_no_numpy() -> None:
    program = """
import sys
from packhorse.estimate.predictor import Predictor
from packhorse.estimate.records import Kind, Record
Predictor().observe(Record(Kind("a"), peak_memory_bytes=1))
print("numpy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
