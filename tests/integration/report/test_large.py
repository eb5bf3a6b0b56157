"""The report of 100,000 tasks is there in seconds, and small."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packhorse.domain.run import StepRun
from packhorse.domain.states import TaskState
from packhorse.engine.embedded import Embedded
from packhorse.store import schema
from packhorse.store.runs import get_run
from packhorse.store.tasks import add_attempts
from tests.fixtures.apps import Apps
from tests.fixtures.reports import START, parsed

STEPS, TASKS, NODES = 5, 20_000, 50


@pytest.mark.slow
def test_a_report_of_100_000_tasks_takes_seconds_and_less_than_five_megabytes(tmp_path: Path) -> None:
    (tmp_path / "apps").mkdir()
    number = Apps(tmp_path / "apps").number()
    room = Embedded(tmp_path / "home")
    rows = [{"i": index} for index in range(TASKS)]
    names = ["index", "align", "sort", "count", "quantify"]
    steps = [
        {"name": name, "app": number, "over": rows, "gather": names[place - 1 : place]}
        for place, name in enumerate(names)
    ]
    run = room.mine.submit(StepRun.model_validate({"steps": steps}))
    with room.database.write() as connection:
        seq = get_run(connection, run.id).seq  # type: ignore[union-attr]
        add_attempts(connection, list(attempts(seq, [node(connection, place) for place in range(NODES)])))
        mine = schema.in_run(seq)
        connection.execute(sa.update(schema.tasks).where(mine).values(state=TaskState.COMPLETE, attempt=1))
    before = time.process_time()
    page = room.mine.report(run.id).decode()
    assert time.process_time() - before < 10
    assert len(page.encode()) < 5_000_000
    told = "".join(parsed(page).itertext())
    assert "100,000attempts" in told and "10 more nodes share one lane." in told
    room.close()


def node(connection: sa.Connection, place: int) -> tuple[int, int]:
    """A node of an allocation of its own, as (allocation_seq, journal_id)."""
    about = {"id": f"a-{place}", "site": "local", "state": "ENDED", "created_at": START, "started_at": START + place}
    shape = json.dumps({"cores": 32, "memory_mb": 64_000, "nodes": 1})
    seq = sa.insert(schema.allocations).values(**about, ended_at=START + 9000, shape=shape)
    allocation = connection.execute(seq.returning(schema.allocations.c.seq)).scalar_one()
    journal = {"allocation_seq": allocation, "agent": "1", "node": f"n{place}", "offset": 0, "bad_lines": 0}
    of = sa.insert(schema.journals).values(journal).returning(schema.journals.c.id)
    return allocation, connection.execute(of).scalar_one()


def attempts(seq: int, nodes: list[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    rng = random.Random(1)
    nothing = dict.fromkeys(column.name for column in schema.attempts.c)
    for index in range(STEPS * TASKS):
        start, wall_s = START + rng.uniform(0, 8000), rng.lognormvariate(3, 0.6)
        allocation, journal = rng.choice(nodes)
        failed = rng.random() < 0.01
        yield {
            **nothing,
            "task_id": seq * schema.TASKS_PER_RUN + index,
            "attempt": 1,
            "allocation_seq": allocation,
            "journal_id": journal,
            "failure": "app" if failed else None,
            "exit_code": rng.randrange(1, 256) if failed else 0,
            "started_at": start,
            "ended_at": start + wall_s,
            "wall_s": wall_s,
            "cpu_s": wall_s * rng.random(),
            "peak_memory": int(rng.lognormvariate(20, 0.4)),
            "cores": 1.0,
            "memory_mb": 2000,
            "walltime_s": 600.0,
            "evidence": json.dumps({"message": "exit code", "stderr_tail": "x" * 8000}) if failed else None,
            "files": json.dumps([{"path": "out", "size": 12}]),
        }
