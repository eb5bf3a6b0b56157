"""Steps of one run at two sites: what one task left at one is brought to the other, and what cannot be is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.run import StepRun
from packhorse.domain.states import TaskState
from packhorse.domain.views import RunView
from packhorse.engine.data import leftovers, outputcopy
from packhorse.engine.embedded import Embedded
from packhorse.sites.site import Site, local_site
from tests.fixtures.apps import Apps
from tests.fixtures.room import wait_for

from .rooms import end_of, running
from .test_elsewhere import Elsewhere

INDEX = "mkdir -p index/sub; echo 7 > index/sub/number; echo 'cat $1/sub/number' > index/run; chmod +x index/run"


@pytest.fixture(params=["same machine", "elsewhere"])
def far(request: pytest.FixtureRequest, home: Path) -> Site:
    """The other site: of this machine, or one that has not our files."""
    site = local_site(str(home / "far"), linger_s=0.5, name="far")
    if request.param == "elsewhere":
        site.transport, site.shares_our_files = Elsewhere(), False
    return site


@pytest.fixture
def room(home: Path, far: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Embedded]:
    monkeypatch.setattr(leftovers, "_EVERY_S", 0.1)
    with running(home, sites=[local_site(str(home / "near"), linger_s=0.5, name="near"), far]) as room:
        yield room


def steps(folder: Path, **changes: dict[str, Any]) -> list[dict[str, Any]]:
    """An index and a list at 'near'; a task for each item at 'far', gathered there; a report of that at 'near'."""
    apps = Apps(folder)
    index = apps.make("index", INDEX, {}, outputs={"folder": {"path": "index"}})
    use = apps.make(
        "use", '"$1/run" "$1" > /dev/null; echo $(($(cat "$1/sub/number") * $2))',
        {"index": {"type": "file"}, "n": {"type": "integer"}}, outputs={"is": {"from": "stdout", "type": "json"}},
    )  # fmt: skip
    total = apps.make(
        "total",
        """python3 -S -c 'import json, sys
print(sum(json.loads(row)["result"] for row in open(sys.argv[1])))' "$1" > sum""",
        {"rows": {"type": "file"}}, outputs={"sum": {"path": "sum"}},
    )  # fmt: skip
    report = apps.make(
        "report", 'cat "$1"', {"sum": {"type": "file"}}, outputs={"said": {"from": "stdout", "type": "json"}}
    )
    found: dict[str, dict[str, Any]] = {
        "index": {"app": index, "resources": {"site": "near"}},
        "list": {"app": apps.listing("echo '[1, 2, 3]'"), "resources": {"site": "near"}},
        "use": {
            "app": use, "items": "list", "item": "n", "inputs": {"index": "index.folder"}, "resources": {"site": "far"}
        },
        "total": {"app": total, "gather": ["use"], "results": "rows", "resources": {"site": "far"}},
        "report": {"app": report, "inputs": {"sum": "total.sum"}, "resources": {"site": "near"}},
    }  # fmt: skip
    return [{"name": name, **one, **changes.get(name, {})} for name, one in found.items()]


def submit(room: Embedded, wanted: list[dict[str, Any]], **options: Any) -> RunView:
    return room.mine.submit(StepRun.model_validate({"steps": wanted, **options}))


def brought(site: Site) -> list[Path]:
    """Files that were copied from another site."""
    return [path for path in Path(site.root, outputcopy.BROUGHT).rglob("*") if path.is_file()]


def test_what_one_task_leaves_is_brought_to_the_other_site_and_back(room: Embedded, far: Site, tmp_path: Path) -> None:
    wanted = steps(tmp_path)
    run = end_of(room, submit(room, wanted, reuse=True), 120)
    assert run.counts == {TaskState.COMPLETE: 7}, [task.reason for task in room.mine.tasks(run.id).items]
    ran = {(task.step, room.mine.task(task.id).attempts[0].site) for task in room.mine.tasks(run.id).items}
    assert ran == {("index", "near"), ("list", "near"), ("use", "far"), ("total", "far"), ("report", "near")}
    [report] = [task for task in room.mine.tasks(run.id).items if task.step == "report"]
    assert report.result == 42
    assert [one.site for one in run.steps] == ["near", "near", "far", "far", "near"]
    wait_for(lambda: not brought(far) and not brought(room.sites[0]), 60, "that the copies are gone")
    assert Path(room.sites[0].output_folder(run.id, 0), "index", "run").exists(), "and what was copied is there"
    again = end_of(room, submit(room, wanted, reuse=True), 120)
    assert again.counts == {TaskState.COMPLETE: 7}
    assert not any(room.mine.task(task.id).attempts for task in room.mine.tasks(again.id).items), "nothing has changed"


def test_an_output_that_is_gone_is_told_and_a_retry_makes_what_needs_it(
    room: Embedded, far: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring = outputcopy.OutputCopy.bring

    def too_late(self: Any, job: Any) -> Any:
        shutil.rmtree(Path(room.sites[0].root, "runs"))
        return bring(self, job)

    with monkeypatch.context() as patch:
        patch.setattr(outputcopy.OutputCopy, "bring", too_late)
        run = end_of(room, submit(room, steps(tmp_path)), 120)
    failed = [task for task in room.mine.tasks(run.id).items if task.step == "use"]
    assert {(task.state, task.failure) for task in failed} == {(TaskState.SYSTEM_ERROR, "staging")}
    told = f"The output 'index' of task {run.id}.0 at 'near' could not be brought to 'far': It is no longer at 'near'."
    assert failed[0].reason == told


REFUSED = [
    (
        {"use": {"resources": {}}, "total": {"resources": {}}, "report": {"resources": {"site": "far"}}},
        "asks for no site, and other steps for 'far' and 'near'. Where steps go to different sites, each says its own",
    ),
    (
        {"total": {"resources": {"site": "near"}}, "use": {"app": "squares"}},
        "step 'use' has many tasks, at the site 'far', and what these leave is not brought to another. Let one task",
    ),
    (
        {"report": {"resources": {"site": "moon"}}},
        "there is no site 'moon'",
    ),
]


@pytest.mark.parametrize(("changes", "says"), REFUSED)
def test_what_cannot_get_there_is_refused(
    room: Embedded, tmp_path: Path, changes: dict[str, dict[str, Any]], says: str
) -> None:
    wanted = steps(tmp_path, **changes)
    for one in wanted:
        if one["app"] == "squares":
            one["app"] = Apps(tmp_path).squares()
            one["inputs"] = {}
    with pytest.raises(InvalidRequest) as caught:
        submit(room, wanted)
    assert any(says in str(problem) for problem in caught.value.problems), json.dumps(
        [str(problem) for problem in caught.value.problems]
    )
