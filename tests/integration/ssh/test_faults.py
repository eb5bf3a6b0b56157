"""Login nodes go down, hang and throw people out: what waits, for how long, and that it comes back by itself."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from packhorse.sites.base import SiteUnreachable
from packhorse.sites.transports.ssh import SshTransport
from tests.fixtures.room import wait_for
from tests.fixtures.sshd import SshServer


@pytest.fixture
def opened() -> Iterator[Callable[..., SshTransport]]:
    """Makes transports that are closed after the test."""
    transports: list[SshTransport] = []

    def open_one(sshd: SshServer, **changes: object) -> SshTransport:
        transports.append(SshTransport(sshd.options(**changes)))
        return transports[-1]

    yield open_one
    for transport in transports:
        transport.close()


def answers(transport: SshTransport) -> bool:
    try:
        return transport.exists("/")
    except SiteUnreachable:
        return False


def test_all_threads_share_one_connection(sshd: SshServer, opened: Callable[..., SshTransport]) -> None:
    transport = opened(sshd)
    threads = [threading.Thread(target=transport.run, args=(["true"],)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sshd.connections() == 1


def test_a_server_that_went_down_is_left_alone_and_found_again(
    sshd: SshServer, opened: Callable[..., SshTransport]
) -> None:
    transport = opened(sshd)
    assert transport.exists("/")
    running: list[BaseException] = []

    def run() -> None:
        try:
            transport.run(["sleep", "60"])
        except BaseException as error:
            running.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: len(sshd.processes()) >= 3, what="the command")
    sshd.stop()
    thread.join(10)
    assert [type(error) for error in running] == [SiteUnreachable]
    waits: list[float] = []
    give_up = time.monotonic() + 5
    while time.monotonic() < give_up:
        began = time.monotonic()
        with pytest.raises(SiteUnreachable) as error:
            transport.names("/")
        waits.append(time.monotonic() - began)
        assert "tried again in" in str(error.value)
    assert "refuses connections" in str(error.value)
    assert max(waits) < 2
    assert len(waits) > 200  # nearly all of them at once, with nothing sent
    sshd.start()
    wait_for(lambda: answers(transport), 20, "the connection")
    assert transport.run(["echo", "back"]).stdout == "back\n"


def test_back_off_asks_ever_more_rarely(sshd: SshServer) -> None:
    sshd.stop()
    now = 1000.0
    transport = SshTransport(sshd.options(), monotonic=lambda: now)
    said: list[int] = []
    for _ in range(9):
        with pytest.raises(SiteUnreachable) as error:
            transport.exists("/")
        said.append(int(str(error.value).split("tried again in ")[1].split()[0]))
        now += said[-1] + 0.1
    assert said == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    transport.close()


def test_a_connection_that_served_is_replaced_without_waiting(
    sshd: SshServer, opened: Callable[..., SshTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("packhorse.sites.transports.ssh_link._PROVEN_S", 0.0)
    transport = opened(sshd)
    assert transport.exists("/")
    sshd.stop()
    sshd.start()
    wait_for(lambda: answers(transport), 5, "a new connection")
    assert sshd.connections() == 2


def test_a_dead_peer_is_noticed(sshd: SshServer, opened: Callable[..., SshTransport]) -> None:
    transport = opened(sshd, dead_after_s=2.0, connect_timeout_s=1.0)
    assert transport.exists("/")
    sshd.freeze()
    began = time.monotonic()
    with pytest.raises(SiteUnreachable, match="was lost"):
        transport.names("/")
    assert time.monotonic() - began < 4
    wait_for(lambda: not answers(transport), 5)
    began = time.monotonic()
    assert not answers(transport)
    assert time.monotonic() - began < 2


def test_a_file_system_that_hangs(
    sshd: SshServer, opened: Callable[..., SshTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is alive and files are not."""
    monkeypatch.setattr("packhorse.sites.transports.ssh._ANSWER_S", 0.5)
    monkeypatch.setattr("packhorse.sites.transports.ssh_link._PROVEN_S", 0.0)
    transport = opened(sshd)
    assert transport.exists("/")
    service = sshd.processes()[-1]
    os.kill(service, signal.SIGSTOP)
    try:
        words = "keeps the connection but does not answer within 0.5 s for /"
        with pytest.raises(SiteUnreachable, match=words):
            transport.names("/")
        began = time.monotonic()
        with pytest.raises(SiteUnreachable, match=f"{words}.* tried again in 1 s"):
            transport.names("/")
        assert time.monotonic() - began < 0.4
        wait_for(lambda: answers(transport), 10, "a new file service")
    finally:
        os.kill(service, signal.SIGKILL)  # a process that is stopped outlives its connection


