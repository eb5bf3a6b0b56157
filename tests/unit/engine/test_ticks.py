"""What a tick of a site costs: as much with forty allocations, their agents and what waits, as with two."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.config import EstimatesConfig
from packhorse.domain.states import AllocationState
from packhorse.engine.appfolders import AppFolders
from packhorse.engine.clock import SystemClock
from packhorse.engine.lease import Lease
from packhorse.engine.loop import AtSite
from packhorse.engine.notifier import Notifier
from packhorse.engine.sealing import Seal
from packhorse.engine.siteloop import SiteLoop
from packhorse.engine.steps.base import StepSpec
from packhorse.sites.base import JobState, JobStatus, Shape
from packhorse.sites.schedulers.local import LocalScheduler
from packhorse.store import allocations as stored
from packhorse.store.database import Database
from packhorse.store.migrate import ensure_schema
from packhorse.store.runs import NewRun, NewStep, insert_run
from packhorse.store.steps import keep_app
from packhorse.store.tasks import tasks_at_site, without_tasks
from tests.fixtures.far import far_site
from tests.fixtures.stores import counted_statements, new_task, place_some, run_values

MANIFEST = {"packhorse": 1, "name": "t", "version": "1", "command": ["true"], "parameters": {}}


class Leaping(SystemClock):
    """Nothing comes too soon."""

    time = 0.0

    def monotonic(self) -> float:
        self.time += 10
        return self.time


class Waits(LocalScheduler):
    """All of its jobs wait, and it counts how often it is asked."""

    asked = 0

    def poll(self, _: Any, job_ids: Collection[str]) -> dict[str, JobStatus]:
        self.asked += 1
        return dict.fromkeys(job_ids, JobStatus(JobState.PENDING, "PENDING"))


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/packhorse.db"


def open_allocations(database: Database, number: int, *, waiting: int) -> list[int]:
    """Allocations that run, but for the first, with a block each that is claimed and one that is not; and tasks that
    wait beside them. Returns the allocations' ``seq``.
    """
    seqs = []
    with database.write() as connection:
        keep_app(connection, "digest", "t", json.dumps(MANIFEST), b"", 1.0)
        step = NewStep("t", "local", StepSpec("app", "digest").to_json(), number + waiting)
        insert_run(connection, NewRun(run_values(), [step]), [[new_task()] * (number + waiting)])
        for index in range(number):
            shape = json.dumps(asdict(Shape(2, 1000, None)))
            seq = stored.insert_allocation(connection, f"a-{index}", "local", shape, 1.0)
            for block in (0, 1):
                stored.insert_blocks(connection, [stored.NewBlock(seq, block, 1, 1e6)])
            stored.set_block_states(connection, seq, [0], "claimed")
            stored.set_block_states(connection, seq, [1], "written")
            state = AllocationState.RUNNING if index else AllocationState.PENDING
            stored.update_allocation(connection, seq, state=state, job_id=f"{index}", reason="")
            if index:
                stored.update_allocation(connection, seq, started_at=1.0)
            place_some(connection, 1, "local", seq)
            seqs.append(seq)
    return seqs


@pytest.mark.parametrize("waiting", [0, 100])
def test_it_does_not_grow_with_allocations_and_agents(tmp_path: Path, waiting: int) -> None:
    costs = []
    for number in (2, 40):
        own = Database(f"sqlite:///{tmp_path}/{number}.db")
        costs.append(cost_of_tick(own, tmp_path / str(number), number, waiting))
        own.close()
    assert costs[0] == costs[1]
    commands, others, asked, _ = costs[0]
    assert (commands, others, asked) == (1, 0, 1)


def cost_of_tick(database: Database, root: Path, number: int, waiting: int) -> tuple[int, int, int, int]:
    """Commands, questions for files, questions to the scheduler, and statements."""
    ensure_schema(database)
    open_allocations(database, number, waiting=waiting)
    site, transport = far_site(str(root))
    site.scheduler = scheduler = Waits()
    site.max_allocations = number
    for index in range(number):
        folder = root / "spool" / f"a-{index}" / "journal"
        folder.mkdir(parents=True)
        for agent in range(3):
            (folder / f"n{agent}.beat").write_bytes(b"1")
            (folder / f"n{agent}.jsonl").touch()
    lease = Lease(database)
    assert lease.try_take()
    loop = SiteLoop(
        AtSite(site, database, lease, Leaping(), Notifier(), threading.Event()),
        {},
        AppFolders(),
        Seal(root / "seal.key"),
        EstimatesConfig(),
    )
    loop.recover()
    loop.tick(0.0)
    transport.commands = transport.others = scheduler.asked = 0
    with counted_statements(database) as sent:
        loop.tick(1e6)
    return transport.commands, transport.others, scheduler.asked, len(sent)


def test_allocations_without_tasks(database: Database) -> None:
    seqs = open_allocations(database, 3, waiting=0)
    with database.write() as connection:
        idle = stored.insert_allocation(connection, "a-idle", "local", "{}", 1.0)
        assert without_tasks(connection, [*seqs, idle]) == {idle}
        assert [len(tasks_at_site(connection, seq)) for seq in [*seqs, idle]] == [1, 1, 1, 0]
        assert stored.unclaimed_core_s(connection, [*seqs, idle]) == dict.fromkeys(seqs, 1e6)
        assert stored.written_blocks(connection, [*seqs, idle]) == {seq: [1] for seq in seqs}


@pytest.mark.parametrize("state", [AllocationState.CLOSING, AllocationState.RUNNING])
def test_what_an_allocation_on_its_way_out_still_says_is_read_after_tasks_are_placed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: AllocationState
) -> None:
    with database.write() as connection:
        shape = json.dumps(asdict(Shape(2, 1000, None)))
        seq = stored.insert_allocation(connection, "a-0", "local", shape, 1.0)
        stored.update_allocation(connection, seq, state=state, job_id="1:gone:/nowhere", started_at=1.0)
    site, _ = far_site(str(tmp_path))
    lease = Lease(database)
    assert lease.try_take()
    at = AtSite(site, database, lease, Leaping(), Notifier(), threading.Event())
    loop = SiteLoop(at, {}, AppFolders(), Seal(tmp_path / "key"), EstimatesConfig())
    order: list[str] = []
    plan, look = loop._dispatcher.plan, loop._reader.look
    monkeypatch.setattr(loop._dispatcher, "plan", lambda: (order.append("place"), plan())[1])
    monkeypatch.setattr(loop._reader, "look", lambda *of: (order.append("read"), look(*of))[1])
    loop.tick(0.0)
    assert order == (["place", "read"] if state is AllocationState.CLOSING else ["read", "place"])
