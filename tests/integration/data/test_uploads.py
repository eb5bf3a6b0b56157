"""What tasks need of the engine's machine is brought beside the loop that places tasks: what is slow, cut, damaged or
changed concerns those who need it, and nobody else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.engine import appfolders
from packhorse.engine.embedded import Embedded
from packhorse.sites.site import Site, local_site
from packhorse.store.schema import apps, data, step_data
from tests.fixtures.room import make_app, wait_for

from .rooms import end_of, first_task, running
from .test_elsewhere import Elsewhere


class Slow(Elsewhere):
    """A site to which names with the ``word`` in them do not get before the ``gate`` is open."""

    def __init__(self) -> None:
        super().__init__()
        self.word = "tardy"
        self.gate = threading.Event()
        self.began = threading.Event()

    def _pass(self, path: str) -> None:
        if self.word in path:
            self.began.set()
            assert self.gate.wait(30)

    def write(self, path: str, data: bytes) -> None:
        self._pass(path)
        super().write(path, data)

    def put(self, source: Path, target: str) -> None:
        self._pass(target)
        super().put(source, target)


@pytest.fixture
def site(home: Path) -> Site:
    site = local_site(str(home / "elsewhere"), linger_s=0.5, name="elsewhere")
    site.transport, site.shares_our_files = Slow(), False
    return site


@pytest.fixture
def slow(site: Site) -> Slow:
    assert isinstance(site.transport, Slow)
    return site.transport


@pytest.fixture
def room(site: Site, home: Path) -> Iterator[Embedded]:
    with running(home, sites=[site]) as room:
        yield room


def run_of(room: Embedded, app: str, number: int = 1) -> str:
    rows = [{"i": index} for index in range(number)]
    return room.service.submit(room.user, AppRun(app=app, over=rows)).id


def wait_for_end(room: Embedded, run: str, timeout_s: float = 40) -> dict[TaskState, int]:
    return dict(end_of(room, room.service.run(room.user, run), timeout_s).counts)


def test_a_slow_upload_of_an_app_holds_up_its_own_tasks_only(room: Embedded, slow: Slow, tmp_path: Path) -> None:
    late = run_of(room, make_app(tmp_path / "a", command="['true']", name="tardy"), 3)
    assert slow.began.wait(20)
    began = time.monotonic()
    quick = run_of(room, make_app(tmp_path / "b", command="['true']", name="quick"), 20)
    assert wait_for_end(room, quick) == {TaskState.COMPLETE: 20} and time.monotonic() - began < 15
    for task in (room.service.task(room.user, f"{late}.1"), room.service.tasks(room.user, late).items[1]):
        assert task.state == TaskState.QUEUED
        assert (task.reason or "").startswith("Waits for the folder of the app 'tardy': ")
    wait_for(lambda: "MB" in (room.service.task(room.user, f"{late}.1").reason or ""), 10, "a reason with progress")
    slow.gate.set()
    assert wait_for_end(room, late) == {TaskState.COMPLETE: 3}
    with room.database.read() as connection:
        assert connection.execute(sa.select(step_data)).all() == [], "an app costs no row for its steps"


def test_a_run_whose_app_comes_too_late_can_be_canceled(room: Embedded, slow: Slow, tmp_path: Path) -> None:
    run = run_of(room, make_app(tmp_path / "a", command="['true']", name="tardy"), 3)
    assert slow.began.wait(20)
    room.service.cancel_run(room.user, run)
    assert wait_for_end(room, run) == {TaskState.CANCELED: 3}
    slow.gate.set()
    again = run_of(room, str(tmp_path / "a"))
    assert wait_for_end(room, again) == {TaskState.COMPLETE: 1}


GATHER = """gather:
  command: [/bin/sh, -c, 'wc -l < {results}']
  outputs:
    lines: {from: stdout, type: text}
