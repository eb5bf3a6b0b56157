"""Results of earlier tasks in runs of several steps: each kind of edge, and documents, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.run import AppRun, NamedTask, StepRun, TaskRun
from packhorse.domain.states import TaskState
from packhorse.domain.views import RunView
from packhorse.engine.embedded import Embedded
from tests.fixtures.apps import Apps
from tests.fixtures.pipelines import samples, write_expression
from tests.fixtures.room import make_app, wait_for
from tests.fixtures.truth import assert_each_ended_once, attempts_by_task


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


def submit(room: Embedded, request: AppRun | StepRun | TaskRun) -> RunView:
    run = room.mine.submit(request)
    wait_for(lambda: room.mine.run(run.id).ended, 60, "the run's end")
    return room.mine.run(run.id)


class Counted:
    """Runs steps, and says how many tasks of each were executed."""

    def __init__(self, room: Embedded) -> None:
        self.room = room
        self.last: RunView | None = None

    def run(self, *steps: dict[str, Any], reuse: bool = True) -> dict[str, int]:
        self.last = submit(self.room, StepRun.model_validate({"steps": list(steps), "reuse": reuse}))
        return self.executed(self.last)

    def executed(self, run: RunView) -> dict[str, int]:
        tasks = self.room.mine.tasks(run.id).items
        executed = {step.name: 0 for step in run.steps}
        for task in tasks:
            executed[task.step] += task.attempt > 0
        return executed

    def result(self, step: str) -> Any:
        assert self.last is not None
        tasks = self.room.mine.tasks(self.last.id).items
        return next(task.result for task in tasks if task.step == step)


def rows(*numbers: int) -> list[dict[str, Any]]:
    return [{"i": number} for number in numbers]


def test_after_one_changed_sample_only_what_depends_on_it_is_executed(room: Embedded, apps: Apps) -> None:
    number, twice, total = apps.number(), apps.twice(), apps.total()

    def steps(*numbers: int) -> list[dict[str, Any]]:
        return [
            {"name": "make", "app": number, "over": rows(*numbers)},
            {"name": "twice", "app": twice, "each": "make", "inputs": {"reads": "make.out"}},
            {"name": "total", "app": total, "gather": ["twice"], "results": "rows"},
        ]

    runs = Counted(room)
    assert runs.run(*steps(1, 2, 3)) == {"make": 3, "twice": 3, "total": 1}
    assert runs.run(*steps(1, 2, 3)) == {"make": 0, "twice": 0, "total": 0}
    assert runs.result("total") == [12, ["COMPLETE"] * 3]
    assert runs.run(*steps(1, 5, 3)) == {"make": 1, "twice": 1, "total": 1}
    assert runs.result("total") == [18, ["COMPLETE"] * 3]
    assert runs.run(*steps(1, 2, 3)) == {"make": 0, "twice": 0, "total": 0}, "what was before is still there"


def test_a_step_that_leaves_the_same_in_another_way_has_nothing_after_it_executed(room: Embedded, apps: Apps) -> None:
    number, twice = apps.number(), apps.twice()
    steps = [
        {"name": "make", "app": number, "params": {"i": 4}},
        {"name": "twice", "app": twice, "over": [{}, {}], "inputs": {"reads": "make.out"}},
    ]
    runs = Counted(room)
    runs.run(*steps)
    manifest = Path(number, "app.yaml")
    manifest.write_text(manifest.read_text().replace("echo ", "printf '%s\\\\n' "))
    assert runs.run(*steps) == {"make": 1, "twice": 0}


def test_the_items_of_a_list_that_was_taken_are_looked_up_as_well(room: Embedded, apps: Apps) -> None:
    listing, squares, twice, total = apps.listing("echo '[1, 2, 3]'"), apps.squares(), apps.twice(), apps.total()
    steps = [
        {"name": "listing", "app": listing},
        {"name": "squares", "app": squares, "items": "listing", "item": "n"},
        {"name": "twice", "app": twice, "each": "squares", "inputs": {"reads": "squares.out"}},
        {"name": "total", "app": total, "gather": ["twice"], "results": "rows"},
    ]
    runs = Counted(room)
    assert runs.run(*steps) == {"listing": 1, "squares": 3, "twice": 3, "total": 1}
    assert runs.run(*steps) == {"listing": 0, "squares": 0, "twice": 0, "total": 0}
    assert runs.result("total") == [28, ["COMPLETE"] * 3]
    manifest = Path(listing, "app.yaml")
    manifest.write_text(manifest.read_text().replace("[1, 2, 3]", "[1, 2, 3, 4]"))
    assert runs.run(*steps) == {"listing": 1, "squares": 1, "twice": 1, "total": 1}


def test_after_a_failed_sample_was_mended_only_what_depends_on_it_is_executed(
    room: Embedded, apps: Apps, tmp_path: Path
) -> None:
    script = f'test "$1" != 2 || test -e {tmp_path}/mended && echo "$1" > out'
    number, twice, total = apps.number(script), apps.twice(), apps.total()
    steps = [
        {"name": "make", "app": number, "over": rows(1, 2, 3)},
        {"name": "twice", "app": twice, "each": "make", "inputs": {"reads": "make.out"}},
        {"name": "total", "app": total, "gather": ["twice"], "results": "rows", "accept_failures": True},
    ]
    runs = Counted(room)
    assert runs.run(*steps) == {"make": 3, "twice": 2, "total": 1}
    first = runs.last
    (tmp_path / "mended").touch()
    assert runs.run(*steps) == {"make": 1, "twice": 1, "total": 1}
    assert first is not None
    retried = room.mine.retry(first.id)
    wait_for(lambda: room.mine.run(retried.id).ended, 60, "the run's end")
    again = runs.executed(room.mine.run(retried.id))
    assert (again["make"], again["twice"]) == (0, 0), "a retry takes what is there by now"


def test_the_gathering_task_of_an_app_is_not_executed_again(room: Embedded, tmp_path: Path) -> None:
    more = "outputs:\n  said: {from: stdout, type: json}\n"
    more += "gather:\n  command: [cp, '{results}', all.jsonl]\n  outputs: {all: {path: all.jsonl}}\n"
    app = make_app(tmp_path / "app", command="[/bin/echo, '{i}']", more=more)
    runs = []
    for numbers in ([1, 2], [1, 2], [1, 3]):
        run = room.mine.submit(AppRun(app=app, over=rows(*numbers), reuse=True))
        wait_for(lambda run=run: room.mine.run(run.id).ended, 60, "the run's end")
        runs.append(Counted(room).executed(room.mine.run(run.id)))
        assert len(room.mine.gathered(run.id)["all"].read_text().splitlines()) == 2
    assert runs == [{"t": 2, "gather": 1}, {"t": 0, "gather": 0}, {"t": 1, "gather": 1}]


def test_documents_are_looked_up_with_their_edges(room: Embedded) -> None:
    def task(name: str, script: str, **fields: Any) -> NamedTask:
        document = {"executors": [{"command": ["/bin/sh", "-c", script]}], "name": "N", **fields}
        return NamedTask.model_validate({"name": name, "task": document})

    def run(said: str, described: str = "") -> list[int]:
        request = TaskRun(
            tasks=[
                task("make", f"echo {said} > o", outputs=[{"path": "o"}], description=described),
                task("left", "cat i > l", inputs=[{"path": "i", "url": "task://make/o"}], outputs=[{"path": "l"}]),
                task("text", "cat t > l", inputs=[{"path": "t", "content": "x"}], outputs=[{"path": "l"}]),
            ],
            reuse=True,
        )
        view = submit(room, request)
        assert view.counts == {TaskState.COMPLETE: 3}
        return [item.attempt for item in room.mine.tasks(view.id).items]

    assert run("a") == [1, 1, 1]
    assert run("a", "told") == [0, 0, 0]
    assert run("b") == [1, 1, 0]
    assert sum(attempts_by_task(room).values()) == 5


def test_what_is_to_be_delivered_is_executed(room: Embedded, apps: Apps, tmp_path: Path) -> None:
    number = apps.number()
    step = {"name": "make", "app": number, "params": {"i": 1}}
    runs = Counted(room)
    runs.run(step)
    request = StepRun.model_validate({"steps": [step], "reuse": True, "outputs": f"file://{tmp_path}/delivered"})
    view = submit(room, request)
    assert runs.executed(view) == {"make": 1}
    assert list((tmp_path / "delivered").rglob("out"))
    reuse = room.mine.task(f"{view.id}.0").reuse
    assert reuse is not None and "delivered" in reuse.why


def test_a_pipeline_executes_what_a_changed_sample_concerns(room: Embedded, tmp_path: Path) -> None:
    table = samples(tmp_path, "a", "bb", "ccc")
    pipeline = write_expression(tmp_path / "expression")

    def run() -> dict[str, int]:
        params = {"genome": str(tmp_path / "genome.txt")}
        view = submit(room, AppRun(app=str(pipeline), over=table, params=params, reuse=True))
        assert set(view.counts) == {TaskState.COMPLETE}
        return Counted(room).executed(view)

    assert run() == {"index": 1, "align": 3, "count": 3, "matrix": 1}
    assert run() == {"index": 0, "align": 0, "count": 0, "matrix": 0}
    changed = Path(next(str(value) for value in table[1].values() if str(value).startswith("/")))
    changed.write_text(changed.read_text() + "more\n")
    assert run() == {"index": 0, "align": 1, "count": 1, "matrix": 1}


@pytest.fixture
def looks(room: Embedded, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tasks each command is asked about that takes what was left at the site."""
    found: list[int] = []
    transport = room.sites[0].transport
    run = transport.run

    def counted(argv: list[str], **how: Any) -> Any:
        if "--take" in argv:
            found.append(how["stdin"].count(b"\n"))
        return run(argv, **how)

    monkeypatch.setattr(transport, "run", counted)
    return found


