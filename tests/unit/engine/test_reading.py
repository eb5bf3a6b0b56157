"""Journals that are read all at once: every record counts once, whatever goes wrong on the way."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from packhorse.domain.states import AllocationState, TaskState
from packhorse.engine.collecting.collect import Collector
from packhorse.engine.collecting.reading import JournalReader
from packhorse.engine.heartbeats import Heartbeats
from packhorse.engine.lease import Lease
from packhorse.engine.steps.base import StepSpec
from packhorse.engine.watch import Watcher
from packhorse.sites.base import JobState, JobStatus, Shape
from packhorse.sites.journals import ANSWER_BYTES, READ_BYTES
from packhorse.sites.schedulers.local import LocalScheduler
from packhorse.sites.site import Site, local_site
from packhorse.store import allocations as stored
from packhorse.store.database import Database
from packhorse.store.runs import NewRun, NewStep, counts_of, insert_run
from packhorse.store.steps import keep_app
from packhorse.store.tasks import get_task
from tests.fixtures.engines import new_collector
from tests.fixtures.far import FarTransport, far_site
from tests.fixtures.stores import counted_statements, new_task, place_some, run_values

MANIFEST = {"packhorse": 1, "name": "t", "version": "1", "command": ["true"], "parameters": {}}


@dataclass
class Clock:
    """Stands still until it is moved."""

    time: float = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Ended(LocalScheduler):
    """All of its jobs have ended."""

    def __init__(self) -> None:
        pass

    def poll(self, _: Any, job_ids: Collection[str]) -> dict[str, JobStatus]:
        return dict.fromkeys(job_ids, JobStatus(JobState.ENDED, "COMPLETED"))


class Room:
    """The part of an engine that reads one site's journals."""

    def __init__(self, database: Database, site: Site) -> None:
        self.database = database
        self.site = site
        self.clock = Clock()
        self.lease = Lease(database)
        assert self.lease.try_take()
        collector = new_collector(site)
        self.reader = JournalReader(site, database, self.lease, collector, self.clock)
        self.watcher = Watcher(site, database, self.lease, collector, self.reader, self.clock)
        self.heartbeats = Heartbeats(self.clock)
        self.run = 0

    def open(self, agents: int, tasks: int = 1) -> list[list[int]]:
        """An allocation that runs for each of ``agents``, with so many tasks; their ids."""
        with self.database.write() as connection:
            keep_app(connection, "digest", "t", json.dumps(MANIFEST), b"", 1.0)
            step = NewStep("t", "local", StepSpec("app", "digest").to_json(), agents * tasks)
            new = NewRun(run_values(), [step])
            self.run = insert_run(connection, new, [[new_task()] * (agents * tasks)])
            placed = []
            for index in range(agents):
                shape = json.dumps(asdict(Shape(2, 1000, None)))
                seq = stored.insert_allocation(connection, f"a-{index}", "local", shape, 1.0)
                stored.insert_blocks(connection, [stored.NewBlock(seq, 1, tasks, 1.0)])
                stored.update_allocation(connection, seq, state=AllocationState.RUNNING, job_id=f"{index}")
                placed.append(place_some(connection, tasks, "local", seq))
        return placed

    def journal(self, index: int) -> Path:
        path = Path(self.site.root) / "spool" / f"a-{index}" / "journal" / f"n{index}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def say(self, index: int, *tasks: int) -> None:
        """The agent of an allocation says that these have ended."""
        usage = {"t0": 2.0, "t1": 3.0, "wall": 1.0, "cpu": 0.5, "exit": 0}
        with self.journal(index).open("a") as file:
            for task in tasks:
                file.write(json.dumps({"k": "end", "id": task, "n": 1, **usage}) + "\n")

    def look(self) -> bool:
        return self.reader.look(self.live(), self.heartbeats)

    def live(self) -> Sequence[Any]:
        with self.database.read() as connection:
            return stored.live_allocations(connection, "local")

    def counts(self) -> dict[str, int]:
        with self.database.read() as connection:
            found = counts_of(connection, [self.run])[self.run]
        return {state: number for state, number in found.items() if number}

    def offsets(self) -> dict[int, dict[str, int]]:
        with self.database.read() as connection:
            return stored.journal_offsets(connection, [row.seq for row in self.live()])


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """One kind of database is enough: the statements are tested with the store."""
    return f"sqlite:///{tmp_path}/packhorse.db"


