"""Sites that have not our files, and sites whose login node fetches: the same stories, with the same ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.domain.run import NamedTask, TaskRun
from packhorse.domain.states import TaskState
from packhorse.engine.embedded import Embedded
from packhorse.sites.site import Site, local_site
from packhorse.sites.transports.local import LocalTransport
from packhorse.sites.transports.ssh import SshTransport
from tests.fixtures.room import wait_for
from tests.fixtures.s3server import SECRET, S3Server
from tests.fixtures.webserver import WebServer

from .rooms import DATA, OTHER, archive, end_of, first_task, results, running, sha, submit, summing_app


class Elsewhere(LocalTransport):
    """Real files and commands, of which the engine may not assume that they are its own."""

    is_local = False


@pytest.fixture(params=["engine", "site", "noisy"])
def site(request: pytest.FixtureRequest, home: Path) -> Iterator[Site]:
    """The engine fetches, the site's login node does, or the engine does and every login at the site prints before and
    after all.
    """
    site = local_site(str(home / "elsewhere"), linger_s=0.5, name="elsewhere")
    site.transport = Elsewhere()
    site.shares_our_files = False
    site.fetches = request.param == "site"
    if request.param == "noisy":
        site.transport = transport = SshTransport(request.getfixturevalue("noisy_sshd").options())
    yield site
    if request.param == "noisy":
        transport.close()


@pytest.fixture
def room(site: Site, home: Path, s3: S3Server) -> Iterator[Embedded]:
    with running(home, sites=[site], data=s3.config) as room:
        yield room


def test_data_gets_there_and_is_there_the_next_time(
    room: Embedded, web: WebServer, s3: S3Server, tmp_path: Path, site: Site
) -> None:
    web.files |= {"/x": DATA, "/db.tar.gz": archive(index=OTHER)}
    bucket = s3.bucket(f"there-{site.fetches}".lower())
    s3.client.put_object(Bucket=bucket, Key="y", Body=OTHER, ChecksumAlgorithm="CRC64NVME")
    app = summing_app(tmp_path, more=f"refdata:\n  db: {{url: '{web.url('/db.tar.gz')}', version: '1'}}\n")
    urls = [web.url("/x"), f"s3://{bucket}/y", f"{web.url('/x')}#sha256={sha(DATA)}"]
    for _ in range(2):
        run = end_of(room, submit(room, app, *urls))
        assert run.counts == {TaskState.COMPLETE: 3}
        assert results(room, run) == [f"{sha(DATA)} x", f"{sha(OTHER)} y", f"{sha(DATA)} x"]
    assert (web.asked["GET /x"], web.asked["GET /db.tar.gz"]) == (2, 1)
    folders = (room.home / "fetching", Path(site.root) / "cache" / ".partial", Path(site.root) / "errands")
    left = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert left == []
    files = [path.read_bytes() for path in Path(site.root).rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in data or b"X-Amz-Signature" in data for data in files)


def test_what_does_not_come_is_told_in_the_same_way(room: Embedded, web: WebServer, tmp_path: Path) -> None:
    web.files["/x"] = DATA
    app = summing_app(tmp_path)
    run = end_of(room, submit(room, app, f"{web.url('/x')}#sha256={sha(OTHER)}"))
    reason = first_task(room, run).reason or ""
    assert sha(DATA) in reason and sha(OTHER) in reason and "It was tried 4 times." in reason
    run = end_of(room, submit(room, app, web.url("/gone")))
    assert "404" in (first_task(room, run).reason or "")


def test_a_site_tells_how_far_it_is_and_an_unwanted_fetch_ends(
    room: Embedded, web: WebServer, tmp_path: Path, site: Site
) -> None:
    web.files["/x"] = DATA
    web.gate.clear()
    run = submit(room, summing_app(tmp_path), web.url("/x"))
    wait_for(
        lambda: re.search(r": (0\.9|1)[0-9]* of 2 MB", first_task(room, run).reason or ""), 30, "a reason with progress"
    )
    room.mine.cancel_run(run.id)
    wait_for(lambda: not list(Path(site.root).glob("errands/*")), 10, "the end of the background job")
    web.gate.set()


def test_outputs_are_delivered_from_there(room: Embedded, tmp_path: Path) -> None:
    script = "mkdir -p d/e; printf '\\000\\377 bytes' > 'd/e/a b'; echo \"it's\" > d/c; echo one > o"
    outputs = [
        {"path": "o", "url": f"file://{tmp_path}/out/o"},
        {"path": "d", "url": f"file://{tmp_path}/out/d", "type": "DIRECTORY"},
    ]
    task = {"executors": [{"command": ["/bin/sh", "-c", script]}], "outputs": outputs}
    run = room.mine.submit(TaskRun(tasks=[NamedTask.model_validate({"name": "t", "task": task})]))
    assert end_of(room, run).counts == {TaskState.COMPLETE: 1}, first_task(room, run).reason
    there = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert there == {"o": b"one\n", "d/c": b"it's\n", "d/e/a b": b"\0\377 bytes"}
