"""Inputs by URL through a real engine, with real servers that behave well and badly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import sqlalchemy as sa

from packhorse.domain.config import DataConfig
from packhorse.domain.run import NamedTask, TaskRun
from packhorse.domain.states import TaskState
from packhorse.engine.appfolders import AppFolders
from packhorse.engine.clock import SystemClock
from packhorse.engine.data.dataloop import DataLoop
from packhorse.engine.embedded import Embedded
from packhorse.engine.lease import Lease
from packhorse.engine.loop import AtSite
from packhorse.engine.notifier import Notifier
from packhorse.staging.data import Unwanted
from tests.fixtures.room import EngineProcess, wait_for
from tests.fixtures.stores import all_open_data
from tests.fixtures.webserver import WebServer

from .rooms import DATA, OTHER, end_of, first_task, results, running, sha, submit, summing_app


@pytest.fixture
def room(home: Path) -> Iterator[Embedded]:
    with running(home) as room:
        yield room


@pytest.fixture
def app(tmp_path: Path) -> str:
    return summing_app(tmp_path)


def test_fifty_tasks_of_one_url_are_one_get_and_the_next_run_none(room: Embedded, web: WebServer, app: str) -> None:
    web.files["/reads.fq"] = DATA
    first = end_of(room, submit(room, app, *[web.url("/reads.fq")] * 50))
    assert first.counts == {TaskState.COMPLETE: 50}
    assert results(room, first) == [f"{sha(DATA)} reads.fq"] * 50
    assert web.asked["GET /reads.fq"] == 1
    second = end_of(room, submit(room, app, web.url("/reads.fq")))
    assert (second.counts, web.asked["GET /reads.fq"], web.asked["HEAD /reads.fq"]) == ({TaskState.COMPLETE: 1}, 1, 2)
    [taken] = first_task(room, second).data
    assert (taken.url, taken.sha256) == (web.url("/reads.fq"), sha(DATA))
    assert taken.path == f"{room.sites[0].root}/cache/{sha(DATA)[:2]}/{sha(DATA)}/reads.fq"
    assert Path(taken.path).stat().st_mode & 0o222 == 0


def test_a_url_that_changed_is_fetched_again_and_each_run_knows_its_content(
    room: Embedded, web: WebServer, app: str
) -> None:
    web.files["/x"] = DATA
    before = end_of(room, submit(room, app, web.url("/x")))
    web.files["/x"] = OTHER
    after = end_of(room, submit(room, app, web.url("/x")))
    assert (results(room, before), results(room, after)) == ([f"{sha(DATA)} x"], [f"{sha(OTHER)} x"])
    assert [first_task(room, run).data[0].sha256 for run in (before, after)] == [sha(DATA), sha(OTHER)]
    assert web.asked["GET /x"] == 2


def test_two_urls_with_the_same_content_share_it_under_their_own_names(
    room: Embedded, web: WebServer, app: str
) -> None:
    web.files |= {"/one.fq": DATA, "/two.fq": DATA}
    run = end_of(room, submit(room, app, web.url("/one.fq"), web.url("/two.fq")))
    assert results(room, run) == [f"{sha(DATA)} one.fq", f"{sha(DATA)} two.fq"]
    folder = Path(room.sites[0].root) / "cache" / sha(DATA)[:2] / sha(DATA)
    assert {path.stat().st_ino for path in folder.iterdir()} == {next(folder.iterdir()).stat().st_ino}


def test_a_task_takes_an_input_by_url(room: Embedded, web: WebServer) -> None:
    web.files["/greeting"] = b"hello"
    task = {"executors": [{"command": ["cat", "in/put"]}], "inputs": [{"path": "in/put", "url": web.url("/greeting")}]}
    run = end_of(room, room.mine.submit(TaskRun(tasks=[NamedTask.model_validate({"name": "a", "task": task})])))
    assert run.counts == {TaskState.COMPLETE: 1}
    assert room.mine.log(f"{run.id}.0", "stdout").data == b"hello"


def test_an_engine_that_is_killed_in_the_middle_is_gone_on_from(home: Path, web: WebServer, app: str) -> None:
    web.files["/big"] = DATA
    web.gate.clear()
    room = Embedded(home)
    with EngineProcess(home) as engine:
        run = submit(room, app, *[web.url("/big")] * 3)
        wait_for(lambda: ": 0.9" in (first_task(room, run).reason or ""), 30, "a reason with progress")
        engine.kill()
    web.gate.set()
    with EngineProcess(home):
        end_of(room, run)
    assert results(room, run) == [f"{sha(DATA)} big"] * 3
    assert web.asked["GET /big"] == 2
    went_on = int(web.headers[-1]["Range"].removeprefix("bytes=").rstrip("-"))
    assert len(DATA) // 4 < went_on <= len(DATA) // 2
    room.close()


def test_a_checksum_that_is_not_met_is_tried_again_and_reported_with_both(
    room: Embedded, web: WebServer, app: str
) -> None:
    web.files["/x"] = DATA
    run = end_of(room, submit(room, app, f"{web.url('/x')}#sha256={sha(OTHER)}", web.url("/x")))
    assert run.counts == {TaskState.SYSTEM_ERROR: 1, TaskState.COMPLETE: 1}
    task = first_task(room, run)
    assert task.failure == "staging"
    assert (
        task.reason
        == f"{web.url('/x')}#sha256={sha(OTHER)} could not be brought to 'local': Its SHA-256 is {sha(DATA)}, and the"
        f" URL says {sha(OTHER)}. It was tried 4 times."
    )
    assert web.asked["GET /x"] == 5
    assert list((Path(room.sites[0].root) / "cache" / ".partial").iterdir()) == []


def test_what_is_not_there_fails_at_once_and_for_those_who_wait_alone(room: Embedded, web: WebServer, app: str) -> None:
    web.files["/there"] = DATA
    run = end_of(room, submit(room, app, web.url("/gone"), web.url("/there"), web.url("/gone")))
    assert run.counts == {TaskState.SYSTEM_ERROR: 2, TaskState.COMPLETE: 1}
    assert (
        first_task(room, run).reason
        == f"{web.url('/gone')} could not be brought to 'local': {web.host} says 404: there is no such file."
    )
    web.files["/gone"] = OTHER
    again = end_of(room, room.mine.retry(run.id))
    assert (again.counts, set(results(room, again))) == ({TaskState.COMPLETE: 2}, {f"{sha(OTHER)} gone"})


def test_a_server_that_is_away_is_waited_for_and_one_that_breaks_off_gone_on_with(
    room: Embedded, web: WebServer, app: str
) -> None:
    web.files["/x"] = DATA
    web.stop()
    run = submit(room, app, web.url("/x"))
    wait_for(lambda: "refuses connections" in (first_task(room, run).reason or ""), 20, "a reason that says so")
    web.break_at = 700_000
    web.start()
    wait_for(lambda: "broke off" in (first_task(room, run).reason or ""), 20, "a reason that says so")
    web.break_at = None
    assert end_of(room, run).counts == {TaskState.COMPLETE: 1}
    assert results(room, run) == [f"{sha(DATA)} x"]
    assert 0 < int(web.headers[-1]["Range"].removeprefix("bytes=").rstrip("-")) <= 700_000


def test_a_server_with_troubles_of_its_own_is_asked_again(room: Embedded, web: WebServer, app: str) -> None:
    web.files["/x"] = DATA
    troubles = [503, 429, 500]

    def fault(request: BaseHTTPRequestHandler) -> bool:
        if not troubles:
            return False
        request.send_error(troubles.pop())
        return True

    web.fault = fault
    assert end_of(room, submit(room, app, web.url("/x"))).counts == {TaskState.COMPLETE: 1}
    assert troubles == []


def test_a_canceled_run_ends_its_fetch(room: Embedded, web: WebServer, app: str) -> None:
    web.files |= {"/x": DATA, "/y": DATA}
    web.gate.clear()
    run = submit(room, app, web.url("/x"))
    wait_for(lambda: web.asked["GET /x"], 20, "the fetch")
    room.mine.cancel_run(run.id)
    web.gate.set()
    assert room.mine.run(run.id).counts == {TaskState.CANCELED: 1}
    assert end_of(room, submit(room, app, web.url("/x"))).counts == {TaskState.COMPLETE: 1}


def loop_of(room: Embedded) -> DataLoop:
    lease = Lease(room.database)
    assert lease.try_take()
    at = AtSite(room.sites[0], room.database, lease, SystemClock(), Notifier(), threading.Event())
    return DataLoop(at, DataConfig(), room.home / "f", lambda: None, AppFolders(), {})


def test_a_store_that_is_as_it_was_is_not_asked(home: Path, web: WebServer, app: str) -> None:
    room = Embedded(home)
    loop = loop_of(room)
    asked: list[str] = []
    sa.event.listen(room.database.engine, "before_cursor_execute", lambda *of: asked.append(of[2]))

    def asks(monotonic: float) -> bool:
        asked.clear()
        assert not loop.tick(monotonic)
        return bool(asked)

    assert [asks(0.0), asks(0.1), asks(0.4), asks(0.6), asks(0.7)] == [True, False, False, True, False]
    other = threading.Thread(target=submit, args=(room, app, "/etc/hostname"))
    other.start()
    other.join()
    assert [asks(0.8), asks(0.9)] == [True, False]
    room.close()


def test_who_comes_while_an_unwanted_fetch_ends_is_served(home: Path, web: WebServer, app: str) -> None:
    """The loop has seen that nobody waits; before it says so in the store, somebody does."""
    room = Embedded(home)
    web.files["/x"] = DATA
    first = submit(room, app, web.url("/x"))
    room.mine.cancel_run(first.id)
    loop = loop_of(room)
    second = submit(room, app, web.url("/x"))
    loop._save(1, Unwanted())
    with room.database.read() as connection:
        assert [row.state for row in all_open_data(connection, "local")] == ["QUEUED"]
    room.mine.cancel_run(second.id)
    loop._save(1, Unwanted())
    with room.database.read() as connection:
        assert all_open_data(connection, "local") == []
    room.close()


def test_what_is_wrong_with_urls_is_refused_by_row(room: Embedded, app: str) -> None:
    with pytest.raises(Exception, match="was not accepted") as refused:
        submit(room, app, "https://me:pass@h/x", "ftp://h/x", "s3://bucket")
    said = str(refused.value)
    assert "row 1, parameter 'file': the URL 'https://…@h/x' carries a name or a password" in said
    assert "row 2, parameter 'file': the URL 'ftp://h/x' has a scheme that cannot be fetched here." in said
    assert "row 3, parameter 'file': the URL 's3://bucket' names no object" in said
    assert "pass" not in said.replace("password", "")