def test_by_default_a_dead_peer_is_noticed_within_half_a_minute(sshd: SshServer) -> None:
    assert sshd.options().dead_after_s <= 30


def test_channels_are_bounded(tmp_path: Path, opened: Callable[..., SshTransport]) -> None:
    """A server that allows three at once is never asked for a fourth."""
    server = SshServer(tmp_path / "strict", "MaxSessions 3")
    server.start()
    try:
        transport = opened(server, max_channels=3)
        wrong: list[BaseException] = []
        folder = tmp_path / "running"
        folder.mkdir()
        most: list[int] = []

        def run() -> None:
            try:
                program = f"touch {folder}/$$; ls {folder} | wc -l; sleep 0.2; rm {folder}/$$"
                most.append(int(transport.run(["sh", "-c", program]).stdout))
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=run) for _ in range(10)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            transport.names("/")  # files do not wait behind commands
        assert (wrong, len(most)) == ([], 10)
        assert max(most) <= 2
    finally:
        server.stop()


def test_commands_run_side_by_side(sshd: SshServer, tmp_path: Path, opened: Callable[..., SshTransport]) -> None:
    """Each waits for the other."""
    transport = opened(sshd, max_channels=3)
    codes: list[int] = []

    def meet(mine: str, other: str) -> None:
        program = f"touch {tmp_path}/{mine}; until [ -e {tmp_path}/{other} ]; do sleep 0.05; done"
        codes.append(transport.run(["sh", "-c", program], timeout_s=30).exit_code)

    threads = [threading.Thread(target=meet, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]


def test_a_server_that_allows_fewer_channels_says_so(tmp_path: Path, opened: Callable[..., SshTransport]) -> None:
    server = SshServer(tmp_path / "strict", "MaxSessions 1")
    server.start()
    try:
        transport = opened(server)
        with pytest.raises(SiteUnreachable, match=r"opens no channel for 'true'.*max_channels"):
            transport.run(["true"])
        assert transport.exists("/")
    finally:
        server.stop()


def test_commands_wait_for_a_channel_no_longer_than_they_may(
    sshd: SshServer, opened: Callable[..., SshTransport]
) -> None:
    transport = opened(sshd, max_channels=2)
    thread = threading.Thread(target=transport.run, args=(["sleep", "2"],))
    thread.start()
    wait_for(lambda: len(sshd.processes()) >= 3, what="the command")
    with pytest.raises(SiteUnreachable, match="did not end within"):
        transport.run(["true"], timeout_s=0.3)
    thread.join()
    assert transport.run(["true"]).exit_code == 0


def test_a_server_that_throws_us_out_is_not_asked_without_end(
    sshd: SshServer, opened: Callable[..., SshTransport]
) -> None:
    """It lets us in and its file service ends, as with a login script that fails."""
    config = sshd.folder / "sshd_config"
    config.write_text(config.read_text().replace("Subsystem sftp internal-sftp", "Subsystem sftp /bin/false"))
    sshd.stop()
    sshd.start()
    transport = opened(sshd)
    give_up = time.monotonic() + 2.5
    while time.monotonic() < give_up:
        with pytest.raises(SiteUnreachable, match="serves no files by SFTP"):
            transport.exists("/")
    assert sshd.connections() == 2


def test_after_close_nothing_is_opened(sshd: SshServer) -> None:
    transport = SshTransport(sshd.options())
    assert transport.exists("/")
    transport.close()
    transport.close()
    with pytest.raises(SiteUnreachable, match="was closed"):
        transport.exists("/")
    assert sshd.connections() == 1


def test_a_broken_upload_leaves_the_old_file(
    sshd: SshServer, tmp_path: Path, opened: Callable[..., SshTransport]
) -> None:
    transport = opened(sshd)
    (tmp_path / "file").write_bytes(b"old")
    source = tmp_path / "source"
    with open(source, "wb") as file:
        file.truncate(1 << 30)
    broken: list[BaseException] = []

    def put() -> None:
        try:
            transport.put(source, f"{tmp_path}/file")
        except BaseException as error:
            broken.append(error)

    thread = threading.Thread(target=put)
    thread.start()
    wait_for(
        lambda: any(path.stat().st_size > 1 << 20 for path in tmp_path.glob("file.*.tmp")), what="half of the file"
    )
    sshd.stop()
    thread.join(10)
    assert [type(error) for error in broken] == [SiteUnreachable]
    assert (tmp_path / "file").read_bytes() == b"old"
