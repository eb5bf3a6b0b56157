"""The parts of a supervisor by themselves: its queue, its resources, its drain, what it knows of durations."""

from __future__ import annotations

from typing import Any

from packhorse.agent.supervisor.drain import Drain
from packhorse.agent.supervisor.durations import SHORT_S, Durations
from packhorse.agent.supervisor.pack import MAX_BLOCKED_S, MAX_PASSED
from packhorse.agent.supervisor.queue import Queue
from packhorse.agent.supervisor.resources import Resources
from packhorse.agent.supervisor.task import Task

NOW = 1000.0


def task(number: int, cores: float = 1.0, walltime_s: float | None = None) -> Task:
    made = Task((number, 1), b"", "t")
    made.cores, made.walltime = cores, walltime_s
    return made


def filled(*tasks: Task) -> Queue:
    queue = Queue()
    for each in tasks:
        queue.put(each)
    return queue


def take(queue: Queue, resources: Resources, now: float = NOW, drain_at: float | None = None) -> tuple[int, list[int]]:
    """The number of the task that starts (0 if none does), and those that are too late."""
    late: list[Task] = []
    found = queue.take(resources, now, drain_at, late)
    return found.key[0] if found else 0, [each.key[0] for each in late]


def test_what_came_back_from_a_slot_does_not_reset_what_the_large_one_has_waited() -> None:
    resources = Resources(2.0, 0)
    resources.take(task(99))
    large, small = task(1, cores=2.0), task(2)
    queue = filled(large, *(task(number) for number in range(3, 3 + MAX_PASSED)))
    for number in range(3, 3 + MAX_PASSED):
        assert not queue.has_reserved(NOW)
        assert take(queue, resources)[0] == number
    queue.put(task(500))
    assert queue.has_reserved(NOW) and take(queue, resources)[0] == 0
    queue.put_back([small])  # it was first before
    assert not queue.has_reserved(NOW) and take(queue, resources)[0] == 2
    assert queue.has_reserved(NOW) and take(queue, resources)[0] == 0
    resources.give(task(99))
    assert take(queue, resources)[0] == 1


def test_a_node_drains_for_what_has_been_first_for_long_though_little_has_passed() -> None:
    resources = Resources(2.0, 0)
    resources.take(task(99))
    queue = filled(task(1, cores=2.0), task(2), task(3))
    assert take(queue, resources)[0] == 2
    assert take(queue, resources, NOW + MAX_BLOCKED_S)[0] == 0
    assert [each.key[0] for each in queue] == [1, 3]


def test_what_has_no_time_left_is_found_before_the_node_drains_for_it() -> None:
    resources = Resources(2.0, 0)
    resources.take(task(99))
    queue = filled(task(1, cores=2.0, walltime_s=10.0), task(2, walltime_s=10.0), task(3))
    assert take(queue, resources, NOW, NOW + 9.0) == (3, [1, 2])
    behind = filled(task(1, cores=2.0), task(2, walltime_s=10.0), task(3))
    assert take(behind, resources, NOW, NOW + 9.0) == (3, [2])
    assert [each.passed for each in behind] == [1], "only what was started has passed"


def test_tasks_that_are_wanted_no_more_leave_the_queue() -> None:
    queue = filled(task(1), task(2), task(3))
    queue.drop({(2, 1)})
    assert [each.key[0] for each in queue.clear()] == [1, 3] and not queue


def test_tenths_of_cores_come_back_whole() -> None:
    resources = Resources(1.0, 100)
    for _ in range(10):
        resources.take(task(1, cores=0.1))
    queue = filled(task(2, cores=0.1))
    assert take(queue, resources)[0] == 0
    for _ in range(10):
        resources.give(task(1, cores=0.1))
    assert take(filled(task(3)), resources)[0] == 3
    assert resources.can_never_take(task(4, cores=1.5)) and not resources.can_never_take(task(5))


def drain(**allocation: Any) -> Drain:
    return Drain(NOW, {"walltime_s": 100.0, "grace_s": 10.0, "kill_grace_s": 2.0} | allocation)


def test_a_drain_for_the_walltime_begins_a_grace_before_its_end() -> None:
    one = drain()
    assert one.must_begin(NOW + 89.0) is None and one.must_begin(NOW + 90.0) == "walltime"
    one.begin("walltime", NOW + 90.0)
    assert one.must_begin(NOW + 91.0) is None
    assert not one.must_terminate(NOW + 97.9) and one.must_terminate(NOW + 98.0)
    assert not one.is_of_job()


def test_a_drain_for_a_signal_has_a_grace_of_its_own_and_a_second_signal_ends_it() -> None:
    one = drain(walltime_s=None, signal_grace_s=4.0)
    assert one.at is None and one.must_begin(NOW + 1e6) is None
    one.signals = 1
    assert one.must_begin(NOW) == "signal"
    one.begin("signal", NOW)
    assert one.is_of_job() and not one.must_terminate(NOW + 1.9) and one.must_terminate(NOW + 2.0)
    one.signals = 2
    assert one.must_terminate(NOW)


def test_durations_are_running_means_of_each_template() -> None:
    durations, one = Durations(), task(1, cores=2.0)
    assert durations.mean(one) == SHORT_S and not durations.is_short(one)
    durations.learn(one, 0.01)
    durations.learn(one, 0.02)
    assert abs(durations.mean(one) - 0.012) < 1e-9 and durations.is_short(one)
    assert abs(durations.busy_core_s - 0.06) < 1e-9