"""


def test_a_slow_upload_of_a_table_holds_up_its_gathering_task_only(room: Embedded, slow: Slow, tmp_path: Path) -> None:
    slow.word = "/tables/"
    app = make_app(tmp_path / "a", command="['true']", more=GATHER)
    late = run_of(room, app, 7)
    assert slow.began.wait(30)
    began = time.monotonic()
    quick = run_of(room, make_app(tmp_path / "b", command="['true']", name="quick"), 20)
    assert wait_for_end(room, quick) == {TaskState.COMPLETE: 20} and time.monotonic() - began < 15
    task = room.service.task(room.user, f"{late}.7")
    assert (task.reason or "").startswith("Waits for the table of the results that it reads: ")
    slow.gate.set()
    assert wait_for_end(room, late) == {TaskState.COMPLETE: 8}
    assert (room.service.task(room.user, f"{late}.7").result or "").split() == ["7"]
    again = run_of(room, app, 3)
    assert wait_for_end(room, again) == {TaskState.COMPLETE: 4}
    (folder,) = Path(room.sites[0].root).glob("tables")
    assert folder.stat().st_mode & 0o777 == 0o700, "what tasks left is their user's alone"


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_an_app_that_is_damaged_in_the_store_fails_its_tasks_with_a_sentence(
    home: Path, site: Site, tmp_path: Path, where: str
) -> None:
    with running(home, sites=[site] if where == "elsewhere" else None) as room:
        name = room.sites[0].name
        app, other = (make_app(tmp_path / one, command="['true']", name=one) for one in ("app", "other"))
        first = run_of(room, app)
        wait_for_end(room, first)
        (folder,) = Path(room.sites[0].root).glob("apps/app-*")
        with room.database.write() as connection:
            connection.execute(sa.update(apps).values(archive=b"odd"))
    (folder / "app.yaml").write_text("not what it was")
    with running(home, sites=[site] if where == "elsewhere" else None) as room:  # looks at what is there
        lost, fine = run_of(room, app, 2500), run_of(room, other)
        assert wait_for_end(room, lost, 60) == {TaskState.SYSTEM_ERROR: 2500}
        task = first_task(room, room.service.run(room.user, lost))
        assert task.failure == "staging"
        said = f"The folder of the app 'app' could not be brought to '{name}': It is damaged in the store: the archive"
        assert (task.reason or "").startswith(said)
        assert (task.reason or "").endswith("Change the app, say its version, and submit it again.")
        assert wait_for_end(room, fine) == {TaskState.COMPLETE: 1}


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_folder_of_an_app_that_was_damaged_at_the_site_is_brought_again(
    home: Path, site: Site, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(tmp_path / "app", command="[/bin/sh, '{app}/tool']")
    (tmp_path / "app" / "tool").write_text("exit 0\n")
    for _ in range(2):
        with running(home, sites=[site] if where == "elsewhere" else None) as room:
            assert wait_for_end(room, run_of(room, app, 5)) == {TaskState.COMPLETE: 5}
            (tool,) = Path(room.sites[0].root).glob("apps/t-*/tool")
        tool.write_text("exit 1\n")  # while no engine looks
    monkeypatch.setattr(appfolders, "LOOK_AGAIN_S", 0.0)
    with running(home, sites=[site] if where == "elsewhere" else None) as room:
        assert wait_for_end(room, run_of(room, app)) == {TaskState.COMPLETE: 1}
        tool.unlink()  # while one does
        run = run_of(room, app)
        wait_for(tool.exists, 10, "the app's folder to be whole again")
        wait_for_end(room, run)


def test_of_an_app_that_is_there_the_store_says_nothing(home: Path, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", command="['true']")
    with running(home) as room:
        wait_for_end(room, run_of(room, app))
        asked: list[str] = []
        sa.event.listen(room.database.engine, "before_cursor_execute", lambda *of: asked.append(of[2]))
        for _ in range(3):
            wait_for_end(room, run_of(room, app, 5))
        assert not [statement for statement in asked if "INTO step_data" in statement or "INTO data " in statement]
        with room.database.read() as connection:
            assert len(connection.execute(sa.select(data)).all()) == 1
