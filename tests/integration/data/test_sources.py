"""Data at S3 and in Shock, reference data, the cache's quota, and that credentials go nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.domain.config import DataConfig, ShockConfig
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.users import User
from packhorse.engine.embedded import Embedded
from packhorse.sites.site import local_site
from tests.fixtures.s3server import KEY, SECRET, S3Server
from tests.fixtures.shockserver import TOKEN, ShockServer
from tests.fixtures.webserver import WebServer

from .rooms import DATA, OTHER, archive, end_of, first_task, results, running, sha, submit, summing_app


@pytest.fixture
def config(s3: S3Server, shock_config: ShockConfig) -> DataConfig:
    return s3.config.model_copy(update={"shock": {"shock.test": shock_config}})


@pytest.fixture
def room(home: Path, config: DataConfig) -> Iterator[Embedded]:
    with running(home, data=config) as room:
        yield room


@pytest.fixture
def app(tmp_path: Path) -> str:
    return summing_app(tmp_path)


def test_objects_of_s3_come_with_their_checksums(room: Embedded, s3: S3Server, app: str) -> None:
    bucket = s3.bucket("inputs")
    s3.client.put_object(Bucket=bucket, Key="a/reads 1.fq", Body=DATA, ChecksumAlgorithm="SHA256")
    s3.client.put_object(Bucket=bucket, Key="b", Body=OTHER, ChecksumAlgorithm="CRC64NVME")
    run = end_of(room, submit(room, app, "s3://inputs/a/reads%201.fq", "s3://inputs/b"))
    assert results(room, run) == [f"{sha(DATA)} reads_1.fq", f"{sha(OTHER)} b"]


def test_an_object_that_is_not_what_s3_says_is_a_mismatch(
    room: Embedded, s3: S3Server, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look at the object says one thing, its bytes are another: as when a disk at S3 rots."""
    from packhorse.staging.s3 import S3, Object

    bucket = s3.bucket("rotten")
    s3.client.put_object(Bucket=bucket, Key="x", Body=DATA, ChecksumAlgorithm="CRC64NVME")
    true_look = S3.look

    def look(self: S3, bucket: str, key: str) -> Object:
        found = true_look(self, bucket, key)
        assert found.crc64nvme is not None
        return Object(found.size, found.etag, found.last_modified, None, f"{int(found.crc64nvme, 16) ^ 1:016x}")

    monkeypatch.setattr(S3, "look", look)
    run = end_of(room, submit(room, app, "s3://rotten/x"))
    task = first_task(room, run)
    assert (task.state, task.failure) == (TaskState.SYSTEM_ERROR, "staging")
    assert "Its CRC64/NVME is " in (task.reason or "") and ", and S3 says " in (task.reason or "")


def test_an_object_that_is_not_there_and_one_that_changed(room: Embedded, s3: S3Server, app: str) -> None:
    bucket = s3.bucket("moving")
    run = end_of(room, submit(room, app, "s3://moving/x"))
    assert "there is no such object or bucket" in (first_task(room, run).reason or "")
    for data in (DATA, OTHER):
        s3.client.put_object(Bucket=bucket, Key="x", Body=data)
        run = end_of(room, submit(room, app, "s3://moving/x"))
        assert results(room, run) == [f"{sha(data)} x"]


def test_a_node_of_shock_comes_under_its_own_name(room: Embedded, shock: ShockServer, app: str) -> None:
    node = shock.add("contigs.fa", DATA)
    run = end_of(room, submit(room, app, f"shock://shock.test/node/{node}"))
    assert results(room, run) == [f"{sha(DATA)} contigs.fa"]
    shock.lies_about_md5 = True
    run = end_of(room, submit(room, app, f"shock://shock.test/node/{node}"))
    assert "Its MD5 is " in (first_task(room, run).reason or "") and ", and Shock says " in (
        first_task(room, run).reason or ""
    )
    run = end_of(room, submit(room, app, "shock://shock.test/node/0"))
    assert "says 404" in (first_task(room, run).reason or "")


