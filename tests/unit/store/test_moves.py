"""The one function that moves states, driven by chance: what it must keep whatever anybody asks of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from packhorse.domain.states import ACTIVE, TERMINAL, TaskState, may_move
from packhorse.store.database import Database
from packhorse.store.runs import counts_of
from packhorse.store.schema import TASKS_PER_RUN, events, metadata, runs, tasks
from tests.fixtures.stores import has_ended, insert_tasks_run, move_tasks, place_some, states_of

S = TaskState


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db")
    with database.write() as connection:
        metadata.create_all(connection)
    yield database
    database.close()


def move(connection: sa.Connection, *wanted: tuple[int, TaskState]) -> int:
    return move_tasks(connection, wanted)


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(list(S))), max_size=12), max_size=6))
def test_whatever_is_asked_the_state_machine_holds(
    database: Database, batches: list[list[tuple[int, TaskState]]]
) -> None:
    with database.write() as connection:
        seq = insert_tasks_run(connection, 5)
        first = seq * TASKS_PER_RUN
        expected = [S.QUEUED] * 5
        transitions = 0
        for batch in batches:
            legal = 0
            for index, target in batch:
                if may_move(expected[index], target):
                    expected[index] = target
                    legal += 1
            assert move(connection, *((first + index, target) for index, target in batch)) == legal
            transitions += legal
            assert states_of(connection, seq) == expected
            assert counts_of(connection, [seq])[seq] == Counter(expected)
            assert has_ended(connection, seq) == all(state in TERMINAL for state in expected)
        recorded = connection.execute(
            sa.select(events).where(events.c.task_id.between(first, first + 4)).order_by(events.c.id)
        ).all()
        assert len(recorded) == 5 + transitions
        last = {row.task_id - first: row.to_state for row in recorded}
        assert last == dict(enumerate(expected))


def test_one_batch_may_move_a_task_several_steps(database: Database) -> None:
    with database.write() as connection:
        task = insert_tasks_run(connection, 1) * TASKS_PER_RUN
        assert (
            move(connection, (task, S.INITIALIZING), (task, S.RUNNING), (task, S.COMPLETE), (task, S.EXECUTOR_ERROR))
            == 3
        )
        assert states_of(connection, task // TASKS_PER_RUN) == [S.COMPLETE]


def test_placing_a_block_moves_all_of_it(database: Database) -> None:
    with database.write() as connection:
        seq = insert_tasks_run(connection, 2500, site="placing")
        ids = [seq * TASKS_PER_RUN + index for index in range(2500)]
        assert place_some(connection, 2500, "placing") == ids
        assert counts_of(connection, [seq])[seq] == {S.INITIALIZING: 2500}
        row = connection.execute(sa.select(tasks).where(tasks.c.id == ids[-1])).one()
        assert (row.attempt, row.allocation_seq, row.block) == (1, 7, 1)


def test_a_task_is_freed_when_all_that_it_needs_is_complete(database: Database) -> None:
    with database.write() as connection:
        seq = insert_tasks_run(connection, 3, [(0, 2, False), (1, 2, False)])
        first = seq * TASKS_PER_RUN
        for task, waiting in ((first, 1), (first + 1, 0)):
            move(connection, (task, S.INITIALIZING), (task, S.RUNNING), (task, S.COMPLETE))
            assert connection.execute(sa.select(tasks.c.waiting_on).where(tasks.c.id == first + 2)).scalar() == waiting


def test_a_failure_ends_the_whole_chain_behind_it_by_name(database: Database) -> None:
    with database.write() as connection:
        seq = insert_tasks_run(connection, 4, [(0, 1, False), (1, 2, False), (2, 3, False)])
        first = seq * TASKS_PER_RUN
        move(connection, (first, S.INITIALIZING), (first, S.RUNNING), (first, S.EXECUTOR_ERROR))
        assert states_of(connection, seq) == [S.EXECUTOR_ERROR, S.SYSTEM_ERROR, S.SYSTEM_ERROR, S.SYSTEM_ERROR]
        run_id = connection.execute(sa.select(runs.c.id).where(runs.c.seq == seq)).scalar_one()
        reasons = connection.execute(
            sa.select(tasks.c.reason).where(tasks.c.id > first, tasks.c.id < first + 4).order_by(tasks.c.id)
        ).scalars()
        assert [f"task {run_id}.{index}" in reason for index, reason in enumerate(reasons)] == [True, True, True]
        assert has_ended(connection, seq)


def test_a_failure_ends_a_chain_of_thousands(database: Database) -> None:
    length = 1500
    with database.write() as connection:
        seq = insert_tasks_run(connection, length, [(index, index + 1, False) for index in range(length - 1)])
        first = seq * TASKS_PER_RUN
        move(connection, (first, S.INITIALIZING), (first, S.RUNNING), (first, S.EXECUTOR_ERROR))
        assert counts_of(connection, [seq])[seq] == {S.EXECUTOR_ERROR: 1, S.SYSTEM_ERROR: length - 1}
        assert has_ended(connection, seq)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_the_graph_every_task_ends_as_those_before_it_say(database: Database, data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 7))
    pairs = [(up, down) for down in range(size) for up in range(down)]
    chosen = data.draw(st.lists(st.sampled_from(pairs), unique=True))
    edges = [(up, down, data.draw(st.booleans(), label="accepts failure")) for up, down in chosen]
    own_end = [data.draw(st.sampled_from([S.COMPLETE, S.EXECUTOR_ERROR, S.CANCELED])) for _ in range(size)]
    with database.write() as connection:
        seq = insert_tasks_run(connection, size, edges)
        first = seq * TASKS_PER_RUN
        query = sa.select(tasks.c.id).where(
            tasks.c.id.between(first, first + size - 1), tasks.c.state == S.QUEUED, tasks.c.waiting_on == 0
        )
        while ready := sorted(connection.execute(query).scalars()):
            task = data.draw(st.sampled_from(ready))
            steps = [] if own_end[task - first] is S.CANCELED else [S.INITIALIZING, S.RUNNING]
            move(connection, *((task, state) for state in (*steps, own_end[task - first])))
        found = states_of(connection, seq)
        assert has_ended(connection, seq)
    for task, state in enumerate(found):
        needed = {found[up] for up, down, accepts in edges if down == task and not accepts} - {S.COMPLETE}
        if needed:
            assert state in {S.CANCELED if up is S.CANCELED else S.SYSTEM_ERROR for up in needed}
        else:
            assert state is own_end[task]


def test_a_cancel_goes_down_the_chain_as_a_cancel(database: Database) -> None:
    with database.write() as connection:
        seq = insert_tasks_run(connection, 2, [(0, 1, False)])
        move(connection, (seq * TASKS_PER_RUN, S.CANCELED))
        assert states_of(connection, seq) == [S.CANCELED, S.CANCELED]


def test_a_gathering_task_that_accepts_failures_starts_all_the_same(database: Database) -> None:
    with database.write() as connection:
        seq = insert_tasks_run(connection, 3, [(0, 2, True), (1, 2, True)])
        first = seq * TASKS_PER_RUN
        for index, end in ((0, S.EXECUTOR_ERROR), (1, S.COMPLETE)):
            move(connection, (first + index, S.INITIALIZING), (first + index, S.RUNNING), (first + index, end))
        assert states_of(connection, seq)[2] is S.QUEUED
        assert connection.execute(sa.select(tasks.c.waiting_on).where(tasks.c.id == first + 2)).scalar() == 0


def test_every_active_state_can_end() -> None:
    reachable = {state: {state} for state in S}
    for _ in S:
        for state in S:
            reachable[state] |= {further for target in S if may_move(state, target) for further in reachable[target]}
    assert all(reachable[state] & TERMINAL for state in ACTIVE)