@pytest.fixture
def room(database: Database, tmp_path: Path) -> Iterator[Room]:
    site = local_site(str(tmp_path))
    site.scheduler = Ended()
    yield Room(database, site)


@pytest.fixture
def far(database: Database, tmp_path: Path) -> tuple[Room, FarTransport]:
    site, transport = far_site(str(tmp_path))
    return Room(database, site), transport


@pytest.mark.parametrize("number", [2, 40])
def test_a_look_at_a_site_is_one_command_and_one_transaction_however_many_agents_it_has(
    far: tuple[Room, FarTransport], number: int
) -> None:
    room, transport = far
    placed = room.open(number)
    for index, tasks in enumerate(placed):
        room.journal(index).with_suffix(".beat").write_bytes(b"1")
        room.say(index, *tasks)
    live = room.live()
    with counted_statements(room.database) as sent:
        assert room.reader.look(live, room.heartbeats)
    assert (transport.commands, transport.others) == (1, 0)
    assert sum("FROM journals" in one and "IN (" in one for one in sent) == 1
    assert sum("leases" in one for one in sent) == 1
    assert room.counts() == {TaskState.COMPLETE: number}
    room.clock.time += 10
    with counted_statements(room.database) as sent:
        assert not room.reader.look(live, room.heartbeats), "nothing new"
    assert (transport.commands, transport.others, sent) == (2, 0, [])


def test_looks_at_a_site_that_is_not_ours_leave_its_login_node_a_rest(far: tuple[Room, FarTransport]) -> None:
    room, transport = far
    ((task,),) = room.open(1)
    run = transport.run

    def slowly(argv: list[str], **how: Any) -> Any:
        room.clock.time += 0.125
        return run(argv, **how)

    transport.run = slowly  # type: ignore[method-assign]
    assert not room.look()
    room.say(0, task)
    room.clock.time += 0.4375
    assert not room.look() and transport.commands == 1
    room.clock.time += 0.0625
    assert room.look() and transport.commands == 2


def test_an_answer_that_was_cut_changes_nothing_and_the_next_counts_once(far: tuple[Room, FarTransport]) -> None:
    room, transport = far
    placed = room.open(3, tasks=2)
    for index, (first, _) in enumerate(placed):
        room.say(index, first)
    assert room.look() and room.counts() == {TaskState.COMPLETE: 3, TaskState.INITIALIZING: 3}
    before = room.offsets()
    for index, (_, second) in enumerate(placed):
        room.say(index, second)
    room.clock.time += 10
    for cut in (-1, -100, 200, 0):
        transport.spoil = lambda text, cut=cut: text[:cut]  # type: ignore[misc]
        with pytest.raises(OSError, match=r"cannot be read: their answer ends in the middle"):
            room.look()
    assert room.offsets() == before
    transport.spoil = str
    assert room.look()
    assert room.counts() == {TaskState.COMPLETE: 6}
    sizes = [room.journal(index).stat().st_size for index in range(3)]
    assert [list(each.values()) for each in room.offsets().values()] == [[size] for size in sizes]


