"""A site is far away: what each call costs in round trips, measured through a wire that is slow on purpose."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from packhorse.sites.transports.ssh import SshTransport
from tests.fixtures.sshd import SshServer

ROUND_TRIP_S = 0.2


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(1 << 16):
        loop.call_later(ROUND_TRIP_S / 2, writer.write, data)
    loop.call_later(ROUND_TRIP_S / 2, writer.close)


@contextmanager
def slow_wire(port: int) -> Iterator[int]:
    """A port that leads to ``port``, with every byte delayed by half a round trip."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_carry(reader, there[1]), _carry(there[0], writer))

    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(accept, "127.0.0.1", 0), loop).result()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def round_trips(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return (time.monotonic() - began) / ROUND_TRIP_S


@pytest.fixture
def far(shared_sshd: SshServer, tmp_path: Path) -> Iterator[SshTransport]:
    known = tmp_path / "known_hosts"
    with slow_wire(shared_sshd.port) as port:
        known.write_text(shared_sshd.known_hosts.read_text().replace(str(shared_sshd.port), str(port)))
        transport = SshTransport(shared_sshd.options(port=port, known_hosts=known, connect_timeout_s=30))
        assert transport.exists("/")
        yield transport
        transport.close()


def test_what_is_called_often_costs_little(far: SshTransport, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.mkdir()
    for number in range(60):
        (journal / f"{number}.jsonl").write_bytes(b"x" * 50_000)
    path = f"{journal}/1.jsonl"
    assert round_trips(lambda: far.exists(path)) < 1.9
    assert round_trips(lambda: far.names(str(journal))) < 2.9
    assert round_trips(lambda: far.read(path)) < 2.9
    assert round_trips(lambda: far.append(path, b"x")) < 2.9
    assert round_trips(lambda: far.write(path, b"x")) < 3.9
    assert round_trips(lambda: far.remove(f"{journal}/2.jsonl")) < 1.9
    assert round_trips(lambda: far.rename(path, f"{path}2")) < 1.9
    assert round_trips(lambda: far.make_folder(f"{journal}/new")) < 1.9
    assert round_trips(lambda: far.make_folder(f"{journal}/new")) < 2.9
    assert round_trips(lambda: far.run(["true"])) < 2.9  # the channel, the command; its frame comes with what it says


def test_calls_of_several_threads_do_not_add_up(far: SshTransport) -> None:
    def all_at_once() -> None:
        threads = [threading.Thread(target=far.exists, args=("/",)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert round_trips(all_at_once) < 1.9
