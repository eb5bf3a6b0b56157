"""Whatever a journal says, it is applied or skipped: one that stops the engine's step stops a whole site, again and
again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packhorse.domain.states import TaskState
from packhorse.engine.collecting.collect import Collector
from packhorse.engine.steps.base import StepSpec
from packhorse.sites.base import Shape
from packhorse.sites.site import local_site
from packhorse.store import allocations as stored
from packhorse.store.database import Database
from packhorse.store.demands import add_ready_to_demands, take_ready, waiting_demands
from packhorse.store.moves import PlacedBlock, place_tasks
from packhorse.store.runs import NewRun, NewStep, counts_of, insert_run
from packhorse.store.schema import TASKS_PER_RUN, allocations, attempts, journals, shares
from packhorse.store.steps import keep_app
from tests.fixtures.engines import new_collector
from tests.fixtures.stores import new_task, run_values

MANIFEST = {"packhorse": 1, "name": "t", "version": "1", "command": ["true"], "parameters": {"i": {"type": "integer"}}}
TASKS = 3

odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(1 << 80), st.floats(), st.text(max_size=5), st.just("\ud800\0"),
    st.lists(st.integers(-1, 3), max_size=3), st.just({"a": [1]}), st.just([["out", 0, 5], ["err", 1 << 70, 2]]),
)  # fmt: skip
NUMBERS = (
    "t",
    "t0",
    "t1",
    "wall",
    "cpu",
    "peak",
    "rd",
    "wr",
    "exit",
    "sig",
    "busy_core_s",
    "o",
    "l",
    "progress",
    "cores",
    "pid",
    "wall",
)
WORDS = ("why", "msg", "tail", "host", "agent", "s", "log", "files", "result", "tasks", "block")
fields = dict.fromkeys((*NUMBERS, *WORDS), odd)
fields |= {
    "id": st.one_of(st.integers(0, TASKS), odd),
    "n": st.one_of(st.just(1), odd),
    "why": st.one_of(st.just("memory"), odd),
}
kinds = st.sampled_from(["agent", "claim", "start", "log", "end", "back", "bad", "stop", "what"])
record = st.fixed_dictionaries({"k": kinds}, optional=fields)


@pytest.fixture
def placed(database: Database) -> Iterator[tuple[Database, Collector]]:
    yield database, new_collector(local_site("/nowhere"))


def new_allocation(connection: sa.Connection) -> tuple[Any, int]:
    """An allocation that has all tasks of a new run: its row, and the id of the first task."""
    keep_app(connection, "digest", "t", json.dumps(MANIFEST), b"", 1.0)
    step = NewStep("t", "local", StepSpec("app", "digest").to_json(), TASKS)
    run = insert_run(connection, NewRun(run_values(), [step]), [[new_task(params='{"i":1}')] * TASKS])
    seq = stored.insert_allocation(connection, f"a-{run}", "local", json.dumps(asdict(Shape(2, 1000, None))), 1.0)
    stored.insert_blocks(connection, [stored.NewBlock(seq, 0, TASKS, 1.0)])
    rows = [row for demand in waiting_demands(connection, "local") for row in take_ready(connection, demand.seq, 100)]
    add_ready_to_demands(connection, place_tasks(connection, [PlacedBlock(seq, 0, rows, "because")], 1.0))
    return stored.get_allocation(connection, seq), run * TASKS_PER_RUN


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(records=st.lists(record, max_size=6))
def test_any_record_is_applied_or_skipped(placed: tuple[Database, Collector], records: list[dict[str, Any]]) -> None:
    database, collector = placed
    with database.write() as connection:
        allocation, first = new_allocation(connection)
        for one in records:
            if isinstance(one.get("id"), int) and 0 <= one["id"] <= TASKS:
                one["id"] += first
        usage = {"t0": 2.0, "t1": 3.0, "wall": 1.0, "cpu": 0.5, "peak": 5, "rd": 1, "wr": 1}
        good = {"k": "end", "id": first, "n": 1, **usage, "exit": 0, "sig": None, "why": None, "msg": None}
        data = b"".join(json.dumps(line).encode() + b"\n" for line in [*records, good])
        assert collector.apply(connection, allocation, "node-1", data, 4.0) == len(data)
        counts = counts_of(connection, [first // TASKS_PER_RUN])[first // TASKS_PER_RUN]
        assert sum(counts.values()) == TASKS
        touched = any(one.get("id") == first or one["k"] == "back" for one in records)
        assert touched or counts[TaskState.COMPLETE] >= 1, "what is right is applied, whatever stands beside it"
        for table, columns in (
            (shares, ("core_s", "cpu_s")),
            (allocations, ("busy_core_s", "started_at", "ended_at")),
            (attempts, ("wall_s",)),
        ):
            for row in connection.execute(sa.select(*(table.c[name] for name in columns))):
                assert all(value is None or abs(value) < 1e12 for value in row), "a sum with one of these is lost"
        assert connection.execute(sa.select(sa.func.max(journals.c.offset))).scalar_one() >= len(data)
