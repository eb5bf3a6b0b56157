"""Reports of real runs: what the page says of steps, attempts, failures and allocations is what happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.run import AppRun, StepRun
from packhorse.domain.submitted import run_of
from packhorse.domain.views import RunView
from packhorse.engine.embedded import Embedded
from packhorse.engine.requests.reporting import facts_of
from packhorse.engine.steps.cache import Steps
from packhorse.report.facts import RunFacts
from packhorse.store.runs import get_run
from tests.fixtures.apps import Apps
from tests.fixtures.reports import parsed
from tests.fixtures.room import wait_for


@pytest.fixture
def room(embedded: Embedded) -> Iterator[Embedded]:
    with embedded.run_engine():
        yield embedded


@pytest.fixture
def apps(tmp_path: Path) -> Apps:
    (tmp_path / "apps").mkdir()
    return Apps(tmp_path / "apps")


def ended(room: Embedded, run: RunView) -> RunView:
    wait_for(lambda: room.mine.run(run.id).ended, 60, "the run's end")
    return room.mine.run(run.id)


def facts(room: Embedded, run: RunView) -> RunFacts:
    with room.database.read() as connection:
        return facts_of(connection, Steps(), get_run(connection, run.id), run.created_at + 100)


def steps_run(room: Embedded, apps: Apps) -> RunView:
    """Two tasks of a step fail, with what they say on stderr; one of another waits for them."""
    make = apps.number('test "$1" -lt 4 || { echo "cannot <read>" >&2; exit 3; }; echo "$1" > out')
    document = {
        "name": "A & B",
        "steps": [
            {"name": "make", "app": make, "over": [{"i": i} for i in range(6)], "resources": {"ram_gb": 1}},
            {"name": "listing", "app": apps.listing("echo '[1, 2]'")},
            {"name": "squares", "app": apps.squares(), "items": "listing", "item": "n"},
            {"name": "twice", "app": apps.twice(), "each": "make", "inputs": {"reads": "make.out"}},
            {"name": "total", "app": apps.total(), "gather": ["twice", "squares"], "results": "rows"},
        ],
    }
    return room.mine.submit(StepRun.model_validate(document))


def test_a_report_tells_what_happened(room: Embedded, apps: Apps) -> None:
    run = ended(room, steps_run(room, apps))
    found = facts(room, run)
    assert {step.name: (step.complete, step.failed, step.kind) for step in found.steps} == {
        "make": (4, 2, "one for each row"),
        "listing": (1, 0, "one"),
        "squares": (2, 0, "one for each item of listing"),
        "twice": (4, 2, "one for each of make"),
        "total": (0, 1, "one, after all of others"),
    }
    names = [step.name for step in found.steps]
    assert {(names[edge.upstream], names[edge.downstream], edge.kind) for edge in found.edges} == {
        ("make", "twice", "each"), ("listing", "squares", "items"),
        ("twice", "total", "gather"), ("squares", "total", "gather"),
    }  # fmt: skip
    make = found.steps[0]
    assert make.app is not None and (make.app.name, make.app.version, len(make.app.digest)) == ("number", "1", 64)
    assert (make.measured.attempts, make.measured.failed) == (6, 2)
    assert [(one.tasks, one.cores, one.memory_mb) for one in make.asked] == [(6, 1, 1000)]
    assert make.measured.core_s.granted == pytest.approx(make.measured.wall_s.total, rel=1e-6)
    assert make.measured.gb_s.granted == pytest.approx(make.measured.wall_s.total, rel=1e-6)
    assert make.measured.core_s.failed > 0 and make.measured.core_s.used > 0
    assert (make.outputs.files, make.outputs.bytes) == (4, 8)
    [own, *untried] = found.failures
    assert (own.step, own.failure, own.exit_code, own.attempts, own.tasks) == (0, "app", 3, 2, 2)
    assert [example.task for example in own.examples] == [f"{run.id}.4", f"{run.id}.5"]
    assert own.examples[0].evidence["stderr_tail"].strip() == "cannot <read>"
    assert sorted((names[one.step], one.failure, one.tasks) for one in untried) == [
        ("total", "upstream", 1), ("twice", "upstream", 2),
    ]  # fmt: skip
    usage = room.mine.usage(run.id)
    assert sum(step.measured.core_s.granted for step in found.steps) == pytest.approx(usage.core_s, rel=1e-6)
    assert sum(lane.attempts for lane in found.timeline.lanes) == usage.attempts == 13
    assert all(lane.allocation and lane.allocation.id.startswith("a-") for lane in found.timeline.lanes)
    page = room.mine.report(run.id).decode()
    told = "".join(parsed(page).itertext())
    for wanted in ("A & B", "cannot <read>", f"{run.id}.4", make.app.digest, "The program failed in step make"):
        assert wanted in told, wanted


def test_a_report_may_be_made_before_anything_runs_and_after_a_cancel(embedded: Embedded, apps: Apps) -> None:
    run = embedded.mine.submit(AppRun(app=apps.number(), over=[{"i": 1}, {"i": 2}]))
    found = facts(embedded, run)
    assert [(step.tasks, step.measured.attempts) for step in found.steps] == [(2, 0)]
    assert b"goes on" in embedded.mine.report(run.id)
    embedded.mine.cancel_run(run.id)
    [failure] = facts(embedded, run).failures
    assert (failure.failure, failure.attempts, failure.tasks) == ("canceled", 0, 2)
    parsed(embedded.mine.report(run.id).decode())


def test_documents_with_edges_are_a_graph_of_their_own(embedded: Embedded) -> None:
    def task(name: str, *after: str) -> dict[str, Any]:
        return {"name": name, "after": list(after), "task": {"executors": [{"command": ["true"]}]}}

    request = run_of({"tasks": [task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c")]})
    found = facts(embedded, embedded.mine.submit(request)).task_graph
    assert found is not None
    names = [box.name for box in found[0]]
    assert sorted((names[edge.upstream], names[edge.downstream]) for edge in found[1]) == [
        ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"),
    ]  # fmt: skip
    alone = embedded.mine.submit(run_of({"tasks": [task("a"), task("b")]}))
    assert facts(embedded, alone).task_graph is None