def test_all_that_a_pipeline_takes_is_looked_at_by_one_command(
    room: Embedded, tmp_path: Path, looks: list[int]
) -> None:
    table = samples(tmp_path, "a", "bb", "ccc")
    pipeline = write_expression(tmp_path / "expression")
    request = AppRun(app=str(pipeline), over=table, params={"genome": str(tmp_path / "genome.txt")}, reuse=True)
    submit(room, request)
    assert looks == [], "nothing was left before"
    assert not any(Counted(room).executed(submit(room, request)).values())
    assert looks == [5], "an index, three alignments and a matrix"
    assert not any(Counted(room).executed(submit(room, request)).values())
    assert looks == [5, 5], "what was taken is taken from there"


def test_where_something_is_gone_what_follows_is_looked_at_when_it_is_there_again(
    room: Embedded, tmp_path: Path, looks: list[int]
) -> None:
    table = samples(tmp_path, "a", "bb", "ccc")
    pipeline = write_expression(tmp_path / "expression")
    request = AppRun(app=str(pipeline), over=table, params={"genome": str(tmp_path / "genome.txt")}, reuse=True)
    first = submit(room, request)
    task = next(task for task in room.mine.tasks(first.id).items if task.step == "align")
    room.mine.output_path(task.id, "a.bam").unlink()
    again = submit(room, request)
    assert Counted(room).executed(again) == {"index": 0, "align": 1, "count": 0, "matrix": 0}
    assert looks == [5, 1], "the matrix, once the alignment was made again"
