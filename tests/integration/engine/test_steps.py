"""Runs of several steps through a real engine, on both databases: each kind of edge, and lists that come to be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packhorse.domain.run import StepRun
from packhorse.domain.states import DataState, TaskState
from packhorse.domain.views import RunView, TaskView
from packhorse.engine.embedded import Embedded
from packhorse.store.schema import data
from tests.fixtures.apps import Apps
from tests.fixtures.room import make_app, wait_for
from tests.fixtures.truth import assert_each_ended_once


@pytest.fixture
def room(embedded: Embedded) -> Iterator[Embedded]:
    with embedded.run_engine():
        yield embedded
    assert_each_ended_once(embedded)


@pytest.fixture
def apps(tmp_path: Path) -> Apps:
    folder = tmp_path / "apps"
    folder.mkdir()
    return Apps(folder)


def start(room: Embedded, *steps: dict[str, Any]) -> RunView:
    return room.mine.submit(StepRun.model_validate({"steps": list(steps)}))


def run_steps(room: Embedded, *steps: dict[str, Any]) -> RunView:
    return end_of(room, start(room, *steps))


def end_of(room: Embedded, run: RunView) -> RunView:
    wait_for(lambda: room.mine.run(run.id).ended, 60, "the run's end")
    return room.mine.run(run.id)


def counts_of(run: RunView) -> dict[str, dict[TaskState, int]]:
    return {step.name: step.counts for step in run.steps}


def tasks_of(room: Embedded, run: RunView, step: str) -> list[TaskView]:
    return [task for task in room.mine.tasks(run.id).items if task.step == step]


def result_of(room: Embedded, run: RunView, step: str) -> Any:
    [task] = tasks_of(room, run, step)
    assert task.state is TaskState.COMPLETE, task.reason
    return task.result


def done(number: int) -> dict[TaskState, int]:
    return {TaskState.COMPLETE: number}


def over(numbers: int) -> list[dict[str, Any]]:
    return [{"i": index} for index in range(numbers)]


def test_a_task_for_each_task_takes_its_output_and_one_over_all_reads_their_results(room: Embedded, apps: Apps) -> None:
    run = run_steps(
        room,
        {"name": "make", "app": apps.number(), "over": over(30)},
        {"name": "twice", "app": apps.twice(), "each": "make", "inputs": {"reads": "make.out"}},
        {"name": "total", "app": apps.total(), "gather": ["twice"], "results": "rows"},
    )
    assert counts_of(run) == {"make": done(30), "twice": done(30), "total": done(1)}
    assert result_of(room, run, "total") == [2 * sum(range(30)), ["COMPLETE"] * 30]
    second = next(task for task in tasks_of(room, run, "twice") if task.result == 8)
    assert second.params == {"reads": f"task://{run.id}.4/out"}


def test_what_gathers_is_given_the_results_of_what_it_gathers_not_of_what_it_takes_an_output_of(
    room: Embedded, apps: Apps
) -> None:
    script = 'cat "$2"; grep -c step "$1"'
    parameters = {"rows": {"type": "file"}, "log": {"type": "file"}}
    both = apps.make("both", script, parameters, outputs={"is": {"from": "stdout", "type": "text"}})
    run = run_steps(
        room,
        {"name": "listing", "app": apps.listing("echo '[1, 2, 3]'")},
        {"name": "squares", "app": apps.squares(), "items": "listing", "item": "n"},
        {"name": "both", "app": both, "gather": ["squares"], "results": "rows", "inputs": {"log": "listing.log"}},
    )
    assert result_of(room, run, "both").split() == ["7", "3"]


def test_a_run_leaves_what_gathers_and_what_comes_last_and_all_of_its_steps_have_results(
    room: Embedded, apps: Apps
) -> None:
    script = 'cp "$2" "$1.txt"'
    last = apps.make("last", script, {"n": {}, "log": {"type": "file"}}, outputs={"page": {"path": "{n}.txt"}})
    run = run_steps(
        room,
        {"name": "listing", "app": apps.listing("echo '[1, 2, 3]'")},
        {"name": "squares", "app": apps.squares(), "items": "listing", "item": "n"},
        {"name": "total", "app": apps.total(), "gather": ["squares"], "results": "rows"},
        {"name": "last", "app": last, "params": {"n": "page"}, "inputs": {"log": "listing.log"}},
    )
    left = room.mine.gathered(run.id)
    assert {name: path.read_text() for name, path in left.items()} == {"page": "7\n"}
    results = [document["result"] for document in room.mine.results(run.id)]
    assert sorted(results, key=str) == sorted([[1, 2, 3], 1, 4, 9, [14, ["COMPLETE"] * 3], None], key=str)


def test_a_step_of_one_task_gives_its_output_to_all_of_another(room: Embedded, apps: Apps) -> None:
    run = run_steps(
        room,
        {"name": "make", "app": apps.number(), "params": {"i": 21}},
        {"name": "twice", "app": apps.twice(), "over": [{}, {}, {}], "inputs": {"reads": "make.out"}},
    )
    assert [task.result for task in tasks_of(room, run, "twice")] == [42, 42, 42]


def test_the_items_of_a_list_are_tasks_and_those_have_tasks_each_and_all_are_gathered(
    room: Embedded, apps: Apps
) -> None:
    total = apps.total()
    run = start(
        room,
        {"name": "total", "app": total, "gather": ["twice", "squares"], "results": "rows"},
        {"name": "listing", "app": apps.listing("sleep 1; echo '[1, 2, 3, 4]'")},
        {"name": "squares", "app": apps.squares(), "items": "listing", "item": "n"},
        {"name": "twice", "app": apps.twice(), "each": "squares", "inputs": {"reads": "squares.out"}},
    )
    assert {step.name: step.tasks for step in run.steps} == {"total": 1, "listing": 1, "squares": None, "twice": None}
    run = end_of(room, run)
    assert counts_of(run) == {"total": done(1), "listing": done(1), "squares": done(4), "twice": done(4)}
    assert {step.name: step.tasks for step in run.steps} == {"total": 1, "listing": 1, "squares": 4, "twice": 4}
    assert [(task.params, task.result) for task in tasks_of(room, run, "squares")] == [
        ({"n": number}, number * number) for number in (1, 2, 3, 4)
    ]
    assert result_of(room, run, "total") == [3 * 30, ["COMPLETE"] * 8]


def test_items_may_be_objects_of_values_and_the_list_s_task_leaves_files_for_them(room: Embedded, apps: Apps) -> None:
    script = 'echo "$1 $(cat "$2")"'
    parameters = {"i": {"type": "integer"}, "reads": {"type": "file"}}
    both = apps.make("both", script, parameters, outputs={"is": {"from": "stdout", "type": "text"}})
    run = run_steps(
        room,
        {"name": "listing", "app": apps.listing("""echo '[{"i": 5}, {"i": 6}]'""")},
        {"name": "both", "app": both, "items": "listing", "inputs": {"reads": "listing.log"}},
    )
    assert [task.result for task in tasks_of(room, run, "both")] == ["5 7", "6 7"]


def test_a_list_without_items_makes_no_tasks_and_what_gathers_them_starts(room: Embedded, apps: Apps) -> None:
    run = run_steps(
        room,
        {"name": "listing", "app": apps.listing("echo '[]'")},
        {"name": "squares", "app": apps.squares(), "items": "listing", "item": "n"},
        {"name": "total", "app": apps.total(), "gather": ["squares"], "results": "rows"},
    )
    assert counts_of(run) == {"listing": done(1), "squares": {}, "total": done(1)}
    assert result_of(room, run, "total") == [0, []]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("echo '{\"n\": 1}'", "its result is to be a list, from which tasks come, and it is an object"),
        ("echo 3", "its result is to be a list, from which tasks come, and it is a number"),
        ("echo '[1, \"two\"]'", "item 2 of the list that it left is none for step 'squares'"),
        ("echo '[1, {}]'", "item 2 of the list that it left is none for step 'squares'"),
        ("echo '[1'", "is not JSON"),
    ],
)
def test_a_list_that_is_none_fails_its_task_and_what_needs_it(room: Embedded, apps: Apps, said: str, why: str) -> None:
    run = run_steps(
        room,
        {"name": "listing", "app": apps.listing(said)},
        {"name": "squares", "app": apps.squares(), "items": "listing", "item": "n"},
        {"name": "twice", "app": apps.twice(), "each": "squares", "inputs": {"reads": "squares.out"}},
        {"name": "total", "app": apps.total(), "gather": ["twice"], "results": "rows"},
    )
    [listing] = tasks_of(room, run, "listing")
    assert listing.state is TaskState.EXECUTOR_ERROR and why in (listing.reason or ""), listing.reason
    [total] = tasks_of(room, run, "total")
    assert (total.state, total.failure) == (TaskState.SYSTEM_ERROR, "upstream")
    assert total.reason == f"It needs task {run.id}.0, which ended as EXECUTOR_ERROR."
    assert {step.name: step.tasks for step in run.steps} == {"listing": 1, "squares": 0, "twice": 0, "total": 1}


@pytest.mark.parametrize("path", ["/etc/passwd", "../../log", "task://r-1.0/log"])
def test_a_list_whose_items_name_files_fails_its_task(room: Embedded, apps: Apps, path: str) -> None:
    copy = apps.make("copy", 'cp "$1" out', {"reads": {"type": "file"}}, outputs={"out": {"path": "out"}})
    run = run_steps(
        room,
        {"name": "listing", "app": apps.listing(f"""echo '[{{"reads": "{path}"}}]'""")},
        {"name": "copy", "app": copy, "items": "listing"},
    )
    [task] = tasks_of(room, run, "listing")
    assert task.state is TaskState.EXECUTOR_ERROR
    assert "item 1 of the list that it left is none for step 'copy'" in (task.reason or "")
    assert "an item of a list cannot name a file" in (task.reason or "")
    assert {step.name: step.tasks for step in run.steps} == {"listing": 1, "copy": 0}


def test_a_list_whose_items_would_lead_outputs_outside_the_work_folder_fails_its_task(
    room: Embedded, apps: Apps
) -> None:
    named = apps.make("named", 'echo 1 > "$1.txt"', {"n": {}}, outputs={"out": {"path": "{n}.txt"}})
    run = run_steps(
        room,
        {"name": "listing", "app": apps.listing("""echo '["in", "../../out"]'""")},
        {"name": "named", "app": named, "items": "listing", "item": "n"},
        {"name": "twice", "app": apps.twice(), "each": "named", "inputs": {"reads": "named.out"}},
    )
    [task] = tasks_of(room, run, "listing")
    assert task.state is TaskState.EXECUTOR_ERROR
    assert "item 2 of the list that it left is none for step 'named'" in (task.reason or ""), task.reason
    assert {step.name: step.tasks for step in run.steps} == {"listing": 1, "named": 0, "twice": 0}


def test_a_list_that_is_longer_than_a_result_may_be_fails_its_task(room: Embedded, apps: Apps) -> None:
    run = run_steps(
        room,
        {"name": "listing", "app": apps.listing("printf '[1'; yes ',1' | head -n 10000000 | tr -d '\\n'; echo ']'")},
        {"name": "squares", "app": apps.squares(), "items": "listing", "item": "n"},
    )
    [task] = tasks_of(room, run, "listing")
    assert task.state is TaskState.EXECUTOR_ERROR
    assert task.reason == "the result has 20000004 bytes, at most 1000000 are kept"


def test_tasks_that_fail_end_what_is_theirs_and_a_step_that_accepts_failures_starts(room: Embedded, apps: Apps) -> None:
    total = apps.total()
    run = run_steps(
        room,
        {"name": "make", "app": apps.number('test "$1" != 1 && echo "$1" > out'), "over": over(3)},
        {"name": "twice", "app": apps.twice(), "each": "make", "inputs": {"reads": "make.out"}},
        {"name": "strict", "app": total, "gather": ["twice"], "results": "rows"},
        {"name": "lenient", "app": total, "gather": ["twice"], "results": "rows", "accept_failures": True},
    )
    failed = {TaskState.COMPLETE: 2, TaskState.EXECUTOR_ERROR: 1}
    stopped = {TaskState.COMPLETE: 2, TaskState.SYSTEM_ERROR: 1}
    assert counts_of(run) == {
        "make": failed, "twice": stopped, "strict": {TaskState.SYSTEM_ERROR: 1}, "lenient": done(1),
    }  # fmt: skip
    assert result_of(room, run, "lenient") == [4, ["COMPLETE", "SYSTEM_ERROR", "COMPLETE"]]


def test_a_run_that_is_canceled_before_its_list_is_known_is_over(room: Embedded, apps: Apps) -> None:
    run = start(
        room,
        {"name": "listing", "app": apps.listing("sleep 60; echo '[1]'")},
        {"name": "squares", "app": apps.squares(), "items": "listing", "item": "n"},
        {"name": "total", "app": apps.total(), "gather": ["squares"], "results": "rows"},
    )
    wait_for(lambda: TaskState.RUNNING in room.mine.run(run.id).counts, 30, "the list's task")
    room.mine.cancel_run(run.id)
    assert end_of(room, run).counts == {TaskState.CANCELED: 2}


def test_a_retry_of_what_failed_takes_the_rest_from_before(room: Embedded, apps: Apps, tmp_path: Path) -> None:
    script = f'test "$1" != 2 || test -e {tmp_path}/flag && echo $(($1 * $1)) | tee out'
    first = run_steps(
        room,
        {"name": "listing", "app": apps.listing("echo '[1, 2, 3]'")},
        {"name": "squares", "app": apps.squares(script), "items": "listing", "item": "n"},
        {"name": "twice", "app": apps.twice(), "each": "squares", "inputs": {"reads": "squares.out"}},
        {"name": "total", "app": apps.total(), "gather": ["twice"], "results": "rows"},
    )
    assert first.counts == {TaskState.COMPLETE: 5, TaskState.EXECUTOR_ERROR: 1, TaskState.SYSTEM_ERROR: 2}
    (tmp_path / "flag").touch()
    second = end_of(room, room.mine.retry(first.id))
    assert (second.counts, second.retry_of) == ({TaskState.COMPLETE: 3}, first.id)
    total = result_of(room, second, "total")
    assert (total[0], sorted(total[1])) == (28, ["COMPLETE"] * 3)


def test_a_retry_of_a_list_that_failed_makes_its_tasks(room: Embedded, apps: Apps, tmp_path: Path) -> None:
    first = run_steps(
        room,
        {"name": "listing", "app": apps.listing(f"test -e {tmp_path}/flag && echo '[1, 2, 3]'")},
        {"name": "squares", "app": apps.squares(), "items": "listing", "item": "n"},
        {"name": "total", "app": apps.total(), "gather": ["squares"], "results": "rows"},
    )
    assert first.counts == {TaskState.EXECUTOR_ERROR: 1, TaskState.SYSTEM_ERROR: 1}
    (tmp_path / "flag").touch()
    second = end_of(room, room.mine.retry(first.id))
    assert second.counts == done(5)
    assert result_of(room, second, "total") == [14, ["COMPLETE"] * 3]


def test_what_a_step_waits_for_is_said(embedded: Embedded, apps: Apps) -> None:
    run = start(
        embedded,
        {"name": "make", "app": apps.number(), "over": over(3)},
        {"name": "twice", "app": apps.twice(), "each": "make", "inputs": {"reads": "make.out"}},
        {"name": "total", "app": apps.total(), "gather": ["twice"], "results": "rows"},
    )
    reasons = [embedded.mine.task(f"{run.id}.{index}").reason for index in (3, 6)]
    assert reasons == [
        "It waits for another task of its run, which must end first.",
        "It waits for step 'twice', of which 3 tasks have not ended.",
    ]
    steps = embedded.mine.run(run.id).steps
    waits = ["its turn", "3 tasks of 'make'", "3 tasks of 'twice'"]
    assert [step.waits_for for step in steps] == waits
    embedded.mine.cancel_run(run.id)
    assert not any(step.waits_for for step in embedded.mine.run(run.id).steps)


def test_what_waits_for_a_list_says_so(embedded: Embedded, apps: Apps) -> None:
    run = start(
        embedded,
        {"name": "listing", "app": apps.listing("echo '[1]'")},
        {"name": "squares", "app": apps.squares(), "items": "listing", "item": "n"},
        {"name": "twice", "app": apps.twice(), "each": "squares", "inputs": {"reads": "squares.out"}},
        {"name": "total", "app": apps.total(), "gather": ["twice"], "results": "rows"},
    )
    told = [step.waits_for for step in embedded.mine.run(run.id).steps]
    unknown = [f"the tasks of '{name}', which are not known yet" for name in ("squares", "twice")]
    assert told == ["its turn", "the list of 'listing'", *unknown]


def test_the_apps_of_later_steps_come_while_the_first_step_runs(room: Embedded, apps: Apps, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = make_app(tmp_path / "first", command=f"[sh, -c, 'until [ -e {gate} ]; do sleep 0.05; done']", name="first")
    make = {"name": "make", "app": first, "params": {"i": 0}}
    steps = [make, {"name": "next", "app": apps.number(), "each": "make", "params": {"i": 1}}]
    run = start(room, *steps)
    there = sa.select(data.c.url).where(data.c.state == DataState.READY)

    def brought() -> set[str]:
        with room.database.read() as connection:
            return set(connection.execute(there).scalars())

    wait_for(lambda: len(brought()) == 2, 20, "the folders of both apps")
    assert room.mine.run(run.id).counts.get(TaskState.COMPLETE, 0) == 0
    gate.touch()
    assert end_of(room, run).counts == {TaskState.COMPLETE: 2}
