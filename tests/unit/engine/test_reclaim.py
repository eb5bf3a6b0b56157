"""Blocks of an allocation that waits go to one that runs and is idle, if it could do them: else they stay."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from packhorse.domain.resources import Resources
from packhorse.domain.states import AllocationState, TaskState
from packhorse.engine.clock import SystemClock
from packhorse.engine.collecting.reading import JournalReader
from packhorse.engine.lease import Lease
from packhorse.engine.watch import Watcher
from packhorse.sites.base import Shape
from packhorse.sites.site import BLOCK, local_site
from packhorse.store import allocations as stored
from packhorse.store.database import Database
from packhorse.store.demands import DemandKey
from tests.fixtures.engines import new_collector
from tests.fixtures.stores import insert_tasks_run, new_task, place_some, states_of

RUNS, WAITS = Shape(1, 1000, 3600.0), Shape(4, 8000, 3600.0)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """One kind of database is enough: the statements are tested with the store."""
    return f"sqlite:///{tmp_path}/packhorse.db"


@pytest.mark.parametrize(
    ("asked", "running_for_s", "goes_back"),
    [
        ({}, 0.0, True),
        ({"ram_gb": 1}, 0.0, True),
        ({"cpu_cores": 2}, 0.0, False),
        ({"ram_gb": 2}, 0.0, False),
        ({"gpus": 1}, 0.0, False),
        ({"walltime_s": 600}, 0.0, True),
        ({"walltime_s": 600}, 3200.0, False),
    ],
)
def test_only_what_an_idle_allocation_could_do_is_taken_back(
    database: Database, tmp_path: Path, asked: dict[str, float], running_for_s: float, goes_back: bool
) -> None:
    site, clock, lease = local_site(str(tmp_path)), SystemClock(), Lease(database)
    assert lease.try_take()
    collector = new_collector(site)
    watcher = Watcher(site, database, lease, collector, JournalReader(site, database, lease, collector, clock), clock)
    resources = json.dumps(Resources(**asked).model_dump(mode="json", exclude_defaults=True))
    with database.write() as connection:
        stored.insert_allocation(connection, "a-0", site.name, json.dumps(asdict(RUNS)), 1.0)
        waits = stored.insert_allocation(connection, "a-1", site.name, json.dumps(asdict(WAITS)), 1.0)
        started = {"state": AllocationState.RUNNING, "job_id": "1", "started_at": clock.now() - running_for_s}
        stored.update_allocation(connection, waits - 1, **started)
        stored.update_allocation(connection, waits, state=AllocationState.PENDING, job_id="2")
        run = insert_tasks_run(connection, [new_task(demand=DemandKey("t@1", resources))], site=site.name)
        stored.insert_blocks(connection, [stored.NewBlock(waits, 1, 1, 1.0)])
        stored.set_block_states(connection, waits, [1], "written")
        place_some(connection, 1, site.name, waits)
    for name in ("bundle", "revoked"):
        (Path(site.spool("a-1")) / name).mkdir(parents=True)
    (Path(site.spool("a-1")) / "bundle" / BLOCK.format(1)).write_text("{}\n")
    assert watcher.reclaim() == goes_back
    with database.read() as connection:
        assert states_of(connection, run) == [TaskState.QUEUED if goes_back else TaskState.INITIALIZING]