def test_what_could_not_be_applied_is_read_again_from_where_the_store_is(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = room.open(3)
    for index, tasks in enumerate(placed):
        room.say(index, *tasks)
    apply = Collector.apply

    def fails(self: Collector, connection: Any, allocation: Any, *rest: Any) -> int:
        if allocation.id == "a-1":
            raise OSError("the database is away")
        return apply(self, connection, allocation, *rest)

    monkeypatch.setattr(Collector, "apply", fails)
    with pytest.raises(OSError, match="away"):
        room.look()
    assert room.counts() == {TaskState.INITIALIZING: 3}, "they are of one transaction"
    monkeypatch.setattr(Collector, "apply", apply)
    assert room.look() and room.counts() == {TaskState.COMPLETE: 3}


def test_another_engine_may_have_led_meanwhile(room: Room) -> None:
    ((one, two),) = room.open(1, tasks=2)
    room.say(0, one)
    assert room.look()
    room.lease.release()
    other = Room(room.database, room.site)
    room.say(0, two)
    assert other.look()
    other.lease.release()
    assert room.lease.try_take()
    room.reader.forget()
    assert not room.look(), "nothing is new for the store"


def test_a_journal_that_cannot_be_read_keeps_its_allocation_open_and_no_other(room: Room) -> None:
    (first, second) = room.open(2)
    for index, tasks in enumerate((first, second)):
        room.say(index, *tasks)
    journal = room.journal(0)
    kept = journal.rename(journal.with_name("kept"))
    journal.symlink_to(journal)
    with capture_logs() as told:
        room.look()
        room.look()
    (event,) = told
    assert (event["event"], event["path"]) == ("journal_unreadable", str(journal))
    assert event["reason"] == "Too many levels of symbolic links"
    assert room.watcher.poll(room.live())
    (left,) = room.live()
    assert left.reason == f"It has ended, but {journal} cannot be read: Too many levels of symbolic links"
    assert room.counts() == {TaskState.COMPLETE: 1, TaskState.INITIALIZING: 1}
    assert not room.watcher.poll(room.live()), "nothing new"
    kept.replace(journal)
    assert room.watcher.poll(room.live())
    assert (room.counts(), room.live()) == ({TaskState.COMPLETE: 2}, [])


def test_a_journal_that_was_cut_is_told_and_does_not_hold_its_allocation(room: Room) -> None:
    ((one, two),) = room.open(1, tasks=2)
    room.say(0, one)
    assert room.look()
    room.journal(0).write_bytes(b"")
    with capture_logs() as told:
        assert not room.look()
    assert [event["event"] for event in told] == ["journal_unreadable"]
    assert "it is shorter (0 bytes) than what was read of it" in told[0]["reason"]
    assert room.watcher.poll(room.live()) and room.live() == []
    assert room.counts() == {TaskState.COMPLETE: 1, TaskState.QUEUED: 1}, f"{two} died with its agent"


def test_all_that_is_left_is_read_before_an_allocation_is_over(room: Room) -> None:
    """More than one look has room for."""
    placed = room.open(3)
    for index, tasks in enumerate(placed):
        with room.journal(index).open("a") as file:
            file.write(("x" * (ANSWER_BYTES // 8) + "\n") * 4)
        room.say(index, *tasks)
    assert room.watcher.poll(room.live())
    assert (room.counts(), room.live()) == ({TaskState.COMPLETE: 3}, [])


def test_what_a_look_has_no_room_for_comes_first_in_the_next(room: Room) -> None:
    """Two of three journals fill a look, again and again."""
    placed = room.open(3, tasks=2)
    noise = ("x" * (READ_BYTES // 2 - 500) + "\n") * 2
    assert ANSWER_BYTES == 2 * READ_BYTES
    for index, (first, _) in enumerate(placed):
        with room.journal(index).open("a") as file:
            file.write(noise)
        room.say(index, first)
    assert room.look() and room.counts() == {TaskState.COMPLETE: 2, TaskState.INITIALIZING: 4}
    for index, (_, second) in enumerate(placed[:2]):
        with room.journal(index).open("a") as file:
            file.write(noise)
        room.say(index, second)
    assert room.look() and room.counts() == {TaskState.COMPLETE: 4, TaskState.INITIALIZING: 2}
    with room.database.read() as connection:
        served = get_task(connection, placed[2][0])
    assert served is not None and served.state == TaskState.COMPLETE


def test_a_site_without_allocations_has_no_silent_agents(room: Room) -> None:
    room.open(1)
    room.journal(0).with_suffix(".beat").write_bytes(b"1")
    room.look()
    room.clock.time += 5
    room.look()
    assert room.heartbeats.any_silent()
    assert not room.reader.look([], room.heartbeats)
    assert not room.heartbeats.any_silent()


def test_agents_of_allocations_that_do_not_run_are_not_silent(room: Room) -> None:
    room.open(1)
    room.journal(0).with_suffix(".beat").write_bytes(b"1")
    with room.database.write() as connection:
        stored.update_allocation(connection, room.live()[0].seq, state=AllocationState.CLOSING)
    for _ in range(2):
        room.look()
        room.clock.time += 5
    assert not room.heartbeats.any_silent()


@pytest.mark.parametrize(("took_s", "rest_s"), [(0.0, 0.02), (0.002, 0.2), (1.0, 0.5)])
def test_files_of_ours_are_looked_at_as_often_as_that_is_cheap(room: Room, took_s: float, rest_s: float) -> None:
    room.open(1)
    assert room.reader.rest_s == 0.5, "before the first look nobody knows"
    names = room.site.transport.names

    def slow(path: str) -> list[str]:
        room.clock.time += took_s
        return list(names(path))

    room.site.transport.names = slow  # type: ignore[method-assign]
    room.look()
    assert room.reader.rest_s == pytest.approx(rest_s)
