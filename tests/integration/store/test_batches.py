"""Runs that are written in batches, on both databases: nobody sees one before it is whole, and nothing is left of one
that never is.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from packhorse.domain.errors import Unavailable
from packhorse.domain.states import TaskState
from packhorse.store import data as stored
from packhorse.store.data import DataKey
from packhorse.store.database import Database
from packhorse.store.demands import recount, waiting_demands
from packhorse.store.holds import settle_holds
from packhorse.store.images import want_images
from packhorse.store.moves import Move, apply_moves, lock_tasks
from packhorse.store.newtasks import NewTask
from packhorse.store.runs import (
    Begun,
    NewRun,
    add_tasks,
    begin_run,
    counts_of,
    find_by_client_keys,
    get_run,
    insert_run,
    insert_runs,
    list_runs,
    open_runs_by_site,
    publish_run,
    remove_run,
    unfinished_runs,
)
from packhorse.store.schema import data, demands, metadata, runs
from packhorse.store.steps import StepEdge, steps_of_run
from tests.fixtures.stores import (
    LARGER,
    SITE,
    all_open_data,
    counted_statements,
    has_ended,
    ids_of,
    new_step,
    new_task,
    ready_ids,
    run_values,
)

A = DataKey("https://h/a")
RUN = [new_task(), new_task(demand=LARGER), new_task(data=(A,)), new_task(waiting_on=1)]
EDGES = ([StepEdge(0, 0, "tasks"), StepEdge(0, 1, "gather")], [(0, 3, False)])


def begin(database: Database, *, held: bool = False) -> Begun:
    """A run of two steps, of which nothing but the steps is written."""
    two = [new_step(4, "a", held=held), new_step(1, "b", held=held)]
    with database.write() as connection:
        return begin_run(connection, NewRun(run_values(client_key="k"), two, *EDGES))


def add(database: Database, begun: Begun, some: Sequence[NewTask] = RUN, done: int = 0) -> None:
    with database.write() as connection:
        add_tasks(connection, begun, 0, some, done)
    if done + len(some) == 4:
        with database.write() as connection:
            add_tasks(connection, begun, 1, [new_task(1)], 0)


def publish(database: Database, begun: Begun) -> None:
    with database.write() as connection:
        publish_run(connection, begun)


def rows(database: Database) -> dict[str, int]:
    """How many rows each table has."""
    with database.read() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }


def test_nobody_sees_a_run_before_it_is_published(database: Database) -> None:
    begun = begin(database)
    run_id = begun.run.values["id"]
    for done in range(4):
        add(database, begun, RUN[done : done + 1], done)
        with database.read() as connection:
            assert get_run(connection, run_id) is None and list_runs(connection, None, None, 10) == []
            assert waiting_demands(connection, SITE) == [] and open_runs_by_site(connection) == {}
    publish(database, begun)
    with database.write() as connection:
        run = get_run(connection, run_id)
        assert run is not None and run.created_at == 1000.0 and run.ended_at is None
        assert [row.seq for row in list_runs(connection, "alice", None, 10)] == [begun.seq]
        assert open_runs_by_site(connection) == {SITE: 1}
        assert [(row.ready, row.step_seq) for row in waiting_demands(connection, SITE)] == [(1, begun.steps[0])] * 2
        assert counts_of(connection, [begun.seq]) == {begun.seq: {TaskState.QUEUED: 5}}
        assert ready_ids(connection) == ids_of(begun.seq, [0, 1]) and recount(connection, SITE) == 0


def test_a_run_that_is_written_has_its_key_from_the_start(database: Database) -> None:
    begun = begin(database)
    with database.read() as connection:
        before = find_by_client_keys(connection, [("alice", "k"), ("bob", "k")]).get(("alice", "k"))
        assert before is not None and not before.visible
    with pytest.raises(sa.exc.IntegrityError):
        begin(database)
    publish(database, begun)


def test_tasks_wait_for_images_after_it_is_published(database: Database) -> None:
    begun = begin(database, held=True)
    add(database, begun)
    with database.write() as connection:
        settle_holds(connection, SITE)  # of others: it is not looked at
    with database.write() as connection:
        want_images(connection, begun.seq, {SITE: ["i"]})
        publish_run(connection, begun)
    with database.write() as connection:
        assert settle_holds(connection, SITE) == 0 and waiting_demands(connection, SITE) == []
        assert recount(connection, SITE) == 0


def test_nothing_is_left_of_a_run_that_is_removed(database: Database) -> None:
    with database.write() as connection:
        insert_run(connection, NewRun(run_values(), [new_step(4)]), [RUN])  # what demands and data are there before
    before = rows(database)
    begun = begin(database)
    add(database, begun)
    assert rows(database) != before
    with database.write() as connection:
        remove_run(connection, begun.seq)
    assert rows(database) == before
    with database.write() as connection:
        assert recount(connection, SITE) == 0
        remove_run(connection, begun.seq)  # twice is once


def test_a_long_run_is_removed_in_pieces_and_written_no_more(database: Database) -> None:
    with database.write() as connection:
        insert_run(connection, NewRun(run_values(), [new_step(4)]), [RUN])
    before = rows(database)
    begun = begin(database)
    add(database, begun)
    left = []
    for more in (True, True, False, False):
        with database.write() as connection:
            assert remove_run(connection, begun.seq, 2) is more
        left.append(rows(database)["tasks"] - before["tasks"])
        with pytest.raises(Unavailable, match="given up"):
            publish(database, begun)
    assert left == [3, 1, 0, 0] and rows(database) == before
    with database.write() as connection:
        assert recount(connection, SITE) == 0


def test_one_whose_removal_was_cut_off_is_unfinished(database: Database) -> None:
    begun = begin(database)
    add(database, begun)
    with database.write() as connection:
        remove_run(connection, begun.seq, 2)
    with database.read() as connection:
        assert unfinished_runs(connection, 1.0) == [begun.seq]


def test_the_first_of_its_kind_leaves_demands_and_data_that_nobody_waits_for(database: Database) -> None:
    before = rows(database)
    begun = begin(database)
    add(database, begun)
    with database.write() as connection:
        remove_run(connection, begun.seq)
    after = rows(database)
    assert {name for name, number in after.items() if number != before[name]} == {"demands", "data"}
    with database.read() as connection:
        assert set(connection.execute(sa.select(demands.c.ready)).scalars()) == {0}
        assert [row.is_wanted for row in all_open_data(connection)] == [False]


def test_a_run_that_is_visible_is_not_removed(database: Database) -> None:
    begun = begin(database)
    add(database, begun)
    publish(database, begun)
    before = rows(database)
    with database.write() as connection:
        remove_run(connection, begun.seq)
    assert rows(database) == before


def test_unfinished_is_what_nobody_has_written_for_a_while(database: Database) -> None:
    first, second, third = (begin_one(database) for _ in range(3))
    with database.write() as connection:
        publish_run(connection, third)
        add_tasks(connection, first, 0, [new_task()], 0)  # now
    with database.read() as connection:
        assert unfinished_runs(connection, 999.0) == []
        assert unfinished_runs(connection, 1001.0) == [second.seq]
        assert unfinished_runs(connection, 1e12) == [first.seq, second.seq]
        assert unfinished_runs(connection, 1e12, 1) == [first.seq]


def begin_one(database: Database) -> Begun:
    with database.write() as connection:
        return begin_run(connection, NewRun(run_values(), [new_step(2)]))


def test_who_writes_a_run_that_was_given_up_is_told(database: Database) -> None:
    begun = begin(database)
    add(database, begun, RUN[:2])
    with database.write() as connection:
        remove_run(connection, begun.seq)
    before = rows(database)
    with pytest.raises(Unavailable, match="given up") as refusal:
        add(database, begun, RUN[2:], 2)
    assert "submit it again" in refusal.value.hint
    with pytest.raises(Unavailable, match="given up"), database.write() as connection:
        want_images(connection, begun.seq, {SITE: ["i"]})
        publish_run(connection, begun)
    assert rows(database) == before


def test_a_run_of_which_everything_failed_while_it_was_written_is_over(database: Database) -> None:
    with database.write() as connection:
        begun = begin_run(connection, NewRun(run_values(), [new_step(2)]))
        add_tasks(connection, begun, 0, [new_task(data=(A,))], 0)
    with database.write() as connection:
        add_tasks(connection, begun, 0, [new_task(data=(A,))], 1)
        fail_all(connection, begun)
    publish(database, begun)
    with database.read() as connection:
        assert has_ended(connection, begun.seq)


def test_a_run_of_which_the_first_part_failed_while_it_was_written_goes_on(database: Database) -> None:
    with database.write() as connection:
        begun = begin_run(connection, NewRun(run_values(), [new_step(2)]))
        add_tasks(connection, begun, 0, [new_task(data=(A,))], 0)
        fail_all(connection, begun)
        assert connection.execute(sa.select(runs.c.ended_at)).scalar_one() is not None, "so far"
    with database.write() as connection:
        add_tasks(connection, begun, 0, [new_task()], 1)
    publish(database, begun)
    with database.write() as connection:
        assert not has_ended(connection, begun.seq) and recount(connection, SITE) == 0
        assert ready_ids(connection) == ids_of(begun.seq, [1])


def fail_all(connection: sa.Connection, begun: Begun) -> None:
    """The data that the tasks so far wait for will not come."""
    [row] = connection.execute(sa.select(data)).all()
    current = lock_tasks(connection, stored.waiting_tasks(connection, row.id))
    apply_moves(connection, [Move(task, TaskState.SYSTEM_ERROR, 2.0) for task in current], current)


def test_many_runs_take_as_many_statements_as_one(database: Database) -> None:
    def mixed(number: int) -> tuple[NewRun, list[list[NewTask]]]:
        values = run_values(user=f"u{number % 3}", priority=number % 2)
        two = [new_step(2, "a", held=number % 5 == 0), new_step(1, "b")]
        run = NewRun(values, two, [StepEdge(0, 1, "gather")], [(0, 1, False)])
        return run, [[new_task(demand=LARGER), new_task(1)], [new_task(1)]]

    sent: list[int] = []
    for numbers in ([1], range(2, 42)):
        new = [mixed(number) for number in numbers]
        with database.write() as connection:
            insert_runs(connection, [mixed(number) for number in range(3)])  # whose demands are there before
            with counted_statements(database) as statements:
                seqs = insert_runs(connection, new)
            sent.append(len(statements))
            ids = {seq: connection.execute(sa.select(runs.c.id).where(runs.c.seq == seq)).scalar() for seq in seqs}
            assert [ids[seq] for seq in seqs] == [run.values["id"] for run, _ in new]
            assert recount(connection, SITE) == 0
            for seq in seqs:
                first = [(row.name, row.first, row.tasks) for row in steps_of_run(connection, seq)]
                assert first == [("a", 0, 2), ("b", 2, 1)]
                assert counts_of(connection, [seq]) == {seq: {TaskState.QUEUED: 3}}
    assert sent[0] == sent[1], sent
