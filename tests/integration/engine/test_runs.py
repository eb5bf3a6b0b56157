"""Runs through the service and a real engine, with real processes, on both databases."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packhorse.domain.errors import Conflict, NotFound
from packhorse.domain.run import AppRun, NamedTask, TaskRun
from packhorse.domain.states import TaskState
from packhorse.domain.users import User
from packhorse.domain.views import RunView
from packhorse.engine.embedded import Embedded
from packhorse.sites.base import SiteUnreachable
from packhorse.sites.site import Site, local_site
from packhorse.store.schema import runs, steps
from tests.fixtures.room import make_app, submit, wait_for
from tests.fixtures.truth import assert_each_ended_once

GATHER = "gather:\n  command: [cp, '{results}', all.jsonl]\n  outputs: {all: {path: all.jsonl}}\n"


@pytest.fixture
def room(embedded: Embedded) -> Iterator[Embedded]:
    with embedded.run_engine():
        yield embedded
    assert_each_ended_once(embedded)


def end_of(room: Embedded, run: RunView, timeout_s: float = 40) -> RunView:
    wait_for(lambda: room.mine.run(run.id).ended, timeout_s, "the run's end")
    return room.mine.run(run.id)


def run_tasks(room: Embedded, *tasks: dict[str, Any]) -> RunView:
    request = TaskRun(tasks=[NamedTask.model_validate(task) for task in tasks])
    return end_of(room, room.mine.submit(request))


def sh(name: str, script: str, **fields: Any) -> dict[str, Any]:
    after = fields.pop("after", [])
    return {"name": name, "after": after, "task": {"executors": [{"command": ["/bin/sh", "-c", script]}], **fields}}


def read(room: Embedded, task: str, stream: str = "stdout") -> bytes:
    return room.mine.log(task, stream).data


def test_rows_in_order_and_a_gathering_task_over_them(room: Embedded, tmp_path: Path) -> None:
    more = "outputs:\n  said: {from: stdout, type: json}\n" + GATHER
    app = make_app(tmp_path / "app", command="[/bin/echo, '{i}']", more=more)
    run = end_of(room, submit(room, app, 40))
    assert run.counts == {TaskState.COMPLETE: 41}
    rows = list(room.mine.results(run.id))
    assert [(row["index"], row["params"]["i"], row["result"]) for row in rows] == [
        (index, index, index) for index in range(40)
    ]
    assert len(room.mine.gathered(run.id)["all"].read_text().splitlines()) == 40
    usage = room.mine.usage(run.id)
    assert (usage.tasks, usage.attempts) == (41, 41)
    assert usage.cpu_s > 0 and usage.peak_memory > 0


def test_a_task_takes_another_ones_output(room: Embedded) -> None:
    run = run_tasks(
        room,
        sh("make", "echo hello > o.txt", outputs=[{"path": "o.txt"}]),
        sh("left", "tr a-z A-Z < i > l", inputs=[{"path": "i", "url": "task://make/o.txt"}], outputs=[{"path": "l"}]),
        sh("right", "wc -c < i > r", inputs=[{"path": "i", "url": "task://make/o.txt"}], outputs=[{"path": "r"}]),
        sh("join", "cat l r", inputs=[{"path": "l", "url": "task://left/l"}, {"path": "r", "url": "task://right/r"}]),
    )
    assert run.counts == {TaskState.COMPLETE: 4}
    assert read(room, f"{run.id}.3").split() == [b"HELLO", b"6"]


def test_a_failure_ends_its_dependents_by_name_and_nobody_else(room: Embedded) -> None:
    run = run_tasks(
        room,
        sh("bad", "exit 3"),
        sh("after", "true", after=["bad"]),
        sh("last", "true", after=["after"]),
        sh("free", "true"),
    )
    tasks = {task.name: task for task in room.mine.tasks(run.id).items}
    assert {name: task.state.value for name, task in tasks.items()} == {
        "bad": "EXECUTOR_ERROR", "after": "SYSTEM_ERROR", "last": "SYSTEM_ERROR", "free": "COMPLETE",
    }  # fmt: skip
    assert tasks["after"].reason == f"It needs task {run.id}.0 (bad), which ended as EXECUTOR_ERROR."


def test_out_of_memory_is_tried_again_with_twice_the_memory(room: Embedded, tmp_path: Path) -> None:
    code = "x = bytearray(150_000_000); x[::4096] = b'1' * len(x[::4096]); import time; time.sleep(0.5)"
    app = make_app(tmp_path / "app", command=f'[python3, -S, -c, "{code}"]', more="resources: {ram_gb: 0.1}\n")
    run = end_of(room, submit(room, app, 1))
    task = room.mine.task(f"{run.id}.0")
    assert (task.state, [attempt.failure for attempt in task.attempts]) == (TaskState.COMPLETE, ["out_of_memory", None])
    assert [attempt.memory_mb for attempt in task.attempts] == [100, 200]
    assert task.attempts[0].evidence and "memory limit of 0.1 GB" in task.attempts[0].evidence["message"]


def test_out_of_time_is_told_apart_and_capped(room: Embedded, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", command="[sleep, '60']", more="resources: {walltime_s: 0.5}\n")
    run = end_of(room, submit(room, app, 1))
    task = room.mine.task(f"{run.id}.0")
    assert (task.state, [attempt.failure for attempt in task.attempts]) == (
        TaskState.EXECUTOR_ERROR,
        ["out_of_time"] * 2,
    )
    assert [attempt.walltime_s for attempt in task.attempts] == [0.5, 1.0]


def test_a_retry_runs_what_failed_and_reads_what_did_not(room: Embedded, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    more = "outputs:\n  said: {from: stdout, type: text}\n" + GATHER
    app = make_app(
        tmp_path / "app", command=f"[/bin/sh, -c, 'test $0 != 2 || test -e {flag} && echo $0', '{{i}}']", more=more
    )
    first = end_of(room, submit(room, app, 4))
    assert first.counts == {TaskState.COMPLETE: 3, TaskState.EXECUTOR_ERROR: 1, TaskState.SYSTEM_ERROR: 1}
    flag.touch()
    second = end_of(room, room.mine.retry(first.id))
    assert (second.counts, second.retry_of) == ({TaskState.COMPLETE: 2}, first.id)
    gathered = room.mine.gathered(second.id)["all"].read_text()
    assert gathered.count('"COMPLETE"') == 4


def test_canceling_a_large_run_takes_no_more_statements_than_a_small_one(embedded: Embedded, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", command="[/bin/true]", more=GATHER)
    statements: Counter[str] = Counter()
    for number in (5, 5000):
        run = submit(embedded, app, number)

        def count(*_: Any, many: str = f"{number}") -> None:
            statements[many] += 1

        sa.event.listen(embedded.database.engine, "before_cursor_execute", count)
        canceled = embedded.mine.cancel_run(run.id)
        sa.event.remove(embedded.database.engine, "before_cursor_execute", count)
        assert canceled.ended and canceled.counts == {TaskState.CANCELED: number + 1}
        detail = embedded.mine.task(f"{run.id}.{number}")
        assert (detail.failure, detail.ended_at is None) == ("canceled", False)
    assert statements["5000"] == statements["5"]
    assert_each_ended_once(embedded)


def test_one_client_key_is_one_run_however_many_ask_at_once(room: Embedded, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", command="[/bin/true]")
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(submit(room, app, 5, client_key="k").id)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 6 and len(set(ids)) == 1
    with pytest.raises(Conflict, match="was used for another request"):
        submit(room, app, 6, client_key="k")
    end_of(room, room.mine.run(ids[0]))


def test_bytes_of_any_kind_come_back_as_they_were(room: Embedded) -> None:
    run = run_tasks(
        room, sh("binary", r"head -c 100000 /dev/zero; printf '\377\376\000x'; printf '\377 bad' >&2; exit 1")
    )
    assert read(room, f"{run.id}.0") == b"\0" * 100_000 + b"\xff\xfe\0x"
    assert read(room, f"{run.id}.0", "stderr") == b"\xff bad"
    detail = room.mine.task(f"{run.id}.0")
    assert detail.attempts[0].evidence and "bad" in detail.attempts[0].evidence["stderr_tail"]


def test_a_log_is_read_while_its_task_runs(room: Embedded) -> None:
    request = TaskRun(tasks=[NamedTask.model_validate(sh("slow", "echo early; sleep 4; echo late"))])
    run = room.mine.submit(request)
    wait_for(lambda: read(room, f"{run.id}.0") == b"early\n", 3.5, "the first line")
    assert not room.mine.log(f"{run.id}.0", "stdout").ended
    end_of(room, run)
    assert read(room, f"{run.id}.0") == b"early\nlate\n"
    assert room.mine.log(f"{run.id}.0", "stdout").ended


@pytest.mark.parametrize("script", ["ln -s /etc/passwd o", "true", "mkdir d; ln -s /etc d/x; ln -s d/x/passwd o"])
def test_an_output_that_is_missing_or_leads_out_of_the_folder_fails_the_task(room: Embedded, script: str) -> None:
    run = run_tasks(room, sh("out", script, outputs=[{"path": "o"}]))
    task = room.mine.task(f"{run.id}.0")
    assert (task.state, task.failure) == (TaskState.EXECUTOR_ERROR, "app")
    assert "'o'" in (task.reason or "") or " o" in (task.reason or "")
    with pytest.raises(NotFound):
        room.mine.output_path(f"{run.id}.0", "o")


def test_a_program_that_is_not_there_says_so(room: Embedded, tmp_path: Path) -> None:
    run = end_of(room, submit(room, make_app(tmp_path / "app", command="[no-such-program]"), 1))
    assert "no-such-program" in (room.mine.task(f"{run.id}.0").reason or "")


def test_editing_an_app_does_not_change_a_run_that_was_accepted(embedded: Embedded, tmp_path: Path) -> None:
    app = make_app(
        tmp_path / "app", command="[cat, '{app}/version']", more="outputs:\n  v: {from: stdout, type: text}\n"
    )
    (tmp_path / "app" / "version").write_text("old")
    run = embedded.mine.submit(AppRun(app=app), [{"i": 1}])
    (tmp_path / "app" / "version").write_text("new")
    with embedded.run_engine():
        end_of(embedded, run)
    assert [row["result"] for row in embedded.mine.results(run.id)] == ["old"]


def test_a_run_that_makes_no_sense_any_more_holds_up_no_other(embedded: Embedded, tmp_path: Path) -> None:
    """As one that was accepted by a program with another idea of what a manifest is."""
    app = make_app(tmp_path / "app", command="[/bin/true]")
    odd, sound = submit(embedded, app, 1), submit(embedded, app, 1)
    with embedded.database.write() as connection:
        its_seq = sa.select(runs.c.seq).where(runs.c.id == odd.id).scalar_subquery()
        connection.execute(sa.update(steps).where(steps.c.run_seq == its_seq).values(spec='{"kind": "dance"}'))
    with embedded.run_engine():
        assert end_of(embedded, sound).counts == {TaskState.COMPLETE: 1}
        assert embedded.mine.cancel_run(odd.id).counts == {TaskState.CANCELED: 1}


def test_of_one_s_own_runs_the_one_of_higher_priority_goes_first(room: Embedded, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", command="[sleep, '0.2']")
    long = submit(room, app, 200)
    wait_for(lambda: room.mine.run(long.id).done, 20, "the first task's end")
    urgent = submit(room, app, 1, priority=1)
    end_of(room, urgent)
    assert not room.mine.run(long.id).ended
    room.mine.cancel_run(long.id)
    end_of(room, room.mine.run(long.id))


def test_a_priority_beyond_what_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match="less than or equal to 100"):
        AppRun(app="x", priority=101)


def test_a_queued_task_says_its_place_in_line_and_who_else_waits(embedded: Embedded, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", command="['true']")
    run = submit(embedded, app, 30)
    reason = embedded.mine.task(f"{run.id}.7").reason
    assert reason == "It is number 8 in the line of 30 tasks like it."
    eve = embedded.service.as_user(User("Eve", admin=True))
    of_eve = eve.submit(AppRun(app=app), [{"i": 1}])
    eve.submit(AppRun(app=app), [{"i": 2}])
    reason = eve.task(f"{of_eve.id}.0").reason
    assert reason == "It is number 1 in the line of 2 tasks like it, beside one other user."
    assert reason == embedded.mine.task(f"{of_eve.id}.0").reason


def test_the_store_is_not_held_while_a_site_is_asked(
    embedded: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit(embedded, make_app(tmp_path / "app", command="['true']"), 1)
    held: list[int] = []

    def unreachable(*_: object) -> str | None:
        held.append(embedded.database.engine.pool.checkedout())  # type: ignore[attr-defined]
        raise SiteUnreachable("Nobody answers.")

    monkeypatch.setattr(Site, "why_not", unreachable)
    reason = embedded.mine.task(f"{run.id}.0").reason
    assert (reason, held) == ("Its site 'local' does not answer now: Nobody answers.", [0])


def test_a_task_that_waits_for_others_says_so(embedded: Embedded) -> None:
    steps = [sh("a", "true"), sh("b", "true"), sh("c", "true", after=["a", "b"])]
    request = TaskRun(tasks=[NamedTask.model_validate(step) for step in steps])
    run = embedded.mine.submit(request)
    reason = embedded.mine.task(f"{run.id}.2").reason
    assert reason == "It waits for 2 other tasks of its run, which must end first."


def test_a_task_that_no_node_can_run_now_says_what_is_missing(home: Path, tmp_path: Path) -> None:
    def a_site(cores: int) -> Embedded:
        return Embedded(home, sites=[local_site(str(home / "site"), cores=cores)])

    app = make_app(tmp_path / "app", command="['true']", more="resources: {cpu_cores: 4}\n")
    large = a_site(4)
    run = submit(large, app, 1)
    large.close()
    small = a_site(2)
    reason = small.mine.task(f"{run.id}.0").reason
    small.close()
    assert reason == "It waits until 'local' can run it again: it asks for 4 cores and 'local' has 2."
