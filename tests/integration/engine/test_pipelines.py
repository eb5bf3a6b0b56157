"""Pipelines through a real engine: index, per sample, gather; failures, cancels, lists, tables that cannot be."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packhorse.client import Client
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.views import RunView
from packhorse.engine.embedded import Embedded
from packhorse.engine.growing import Growing
from packhorse.engine.steps import growth
from packhorse.store.growths import open_growths
from packhorse.store.schema import tasks
from tests.fixtures.pipelines import PIPELINE, samples, similarity, write_expression
from tests.fixtures.room import wait_for
from tests.fixtures.truth import assert_each_ended_once
from tests.unit.client.test_pipeline import expression


@pytest.fixture
def room(embedded: Embedded) -> Iterator[Embedded]:
    with embedded.run_engine():
        yield embedded
    assert_each_ended_once(embedded)


def start(room: Embedded, folder: Path, rows: list[dict[str, Any]] | None = None, **params: Any) -> RunView:
    return room.mine.submit(AppRun(app=str(folder), over=rows, params=params))


def end_of(room: Embedded, run: RunView) -> RunView:
    wait_for(lambda: room.mine.run(run.id).ended, 60, "the run's end")
    return room.mine.run(run.id)


def counts_of(run: RunView) -> dict[str, dict[TaskState, int]]:
    return {step.name: step.counts for step in run.steps}


def done(number: int) -> dict[TaskState, int]:
    return {TaskState.COMPLETE: number}


def test_samples_go_through_a_pipeline_and_one_matrix_comes_out(room: Embedded, tmp_path: Path) -> None:
    rows = samples(tmp_path, "a", "bb", "ccc")
    pipeline = write_expression(tmp_path / "expression")
    run = end_of(room, start(room, pipeline, rows, genome=str(tmp_path / "genome.txt")))
    assert counts_of(run) == {"index": done(1), "align": done(3), "count": done(3), "matrix": done(1)}
    assert (run.app, run.name) == ("expression@2.1", "expression")
    table = room.mine.gathered(run.id)["table"].read_text()
    assert table.splitlines() == ["words", "count a 4 COMPLETE", "count bb 5 COMPLETE", "count ccc 6 COMPLETE"]


def test_a_pipeline_made_in_python_is_the_same(home: Path, tmp_path: Path) -> None:
    rows = samples(tmp_path, "a", "bb")
    pipeline = expression(write_expression(tmp_path / "expression"))
    with Client(home=home) as client:
        run = client.run(pipeline, over=rows, params={"genome": str(tmp_path / "genome.txt")}, name="mine").wait()
        assert run.view.counts == done(6) and (run.view.name, run.view.app) == ("mine", "expression@2.1")
        assert run.gathered()["table"].read_text().splitlines()[1:] == ["count a 4 COMPLETE", "count bb 5 COMPLETE"]
        with pytest.raises(InvalidRequest, match="'a' is in row 1 already"):
            client.run(pipeline, over=[rows[0], rows[0]], params={"genome": str(tmp_path / "genome.txt")})


def test_a_failed_sample_stops_no_other_and_a_gather_that_accepts_it_says_which_is_missing(
    room: Embedded, tmp_path: Path
) -> None:
    rows = samples(tmp_path, "a", "bad", "cc")
    given = {"genome": str(tmp_path / "genome.txt"), "broken": "bad"}
    strict = write_expression(tmp_path / "strict")
    lenient = write_expression(tmp_path / "lenient", f"{PIPELINE}        accept_failures: true\n")
    runs = [end_of(room, run) for run in [start(room, folder, rows, **given) for folder in (strict, lenient)]]
    failed = {TaskState.COMPLETE: 2, TaskState.EXECUTOR_ERROR: 1}
    stopped = {TaskState.COMPLETE: 2, TaskState.SYSTEM_ERROR: 1}
    for run, matrix in zip(runs, ({TaskState.SYSTEM_ERROR: 1}, done(1)), strict=True):
        assert counts_of(run) == {"index": done(1), "align": failed, "count": stopped, "matrix": matrix}
    assert [[step.without for step in run.steps][-1] for run in runs] == [None, "one task of 'count'"]
    table = room.mine.gathered(runs[1].id)["table"].read_text()
    assert table.splitlines()[1:] == ["count a 4 COMPLETE", "count bad None SYSTEM_ERROR", "count cc 5 COMPLETE"]


FAULTS = {  # by step: what of its manifest is replaced, so that it fails (of those over samples, for sample 'bb')
    "index": ("mkdir index;", "exit 3;"),
    "align": ('[ "$1" != "$4" ]', '[ "$1" != bb ]'),
    "count": ("wc -w <", '[ "$1" != bb ] && wc -w <'),
    "matrix": ("{app}/matrix.py", "{app}/none.py"),
}


def test_a_sample_that_fails_in_each_step_ends_what_needs_it_and_nothing_else(room: Embedded, tmp_path: Path) -> None:
    rows, given = samples(tmp_path, "a", "bb", "cc"), {"genome": str(tmp_path / "genome.txt")}
    runs = {}
    for name, (right, wrong) in FAULTS.items():
        pipeline = write_expression(tmp_path / name)
        manifest = pipeline / name / "app.yaml"
        assert right in manifest.read_text()
        manifest.write_text(manifest.read_text().replace(right, wrong))
        runs[name] = start(room, pipeline, rows, **given)
    error, stopped = TaskState.EXECUTOR_ERROR, TaskState.SYSTEM_ERROR
    some, others = {TaskState.COMPLETE: 2, error: 1}, {TaskState.COMPLETE: 2, stopped: 1}
    expected = {
        "index": ({error: 1}, {stopped: 3}, {stopped: 3}, {stopped: 1}),
        "align": (done(1), some, others, {stopped: 1}),
        "count": (done(1), done(3), some, {stopped: 1}),
        "matrix": (done(1), done(3), done(3), {error: 1}),
    }
    for name, run in runs.items():
        view = end_of(room, run)
        assert counts_of(view) == dict(zip(FAULTS, expected[name], strict=True)), name
        [failed] = [task for task in room.mine.tasks(run.id).items if task.state is error]
        assert (failed.step, failed.failure) == (name, "app")
        needed = {task.reason for task in room.mine.tasks(run.id).items if task.state is stopped}
        assert not needed or f"It needs task {failed.id}, which ended as EXECUTOR_ERROR." in needed


def test_a_cancel_in_the_middle_of_a_scatter_ends_all_that_has_not_ended(room: Embedded, tmp_path: Path) -> None:
    pipeline = write_expression(tmp_path / "slow")
    manifest = pipeline / "align" / "app.yaml"
    manifest.write_text(manifest.read_text().replace('[ "$1"', '[ "$1" = a ] || sleep 60; [ "$1"'))
    rows = samples(tmp_path, "a", *(f"b{number}" for number in range(10)))
    run = start(room, pipeline, rows, genome=str(tmp_path / "genome.txt"))

    def is_in_the_middle() -> bool:
        align = counts_of(room.mine.run(run.id))["align"]
        return align.get(TaskState.COMPLETE) == 1 and TaskState.RUNNING in align

    wait_for(is_in_the_middle, 60, "the first sample to be aligned while others run")
    room.mine.cancel_run(run.id)
    counts = counts_of(end_of(room, run))
    assert counts["align"] == {TaskState.COMPLETE: 1, TaskState.CANCELED: 10}
    assert counts["count"].get(TaskState.COMPLETE, 0) + counts["count"][TaskState.CANCELED] == 11
    assert counts["matrix"] == {TaskState.CANCELED: 1}


def test_a_list_that_a_step_leaves_becomes_tasks_whose_files_one_merges(room: Embedded, tmp_path: Path) -> None:
    run = end_of(room, start(room, similarity(tmp_path / "s"), said="[1, 2, 3]"))
    assert counts_of(run) == {"split": done(1), "search": done(3), "merge": done(1)}
    [merge] = [task for task in room.mine.tasks(run.id).items if task.step == "merge"]
    assert merge.result == 3 + 6 + 9


@pytest.mark.parametrize(
    ("said", "search", "why"),
    [
        ("[]", 0, None),
        ("{}", 0, "its result is to be a list, from which tasks come, and it is an object"),
    ],
)
def test_lists_that_are_empty_or_none(room: Embedded, tmp_path: Path, said: str, search: int, why: str | None) -> None:
    run = end_of(room, start(room, similarity(tmp_path / "s"), said=said))
    assert {step.name: step.tasks for step in run.steps} == {"split": 1, "search": search, "merge": 1}
    split = room.mine.tasks(run.id).items[0]
    assert split.state is (TaskState.COMPLETE if why is None else TaskState.EXECUTOR_ERROR)
    assert why is None or why in (split.reason or "")


@pytest.mark.parametrize(
    ("rows", "params", "says"),
    [
        (["a", "b", "a"], {}, ["row 3, parameter 'sample': 'a' is in row 1 already; no two rows may have the same."]),
        (["a", "b"], {"sample": "c"}, []),
        (["a", "b"], {"colour": "c"}, ["common parameters: unknown parameter 'colour'."]),
        (["a"], {"genome": "/no/such"}, ["common parameters, parameter 'genome': the file '/no/such' is not there."]),
    ],
)
def test_tables_that_cannot_be(
    embedded: Embedded, tmp_path: Path, rows: list[str], params: dict[str, Any], says: list[str]
) -> None:
    pipeline, table = write_expression(tmp_path / "p"), samples(tmp_path, *rows)
    given = {"genome": str(tmp_path / "genome.txt"), **params}
    if not says:
        assert start(embedded, pipeline, table, **given).tasks == 6
        return
    with pytest.raises(InvalidRequest) as caught:
        start(embedded, pipeline, table, **given)
    assert [str(one).partition(" The app's")[0] for one in caught.value.problems] == says


def test_a_list_of_100_000_items_becomes_as_many_tasks_while_others_write(home: Path, tmp_path: Path) -> None:
    """Their names come to more than other results may have. The tasks are not waited for, but canceled."""
    room = Embedded(home, linger_s=0.5)
    waits: list[float] = []
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.02):
            began = time.monotonic()
            with room.database.write():
                waits.append(time.monotonic() - began)

    def is_whole() -> bool:
        with room.database.read() as connection:
            return not open_growths(connection, "local")

    writer = threading.Thread(target=write)
    with room.run_engine():
        run = start(room, similarity(tmp_path / "s"), said="list(range(100_000))")
        wait_for(lambda: room.mine.run(run.id).steps[1].tasks, 120, "the list to be known")
        began = time.monotonic()
        writer.start()
        wait_for(is_whole, 240, "all of its tasks")
        took_s = time.monotonic() - began
        over.set()
        writer.join()
        assert max(waits) < took_s / 4, "others wait for a part, and not for the whole"
        assert room.mine.run(run.id).tasks == 100_002
        with room.database.read() as connection:
            rows = [row.params for row in connection.execute(sa.select(tasks).order_by(tasks.c.id).offset(2))]
        assert [json.loads(params)["part"] for params in rows] == list(range(100_000))
        room.mine.cancel_run(run.id)
        wait_for(lambda: room.mine.run(run.id).ended, 120, "the run's end")
    assert counts_of(room.mine.run(run.id))["search"].get(TaskState.CANCELED, 0) > 90_000
    room.close()


def test_a_cancel_ends_the_tasks_of_a_list_that_are_still_to_come_and_a_retry_has_all(
    embedded: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "PART", 3)
    may_go_on = threading.Event()
    go_on = Growing.go_on
    monkeypatch.setattr(Growing, "go_on", lambda self: may_go_on.is_set() and go_on(self))
    pipeline = similarity(tmp_path / "s")
    with embedded.run_engine():
        run = start(embedded, pipeline, said="list(range(10))")
        wait_for(lambda: embedded.mine.run(run.id).steps[1].counts.get(TaskState.COMPLETE) == 3, 60, "three tasks")
        embedded.mine.cancel_run(run.id)
        assert not embedded.mine.run(run.id).ended
        may_go_on.set()
        canceled = end_of(embedded, run)
        assert counts_of(canceled)["search"] == {TaskState.COMPLETE: 3, TaskState.CANCELED: 7}
        again = end_of(embedded, embedded.mine.retry(run.id))
    assert counts_of(again) == {"search": done(7), "merge": done(1)}
    [merged] = [task for task in embedded.mine.tasks(again.id).items if task.step == "merge"]
    assert merged.result == 3 * sum(range(10))
    assert_each_ended_once(embedded)


def test_a_retry_computes_what_failed_and_what_waited_for_it_and_gathers_all(room: Embedded, tmp_path: Path) -> None:
    pipeline = write_expression(tmp_path / "expression")
    align = pipeline / "align" / "app.yaml"
    align.write_text(align.read_text().replace('[ "$1" != "$4" ] &&', f'[ "$1" != bb -o -e {tmp_path}/flag ] &&'))
    rows = samples(tmp_path, "a", "bb", "ccc")
    first = end_of(room, start(room, pipeline, rows, genome=str(tmp_path / "genome.txt")))
    assert counts_of(first)["align"] == {TaskState.COMPLETE: 2, TaskState.EXECUTOR_ERROR: 1}
    (tmp_path / "flag").touch()
    second = end_of(room, room.mine.retry(first.id))
    assert counts_of(second) == {"align": done(1), "count": done(1), "matrix": done(1)}
    table = room.mine.gathered(second.id)["table"].read_text().splitlines()
    assert sorted(table) == ["count a 4 COMPLETE", "count bb 5 COMPLETE", "count ccc 6 COMPLETE", "words"]