def test_credentials_are_in_no_file_row_or_log(
    home: Path,
    config: DataConfig,
    s3: S3Server,
    shock: ShockServer,
    web: WebServer,
    app: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    s3.client.put_object(Bucket=s3.bucket("secrets"), Key="x", Body=DATA)
    node = shock.add("y", OTHER)
    urls = ["s3://secrets/x", "s3://secrets/gone", f"shock://shock.test/node/{node}", f"shock://other.test/node/{node}"]
    config.shock["other.test"] = ShockConfig(url=web.url("/shock"))  # which has no token of ours
    with running(home, data=config) as room:
        run = end_of(room, submit(room, app, *urls))
        assert run.counts == {TaskState.COMPLETE: 2, TaskState.SYSTEM_ERROR: 2}
        shown = [room.mine.task(f"{run.id}.{index}").model_dump_json() for index in range(4)]
    output = capfd.readouterr()
    files = [path for path in home.rglob("*") if path.is_file()]
    assert any(path.name == "packhorse.db" for path in files)
    places = [
        output.out.encode(),
        output.err.encode(),
        *(text.encode() for text in shown),
        *(path.read_bytes() for path in files),
    ]
    for secret in (SECRET, TOKEN, KEY, "X-Amz-Signature"):
        assert not any(secret.encode() in place for place in places), secret
    assert web.headers and all(TOKEN not in str(headers) for headers in web.headers)


def test_reference_data_is_unpacked_once_and_read_only(room: Embedded, web: WebServer, tmp_path: Path) -> None:
    web.files["/db-1.tar.gz"] = archive(index=DATA, deep__er=OTHER)
    refdata = f"refdata:\n  db: {{url: '{web.url('/db-1.tar.gz')}', version: '1'}}\n"
    app = summing_app(tmp_path, more=refdata, argument="{db}/deep/er")
    runs = [end_of(room, submit(room, app)) for _ in range(2)]
    assert [results(room, run) for run in runs] == [[f"{sha(OTHER)} er"]] * 2
    assert (web.asked["GET /db-1.tar.gz"], web.asked["HEAD /db-1.tar.gz"]) == (1, 1)
    [used] = first_task(room, runs[1]).data
    assert used.version == "1" and used.path is not None and Path(used.path).name == "db-1"
    assert all(path.stat().st_mode & 0o222 == 0 for path in Path(used.path).rglob("*"))


def test_an_archive_with_a_member_that_leaves_is_refused(room: Embedded, web: WebServer, tmp_path: Path) -> None:
    web.files["/bad.tar.gz"] = archive(**{"..__..__evil": b"x"})
    app = summing_app(
        tmp_path, more=f"refdata:\n  db: {{url: '{web.url('/bad.tar.gz')}', version: '1'}}\n", argument="{db}"
    )
    run = end_of(room, submit(room, app))
    assert "the archive's member '../../evil' leaves the folder" in (first_task(room, run).reason or "")


def test_what_was_not_used_for_longest_leaves_and_what_is_used_stays(
    home: Path, web: WebServer, tmp_path: Path
) -> None:
    site = local_site(str(home / "site"), linger_s=0.5)
    site.data_quota_bytes = int(2.5 * len(DATA))
    contents = [bytes([number]) + DATA for number in range(4)]
    web.files |= {f"/{number}": data for number, data in enumerate(contents)}
    with running(home, sites=[site]) as room:
        app = summing_app(tmp_path)
        for number in (0, 1, 0, 2):
            assert end_of(room, submit(room, app, web.url(f"/{number}"))).counts == {TaskState.COMPLETE: 1}
        cache = home / "site" / "cache"
        assert {path.name for path in cache.glob("??/*")} == {sha(contents[number]) for number in (0, 2)}
        run = end_of(room, submit(room, app, *(web.url(f"/{number}") for number in range(4))))
        assert run.counts == {TaskState.COMPLETE: 4}
        assert results(room, run) == [f"{sha(data)} {number}" for number, data in enumerate(contents)]


def test_users_name_the_urls_only_that_the_server_allows(home: Path, web: WebServer, tmp_path: Path) -> None:
    web.files["/open/x"] = DATA
    folder = tmp_path / "apps"
    folder.mkdir()
    summing_app(folder)
    user = User("somebody", admin=False)
    for allowed, good in ((None, False), ([web.url("/open")], True)):
        room = Embedded(home, app_folders=[folder], data=DataConfig(urls=allowed))
        request = AppRun(app="sum", over=[{"file": web.url("/open/x")}, {"file": web.url("/opener")}])
        with pytest.raises(InvalidRequest) as refused:
            room.service.as_user(user).submit(request)
        assert f"row 2, parameter 'file': the URL '{web.url('/opener')}' is not one that this server fetches" in str(
            refused.value
        )
        assert ("row 1" in str(refused.value)) is not good
        room.close()
