"""What tasks need of the engine's machine is brought beside the loop that places tasks: what is slow, cut, damaged or
changed concerns those who need it, and nobody else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.views import RunView
from packhorse.engine import appfolders
from packhorse.engine.data import leftovers
from packhorse.engine.embedded import Embedded
from packhorse.sites.base import SiteUnreachable
from packhorse.sites.site import Site, local_site
from packhorse.staging import data as machine
from packhorse.store.schema import apps, data, data_edges, step_data
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
        self._pass(f"{source} {target}")
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
    return room.mine.submit(AppRun(app=app, over=rows)).id


def wait_for_end(room: Embedded, run: str, timeout_s: float = 40) -> dict[TaskState, int]:
    return dict(end_of(room, room.mine.run(run), timeout_s).counts)


def test_a_slow_upload_of_an_app_holds_up_its_own_tasks_only(room: Embedded, slow: Slow, tmp_path: Path) -> None:
    late = run_of(room, make_app(tmp_path / "a", command="['true']", name="tardy"), 3)
    assert slow.began.wait(20)
    began = time.monotonic()
    quick = run_of(room, make_app(tmp_path / "b", command="['true']", name="quick"), 20)
    assert wait_for_end(room, quick) == {TaskState.COMPLETE: 20} and time.monotonic() - began < 15
    for task in (room.mine.task(f"{late}.1"), room.mine.tasks(late).items[1]):
        assert task.state == TaskState.QUEUED
        assert (task.reason or "").startswith("Waits for the folder of the app 'tardy': ")
    wait_for(lambda: "MB" in (room.mine.task(f"{late}.1").reason or ""), 10, "a reason with progress")
    slow.gate.set()
    assert wait_for_end(room, late) == {TaskState.COMPLETE: 3}
    with room.database.read() as connection:
        assert connection.execute(sa.select(step_data)).all() == [], "an app costs no row for its steps"


def test_a_run_whose_app_comes_too_late_can_be_canceled(room: Embedded, slow: Slow, tmp_path: Path) -> None:
    run = run_of(room, make_app(tmp_path / "a", command="['true']", name="tardy"), 3)
    assert slow.began.wait(20)
    room.mine.cancel_run(run)
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
    task = room.mine.task(f"{late}.7")
    assert (task.reason or "").startswith("Waits for the table of the results that it reads: ")
    slow.gate.set()
    assert wait_for_end(room, late) == {TaskState.COMPLETE: 8}
    assert (room.mine.task(f"{late}.7").result or "").split() == ["7"]
    again = run_of(room, app, 3)
    assert wait_for_end(room, again) == {TaskState.COMPLETE: 4}
    (folder,) = Path(room.sites[0].root).glob("tables")
    assert folder.stat().st_mode & 0o777 == 0o700, "what tasks left is their user's alone"


def test_the_table_of_a_run_is_removed_when_the_run_has_ended(
    home: Path, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_EVERY_S", 0.1)
    assert isinstance(site.transport, Slow)
    site.transport.gate.set()
    folder, witness = Path(site.root, "tables"), tmp_path / "go"
    script = f"while [ ! -e {witness} ]; do sleep 0.05; done; wc -l < {{results}}"
    app = make_app(tmp_path / "a", command="['true']", more=GATHER.replace("wc -l < {results}", script))
    with running(home, sites=[site]) as room:
        run = run_of(room, app, 3)
        wait_for(lambda: room.mine.task(f"{run}.3").state == TaskState.RUNNING, 60, "its gathering task")
        time.sleep(0.5)
        assert [file.name.partition("-")[0] for file in folder.iterdir()] == ["r"], "it is being read"
        witness.touch()
        assert wait_for_end(room, run) == {TaskState.COMPLETE: 4}
        wait_for(lambda: not list(folder.iterdir()), 60, "that its table is gone")
        is_table = data.c.url.like("results:%")

        def rows() -> int:
            with room.database.read() as connection:
                return len(connection.execute(sa.select(data).where(is_table)).all())

        wait_for(lambda: not rows(), 60, "that nothing is remembered of it")


def files_app(folder: Path) -> str:
    """Prints what two files hold; the second one has a default."""
    (folder / "common").write_text("c")
    command = "[/bin/sh, -c, 'cat $0 $1', '{file}', '{common}']"
    parameters = f"  file: {{type: file}}\n  common: {{type: file, default: {folder}/common}}\n"
    return make_app(
        folder / "app", command=command, more=f"{parameters}outputs:\n  all: {{from: stdout, type: text}}\n"
    )


def submit_files(room: Embedded, app: str, *files: Path, **common: Any) -> RunView:
    rows = [{"file": str(file)} for file in files]
    return room.mine.submit(AppRun(app=app, over=rows, params={"i": 1, **common}))


def test_a_slow_upload_of_a_file_holds_up_its_own_task_only(room: Embedded, slow: Slow, tmp_path: Path) -> None:
    app, tardy, quick = files_app(tmp_path), tmp_path / "tardy", [tmp_path / f"q{number}" for number in range(8)]
    for file in (tardy, *quick):
        file.write_text(file.name)
    run = submit_files(room, app, tardy, *quick)
    assert slow.began.wait(20)
    wait_for(lambda: room.mine.run(run.id).counts.get(TaskState.COMPLETE) == 8, 30, "the others")
    task = first_task(room, run)
    assert (task.reason or "").startswith(f"Waits for the file '{tardy}': ") and task.state == TaskState.QUEUED
    slow.gate.set()
    assert wait_for_end(room, run.id) == {TaskState.COMPLETE: 9}
    assert [row["result"] for row in room.mine.results(run.id)] == [f"{file.name}c" for file in (tardy, *quick)]
    root = Path(room.sites[0].root)
    assert not list((root / "cache" / ".partial").iterdir())
    assert {path.name for path in root.glob("cache/??/*/*")} == {"common", "tardy", *(path.name for path in quick)}
    slow.gate.clear()
    assert wait_for_end(room, submit_files(room, app, tardy).id) == {TaskState.COMPLETE: 1}, "it is there already"


def test_a_common_file_holds_its_step_and_costs_its_tasks_nothing(room: Embedded, slow: Slow, tmp_path: Path) -> None:
    app, common = files_app(tmp_path), tmp_path / "own"
    common.write_text("own")
    slow.word = "/cache/.partial/file-"
    command = {"over": [{} for _ in range(5)], "params": {"i": 1, "file": str(common)}}
    run = room.mine.submit(AppRun.model_validate({"app": app, **command}))
    assert slow.began.wait(20)
    wait_for(lambda: (first_task(room, run).reason or "").startswith("Waits for the file '"), 10, "the reason")
    slow.gate.set()
    assert wait_for_end(room, run.id) == {TaskState.COMPLETE: 5}
    with room.database.read() as connection:
        assert connection.execute(sa.select(data_edges)).all() == []
        assert len(connection.execute(sa.select(step_data)).all()) == 2
    again = room.mine.submit(AppRun.model_validate({"app": app, **command}))
    assert wait_for_end(room, again.id) == {TaskState.COMPLETE: 5}


def test_a_file_that_changes_before_it_is_brought_is_told(room: Embedded, slow: Slow, tmp_path: Path) -> None:
    app, file, other = files_app(tmp_path), tmp_path / "file", tmp_path / "other"
    file.write_text("some text")
    other.write_text("text of its own")  # else it may be there already, as the other
    slow.word = f"{tmp_path}/file "
    run = submit_files(room, app, file, other)
    assert slow.began.wait(20)
    file.write_text("other texts")
    slow.gate.set()
    assert wait_for_end(room, run.id) == {TaskState.SYSTEM_ERROR: 1, TaskState.COMPLETE: 1}
    task = first_task(room, run)
    assert task.failure == "staging"
    said = f"The file '{file}' could not be brought to 'elsewhere': It has changed since the run was accepted."
    assert (task.reason or "").startswith(f"{said} It had 9 bytes, and has 11. Submit again, or 'packhorse retry'")
    again = room.mine.retry(run.id)
    assert wait_for_end(room, again.id) == {TaskState.COMPLETE: 1}
    assert [row["result"] for row in room.mine.results(again.id)] == ["other textsc"]


def test_a_file_that_is_gone_or_a_folder_is_told(home: Path, site: Site, tmp_path: Path) -> None:
    app, gone, folder = files_app(tmp_path), tmp_path / "gone", tmp_path / "folder"
    gone.write_text("")
    folder.mkdir()
    idle = Embedded(home, sites=[site])
    run = submit_files(idle, app, gone, folder)
    common = submit_files(idle, app, tmp_path / "common", common=str(gone))
    gone.unlink()
    idle.close()
    with running(home, sites=[site]) as room:
        assert wait_for_end(room, run.id) == {TaskState.SYSTEM_ERROR: 2}
        assert wait_for_end(room, common.id) == {TaskState.SYSTEM_ERROR: 1}
        reasons = [row["reason"] for row in room.mine.results(run.id)]
        assert reasons[0] == f"The file '{gone}' could not be brought to 'elsewhere': It is no longer there."
        assert reasons[1].endswith("It is no file, and only files are brought to 'elsewhere'.")
        assert first_task(room, common).reason == reasons[0]


class Cut(Elsewhere):
    """The connection is lost in the middle of the first file."""

    def __init__(self) -> None:
        super().__init__()
        self.cuts = 2

    def put(self, source: Path, target: str) -> None:
        if self.cuts:
            self.cuts -= 1
            Path(f"{target}.1234.tmp").write_bytes(source.read_bytes()[:5])
            raise SiteUnreachable("The connection was lost.")
        super().put(source, target)


def test_an_upload_that_is_cut_is_brought_again_whole(
    home: Path, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "SITE_WAIT_S", 0.1)
    app, file = files_app(tmp_path), tmp_path / "file"
    file.write_text("all of it")
    file.chmod(0o700)
    site.transport = Cut()
    with running(home, sites=[site]) as room:
        run = submit_files(room, app, file)
        assert wait_for_end(room, run.id) == {TaskState.COMPLETE: 1}
        assert [row["result"] for row in room.mine.results(run.id)] == ["all of itc"]
    (there,) = Path(site.root).glob("cache/??/*/file")
    assert there.stat().st_mode & 0o777 == 0o555, "what may be executed stays so"
    assert not list(Path(site.root).glob("cache/.partial/*"))


def test_an_engine_that_is_killed_in_an_upload_is_followed_by_one_that_brings_it_whole(
    home: Path, site: Site, slow: Slow, tmp_path: Path
) -> None:
    app, file = files_app(tmp_path), tmp_path / "file"
    file.write_text("all of it")
    slow.word = "/cache/.partial/file-"
    with running_until_killed(home, site) as room:
        run = submit_files(room, app, file)
        assert slow.began.wait(20)
        wait_for(lambda: "0 of" in (first_task(room, run).reason or ""), 20, "a note in the store")
    site.transport = Elsewhere()
    with running(home, sites=[site]) as room:
        assert wait_for_end(room, run.id) == {TaskState.COMPLETE: 1}
    slow.gate.set()


@contextmanager
def running_until_killed(home: Path, site: Site) -> Iterator[Embedded]:
    """An engine whose threads stand still at the end, as those of a killed one, and whose lease nobody holds."""
    room = Embedded(home, sites=[site], linger_s=0.5)
    with room.run_engine():
        yield room


def test_on_this_machine_files_are_used_where_they_lie(home: Path, tmp_path: Path) -> None:
    app, file = files_app(tmp_path), tmp_path / "file"
    file.write_text("x")
    with running(home) as room:
        run = submit_files(room, app, file)
        assert wait_for_end(room, run.id) == {TaskState.COMPLETE: 1}
        assert not (Path(room.sites[0].root) / "cache").exists()
        with room.database.read() as connection:
            rows = connection.execute(sa.select(data.c.url)).scalars().all()
        assert rows == ["app:t"]


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
        task = first_task(room, room.mine.run(lost))
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
