"""The benchmark of estimates measures what it says: by hand on small cases, and whole on a trace made here."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from bench.estimation import __main__ as benchmark
from bench.estimation import swf, traces
from bench.estimation.easy import Easy, bounded_slowdown
from bench.estimation.ours import Ours
from bench.estimation.peers import PEERS, Most, Presets, Tovar
from bench.estimation.planners import Clairvoyant, LastTwo, Requests
from bench.estimation.protocols import protocol_a, protocol_b, run
from bench.estimation.report import halves
from bench.estimation.swf import Job
from bench.estimation.traces import GB, Task

TASK = Task("align", "s1", 1e9, 2e9, 2e9, 8e9, 2, 3600, 3600, 0, 3600)


def linear(count: int) -> list[Task]:
    draw = random.Random(1)
    tasks = []
    for number in range(count):
        size = draw.uniform(1, 10) * 1e9
        need = (1e9 + size) * draw.uniform(0.98, 1.02)
        begun = number * 600.0
        tasks.append(Task("align", f"s{number}", size, need, need, 64e9, 2, 900, 900, begun, begun + 900))
    return tasks


def test_a_failed_attempt_costs_all_of_it() -> None:
    waste, failed = run(1 * GB, lambda asked: 2 * asked, need=3 * GB, runtime_s=3600)
    assert (waste, failed) == (1 + 2 + (4 - 3), 2)


def test_presets_waste_what_is_not_used() -> None:
    outcome = protocol_a([TASK] * 40, 1996, lambda process: Presets())
    assert outcome.tasks == 28
    assert outcome.waste == pytest.approx(28 * 6)
    assert protocol_a([TASK] * 33, 1996, lambda process: Presets()).tasks == 0


def test_a_task_is_learnt_once_it_has_ended() -> None:
    """Four start together, and have only the preset to go by; those that start later know what they used."""
    together = [TASK] * 4
    later = replace(TASK, start=4000, complete=7600)
    outcome = protocol_b([*together, later], lambda process: Most())
    assert outcome.waste == pytest.approx(4 * 6 + 0.2)


def test_tovar_chooses_what_wastes_least() -> None:
    peer = Tovar(to_node=True)
    for need in (1e9,) * 9 + (10e9,):
        peer.learn(1, 1, need, 100)
    assert peer.first(1, 1) == 1e9  # 10 × 1 + 1 × 10 is less than 10 × 10
    assert peer.again(1, 1, 1e9) == 10e9
    assert peer.again(1, 1, 10e9) == 128e9


def test_ours_wastes_less_than_every_peer_on_tasks_that_go_by_their_size() -> None:
    tasks = linear(80)
    ours = protocol_a(tasks, 1, Ours("trace").of)
    for make in PEERS.values():
        maker = make()
        peer = protocol_a(tasks, 1, lambda process: maker())  # noqa: B023
        assert ours.waste < peer.waste


def test_halves_are_of_samples_where_a_trace_has_samples() -> None:
    tasks = [replace(TASK, tag=f"s{number}", process=process, start=number) for number in range(20) for process in "ab"]
    before, after = halves(tasks)
    assert {task.tag for task in before} == {f"s{number}" for number in range(10)}
    assert len(after) == 20
    before, after = halves([replace(task, tag="-") for task in tasks])
    assert [len([task for task in before if task.process == each]) for each in "ab"] == [10, 10]
    assert len(after) == 20


def job(number: int, submit: float, runtime: float, processors: int, request: float | None = None) -> Job:
    return Job(number, submit, runtime, processors, request or runtime, user=1)


def test_easy_backfills_what_does_not_delay_the_first() -> None:
    """Of 10 processors 6 are busy for 100 s; the first in the queue wants 8: only what ends before starts earlier."""
    jobs = [job(1, 0, 100, 6), job(2, 1, 50, 8), job(3, 2, 200, 4), job(4, 3, 90, 4), job(5, 4, 300, 2)]
    waits = Easy(jobs, 10, Requests(), shortest_first=False).run()
    assert waits[1] == 0
    assert waits[2] == 99
    assert waits[4] == 0  # it ends at 93
    assert waits[3] == 148  # it would end at 202, and does not fit beside the first
    assert waits[5] == 89  # nothing is free before 93; beside the first two are


def test_a_job_that_takes_longer_than_predicted_is_expected_to_take_what_it_asked_for() -> None:
    early = [Job(1, 0, 10, 1, 1000, 1), Job(2, 20, 10, 1, 1000, 1)]
    late = [Job(3, 40, 500, 10, 1000, 1), Job(4, 41, 10, 10, 1000, 1)]
    jobs = [*early, *late]
    waits = Easy(jobs, 10, LastTwo(), shortest_first=True).run()
    assert waits[4] == 499
    assert bounded_slowdown(jobs, waits) == pytest.approx((1 + 1 + 1 + 50.9) / 4)


def test_nobody_waits_longer_on_average_with_runtimes_that_are_known() -> None:
    draw = random.Random(2)
    jobs = []
    for number in range(400):
        runtime = draw.expovariate(1 / 300) + 1
        jobs.append(
            Job(number, number * 40.0, runtime, draw.randrange(1, 9), runtime * draw.uniform(1, 20), number % 5)
        )
    known, asked = (
        bounded_slowdown(jobs, Easy(jobs, 10, way, shortest_first=True).run()) for way in (Clairvoyant(), Requests())
    )
    assert known < asked


def test_a_log_is_read_as_its_format_says(tmp_path: Path) -> None:
    line = "{0} 10 5 {1} 4 -1 -1 {2} 100 -1 1 7 1 1 -1 -1 -1 -1\n"
    path = tmp_path / "log.swf"
    path.write_text("; MaxProcs: 16\n" + line.format(1, 50, 8) + line.format(2, -1, 8) + line.format(3, 500, -1))
    log = swf.read(path)
    assert log.processors == 16
    assert [(each.number, each.runtime, each.processors) for each in log.jobs] == [(1, 50, 8), (3, 100, 4)]


def test_the_benchmark_prints_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = "process,tag,rchar,rss,peak_rss,memory,cpus,realtime,start,complete,%cpu"
    rows = [
        f"{task.process},{task.tag},{task.size:.0f},{task.rss:.0f},{task.peak_rss:.0f},{task.preset:.0f},2,900000,"
        f"{task.start * 1000:.0f},{task.complete * 1000:.0f},150"
        for task in linear(50)
    ]
    (tmp_path / "small.csv").write_text("\n".join([columns, *rows, rows[0].replace("900000", "-")]) + "\n")
    assert len(traces.read(tmp_path, "small")) == 50
    for part, names in (("a", ["a_ratio", "a_failures"]), ("b", ["b_ratio", "b_warm_ratio", "b_failed_share"])):
        assert benchmark.main(["--traces", str(tmp_path), "--only", part, "--seeds", "1"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.partition("=")[0] for line in lines[-len(names) :]] == names
    assert benchmark.main(["--traces", str(tmp_path / "none")]) == 0
    assert "nothing is measured" in capsys.readouterr().out
