"""Edges between steps, of each kind, on both databases: what waits starts when it may, and ends when it never can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.store.database import Database
from packhorse.store.demands import recount
from packhorse.store.growths import add_part, open_growths
from packhorse.store.moves import cancel_queued
from packhorse.store.runs import counts_of
from packhorse.store.schema import in_run, tasks
from packhorse.store.settling import Grow
from packhorse.store.steps import StepEdge, steps_of_run
from tests.fixtures.stores import (
    SITE,
    end_tasks,
    has_ended,
    ids_of,
    insert_steps_run,
    list_of,
    move_tasks,
    part_of,
    ready_ids,
    states_by_step,
)

S = TaskState
ENDS = [(S.EXECUTOR_ERROR, S.SYSTEM_ERROR), (S.CANCELED, S.CANCELED)]  # of a task, and of one that needs it


class Run:
    """A run of steps, whose tasks are ended by index."""

    def __init__(self, connection: sa.Connection, numbers: Sequence[int | None], edges: Sequence[StepEdge]) -> None:
        self.connection = connection
        self.seq = insert_steps_run(connection, numbers, edges)

    def end(self, *indexes: int, how: TaskState = S.COMPLETE, grow: Grow | None = None) -> None:
        end_tasks(self.connection, ids_of(self.seq, indexes), how, grow)

    def grow(self, number: int = 1) -> bool:
        """So many more tasks of its list; whether any were missing."""
        growths = [one for one in open_growths(self.connection, SITE) if one.run_seq == self.seq]
        return bool(growths) and add_part(self.connection, part_of(self.connection, growths[0], number), 2.0)

    @property
    def ready(self) -> list[int]:
        return [task - ids_of(self.seq, [0])[0] for task in ready_ids(self.connection, self.seq)]

    @property
    def states(self) -> list[list[TaskState]]:
        return states_by_step(self.connection, self.seq)

    @property
    def numbers(self) -> list[int | None]:
        return [row.tasks for row in steps_of_run(self.connection, self.seq)]

    @property
    def ended(self) -> bool:
        return has_ended(self.connection, self.seq)

    def reason(self, index: int) -> str:
        query = sa.select(tasks.c.reason).where(tasks.c.id == ids_of(self.seq, [index])[0])
        return str(self.connection.execute(query).scalar_one())


@contextmanager
def run_of(database: Database, numbers: Sequence[int | None], *edges: StepEdge) -> Iterator[Run]:
    """A run in a transaction, after which nothing that is ready is forgotten."""
    with database.write() as connection:
        yield Run(connection, numbers, edges)
        assert recount(connection, SITE) == 0


# --- gather ------------------------------------------------------------------


@pytest.mark.parametrize("accept", [False, True])
def test_who_gathers_starts_when_the_last_has_ended(database: Database, accept: bool) -> None:
    with run_of(database, [3, 2], StepEdge(0, 1, "gather", accept)) as run:
        assert run.ready == [0, 1, 2]
        run.end(0, 2)
        assert run.ready == [1]
        run.end(1)
        assert run.ready == [3, 4] and not run.ended
        run.end(3, 4)
        assert run.ended


@pytest.mark.parametrize(("end", "then"), ENDS)
def test_who_gathers_ends_with_the_first_that_does_not_complete(
    database: Database, end: TaskState, then: TaskState
) -> None:
    with run_of(database, [3, 2], StepEdge(0, 1, "gather")) as run:
        run.end(1, how=end)
        assert run.states == [[S.QUEUED, end, S.QUEUED], [then, then]]
        assert ".1, which" in run.reason(3) and not run.ended
        run.end(0, 2)
        assert run.states[1] == [then, then] and run.ended


@pytest.mark.parametrize("end", [S.EXECUTOR_ERROR, S.CANCELED])
def test_who_accepts_failures_waits_for_the_last_all_the_same(database: Database, end: TaskState) -> None:
    with run_of(database, [3, 1], StepEdge(0, 1, "gather", True)) as run:
        run.end(0, 1, how=end)
        assert run.ready == [2]
        run.end(2, how=end)
        assert run.ready == [3]


def test_who_gathers_from_several_waits_for_all(database: Database) -> None:
    with run_of(database, [1, 2, 1], StepEdge(0, 2, "gather"), StepEdge(1, 2, "gather", True)) as run:
        run.end(1, 2, how=S.EXECUTOR_ERROR)
        assert run.ready == [0]
        run.end(0)
        assert run.ready == [3]


@pytest.mark.parametrize("end", [S.COMPLETE, S.EXECUTOR_ERROR])
def test_a_long_chain_of_steps(database: Database, end: TaskState) -> None:
    length = 300
    edges = [StepEdge(number, number + 1, "gather") for number in range(length - 1)]
    with run_of(database, [1] * length, *edges) as run:
        run.end(0, how=end)
        if end is S.COMPLETE:
            assert run.ready == [1]
        else:
            assert run.states == [[end], *[[S.SYSTEM_ERROR]] * (length - 1)] and run.ended


# --- each --------------------------------------------------------------------


def test_each_waits_for_its_own(database: Database) -> None:
    with run_of(database, [3, 3], StepEdge(0, 1, "each")) as run:
        run.end(1)
        assert run.ready == [0, 2, 4]
        run.end(4)
        run.end(0, 2)
        assert run.ready == [3, 5]
        run.end(3, 5)
        assert run.ended


@pytest.mark.parametrize(("end", "then"), ENDS)
@pytest.mark.parametrize("accept", [False, True])
def test_each_ends_with_its_own(database: Database, accept: bool, end: TaskState, then: TaskState) -> None:
    with run_of(database, [3, 3, 3], StepEdge(0, 1, "each", accept), StepEdge(1, 2, "each")) as run:
        run.end(1, how=end)
        if accept:
            assert run.states[1:] == [[S.QUEUED] * 3] * 2 and run.ready == [0, 2, 4]
        else:
            assert run.states[1:] == [[S.QUEUED, then, S.QUEUED]] * 2 and run.ready == [0, 2]
            assert ".1, which" in run.reason(4) and ".4, which" in run.reason(7)


def test_each_waits_for_its_own_and_for_all_of_another(database: Database) -> None:
    with run_of(database, [2, 1, 2], StepEdge(0, 2, "each"), StepEdge(1, 2, "gather")) as run:
        run.end(0)
        assert run.ready == [1, 2]
        run.end(2)
        assert run.ready == [1, 3]
        run.end(1)
        assert run.ready == [3, 4]


# --- items -------------------------------------------------------------------

LIST = (StepEdge(0, 1, "items"), StepEdge(1, 2, "each"), StepEdge(2, 3, "gather"))  # [1, None, None, 1]


def test_a_list_becomes_tasks_each_followed_and_then_gathered(database: Database) -> None:
    with run_of(database, [1, None, None, 1], *LIST) as run:
        assert run.ready == [0]
        run.end(0, grow=list_of(3))
        assert run.numbers == [1, 3, 3, 1]
        assert run.ready == [2, 3, 4]  # what gathers was there before, and has index 1
        run.end(2, 3, 4)
        assert run.ready == [5, 6, 7]
        run.end(5, 6)
        assert run.ready == [7]
        run.end(7)
        assert run.ready == [1]
        run.end(1)
        assert run.ended


@pytest.mark.parametrize("accept", [False, True])
def test_an_empty_list_is_gathered_at_once(database: Database, accept: bool) -> None:
    edges = (*LIST[:2], StepEdge(1, 3, "gather", accept), StepEdge(2, 3, "gather", accept))
    with run_of(database, [1, None, None, 1], *edges) as run:
        run.end(0, grow=list_of(0))
        assert run.numbers == [1, 0, 0, 1] and run.ready == [1] and not run.ended


def test_a_run_ends_with_an_empty_list(database: Database) -> None:
    with run_of(database, [1, None], LIST[0]) as run:
        run.end(0, grow=list_of(0))
        assert run.ended


@pytest.mark.parametrize(("end", "then"), ENDS)
@pytest.mark.parametrize("accept", [False, True])
def test_a_list_that_will_never_be_known(database: Database, accept: bool, end: TaskState, then: TaskState) -> None:
    with run_of(database, [1, None, None, 1], *LIST[:2], StepEdge(2, 3, "gather", accept)) as run:
        run.end(0, how=end)
        assert run.numbers == [1, 0, 0, 1]
        assert run.states == [[end], [], [], [S.QUEUED if accept else then]]
        assert run.ready == ([1] if accept else []) and run.ended is not accept
        assert accept or ".0, which" in run.reason(1)


@pytest.mark.parametrize("before", [1, 2])
def test_tasks_of_a_list_wait_for_what_their_step_gathers(database: Database, before: int) -> None:
    """Whatever of it has ended before the list is known."""
    with run_of(database, [1, 2, None], StepEdge(0, 2, "items"), StepEdge(1, 2, "gather")) as run:
        run.end(*range(1, 1 + before))
        run.end(0, grow=list_of(2))
        assert run.ready == [2, 3, 4][before - 1 :][: 1 if before == 1 else 2]
        if before == 1:
            run.end(2)
        assert run.ready == [3, 4]


@pytest.mark.parametrize(("end", "then"), ENDS)
def test_a_list_of_a_step_that_gathers_what_had_failed_before(
    database: Database, end: TaskState, then: TaskState
) -> None:
    edges = (StepEdge(0, 2, "items"), StepEdge(1, 2, "gather"), StepEdge(2, 3, "gather"))
    with run_of(database, [1, 2, None, 1], *edges) as run:
        run.end(1, how=end)
        run.end(0, grow=list_of(2))
        assert run.numbers == [1, 2, 0, 1] and run.states[3] == [then] and run.ready == [2]
        assert ".1, which" in run.reason(3)


def test_what_gathers_and_accepts_failures_takes_its_list(database: Database) -> None:
    with run_of(database, [1, 2, None], StepEdge(0, 2, "items"), StepEdge(1, 2, "gather", True)) as run:
        run.end(1, 2, how=S.EXECUTOR_ERROR)
        run.end(0, grow=list_of(2))
        assert run.ready == [3, 4]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("end", [S.COMPLETE, S.EXECUTOR_ERROR])
def test_a_list_and_what_its_step_gathers_end_in_one_batch(database: Database, first: int, end: TaskState) -> None:
    """Whichever of the two stands before the other in the run."""
    edges = (StepEdge(first, 2, "items"), StepEdge(1 - first, 2, "gather"))
    with run_of(database, [1, 1, None], *edges) as run:
        listing, other = ids_of(run.seq, [first, 1 - first])
        both = [(task, state) for task in (other, listing) for state in (S.INITIALIZING, S.RUNNING)]
        move_tasks(run.connection, [*both, (other, end), (listing, S.COMPLETE)], list_of(2))
        assert run.ready == ([2, 3] if end is S.COMPLETE else [])
        assert run.ended is (end is not S.COMPLETE)


@pytest.mark.parametrize(("end", "then"), ENDS)
def test_a_list_of_a_step_that_gathers_one_whose_list_never_came(
    database: Database, end: TaskState, then: TaskState
) -> None:
    """What had failed has no task that could be found."""
    edges = (StepEdge(0, 1, "items"), StepEdge(1, 2, "each"), StepEdge(2, 4, "gather"), StepEdge(3, 4, "items"))
    with run_of(database, [1, None, None, 1, None, 1], *edges, StepEdge(4, 5, "gather")) as run:
        run.end(0, how=end)
        run.end(1, grow=list_of(2))
        assert run.numbers == [1, 0, 0, 1, 0, 1] and run.states[5] == [then] and run.ended
        assert ".0, which" in run.reason(2)


@pytest.mark.parametrize(("end", "then"), ENDS)
def test_each_of_a_list_that_gathers_what_had_failed_before(
    database: Database, end: TaskState, then: TaskState
) -> None:
    edges = (StepEdge(0, 2, "items"), StepEdge(2, 3, "each"), StepEdge(1, 3, "gather"))
    with run_of(database, [1, 1, None, None], *edges) as run:
        run.end(1, how=end)
        run.end(0, grow=list_of(2))
        assert run.states[2:] == [[S.QUEUED] * 2, [then] * 2] and run.ready == [2, 3]
        assert ".1, which" in run.reason(4)
        run.end(2, 3)
        assert run.ended


def test_a_canceled_list_leaves_nothing_behind(database: Database) -> None:
    with run_of(database, [1, None, None, 1], *LIST) as run:
        move_tasks(run.connection, [(ids_of(run.seq, [0])[0], state) for state in (S.INITIALIZING, S.RUNNING)])
        move_tasks(run.connection, [(task, S.CANCELING) for task in ids_of(run.seq, [0])])
        move_tasks(run.connection, [(task, S.CANCELED) for task in ids_of(run.seq, [0])])
        assert run.numbers == [1, 0, 0, 1] and run.states[3] == [S.CANCELED] and run.ended


# --- items, of which some are still to come -----------------------------------


def test_what_gathers_waits_for_tasks_that_are_still_to_come(database: Database) -> None:
    with run_of(database, [1, None, None, 1], *LIST) as run:
        run.end(0, grow=list_of(3, part=1))
        assert run.numbers == [1, 3, 3, 1] and run.ready == [2]
        assert counts_of(run.connection, [run.seq])[run.seq] == {S.COMPLETE: 1, S.QUEUED: 7}
        run.end(2)
        run.end(5)
        assert run.ready == [] and not run.ended
        assert run.grow() and run.ready == [3]
        assert run.grow(5) and run.ready == [3, 4]
        assert not run.grow()
        run.end(3, 4)
        run.end(6, 7)
        assert run.ready == [1]
        run.end(1)
        assert run.ended


def test_a_run_whose_tasks_are_still_to_come_has_not_ended(database: Database) -> None:
    with run_of(database, [1, None], LIST[0]) as run:
        run.end(0, grow=list_of(2, part=1))
        run.end(1)
        assert not run.ended
        assert run.grow()
        run.end(2)
        assert run.ended


def test_what_is_still_to_come_of_a_canceled_run_is_canceled(database: Database) -> None:
    with run_of(database, [1, None, None, 1], *LIST) as run:
        run.end(0, grow=list_of(3, part=1))
        cancel_queued(run.connection, run.seq, 3.0, "enough")
        assert not run.ended and run.ready == []
        assert run.grow(2) and not run.grow()
        assert run.states == [[S.COMPLETE], [S.CANCELED] * 3, [S.CANCELED] * 3, [S.CANCELED]] and run.ended
        assert run.reason(4) == "enough"


@pytest.mark.parametrize(("end", "then"), ENDS)
def test_what_is_still_to_come_ends_where_what_it_waits_for_fails_meanwhile(
    database: Database, end: TaskState, then: TaskState
) -> None:
    edges = (StepEdge(0, 1, "items"), StepEdge(1, 2, "each"), StepEdge(3, 1, "gather"), StepEdge(2, 4, "gather", True))
    with run_of(database, [1, None, None, 1, 1], *edges) as run:
        run.end(0, grow=list_of(3, part=1))
        run.end(1, how=end)
        assert run.states[1:3] == [[then], [then]] and run.ready == []
        assert run.grow(2)
        assert run.states[1:3] == [[then] * 3, [then] * 3] and run.ready == [2]
        assert ".1, which" in run.reason(5)


def test_what_is_still_to_come_need_not_wait_for_what_has_ended_meanwhile(database: Database) -> None:
    with run_of(database, [1, None, 1], StepEdge(0, 1, "items"), StepEdge(2, 1, "gather")) as run:
        run.end(0, grow=list_of(2, part=1))
        assert run.ready == [1]
        run.end(1)
        assert run.ready == [2]
        assert run.grow() and run.ready == [2, 3]


def test_a_part_counts_once(database: Database) -> None:
    with run_of(database, [1, None], LIST[0]) as run:
        run.end(0, grow=list_of(3, part=1))
        [growth] = open_growths(run.connection, SITE)
        part = part_of(run.connection, growth, 1)
        assert [add_part(run.connection, part, 2.0) for _ in range(3)] == [True, False, False]
        assert run.ready == [1, 2]


# --- tasks, and other runs ----------------------------------------------------


def test_an_earlier_run_that_is_read_is_not_waited_for(database: Database) -> None:
    with run_of(database, [2]) as old:
        old.end(0)
        old.end(1, how=S.EXECUTOR_ERROR)
        [step] = steps_of_run(old.connection, old.seq)
        edges = [StepEdge(-step.seq, 1, "gather"), StepEdge(0, 1, "gather")]
        new = Run(old.connection, [1, 1], edges)
        assert new.ready == [0]
        new.end(0)
        assert new.ready == [1]


def test_ids_of_tasks_of_lists_lie_behind_all_others(database: Database) -> None:
    with run_of(database, [1, None, 2], StepEdge(0, 1, "items")) as run:
        run.end(0, grow=list_of(3))
        found = run.connection.execute(sa.select(tasks.c.id).where(in_run(run.seq)).order_by(tasks.c.id)).scalars()
        assert list(found) == ids_of(run.seq, range(6))
        assert [row.first for row in steps_of_run(run.connection, run.seq)] == [0, 3, 1]
