"""Steps that are held while an image is not there, on both databases, and what a look at all that waits costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.store import images as stored
from packhorse.store.database import Database
from packhorse.store.demands import (
    DemandKey,
    end_back_offs,
    hold_steps,
    next_back_off,
    recount,
    take_ready,
    waiting_demands,
)
from packhorse.store.holds import settle_holds
from packhorse.store.line import place_in_line
from packhorse.store.moves import Move, apply_moves, lock_tasks
from packhorse.store.runs import NewRun, begin_run, insert_run, publish_run
from packhorse.store.schema import TASKS_PER_RUN, demands, steps
from packhorse.store.steps import StepEdge
from packhorse.store.tasks import get_task
from tests.fixtures.engines import new_demands
from tests.fixtures.stores import (
    DEMAND,
    LARGER,
    SITE,
    counted_statements,
    end_tasks,
    ids_of,
    insert_steps_run,
    insert_tasks_run,
    list_of,
    move_tasks,
    new_step,
    new_task,
    place_some,
    ready_ids,
    run_values,
)


def run_with_images(connection: sa.Connection, *references: str, site: str = SITE) -> int:
    """As it is when it was submitted: a run of two steps, and what it wants."""
    held = bool(references)
    two = [new_step(2, "a", site=site, held=held), new_step(1, "b", site=site, held=held)]
    seq = insert_run(connection, NewRun(run_values(), two), [[new_task()] * 2, [new_task()]])
    stored.want_images(connection, seq, {site: references})
    return seq


def image(connection: sa.Connection, digest: str, state: str = stored.READY, site: str = SITE) -> None:
    if stored.find_image(connection, site, digest) is None:
        values = {"site": site, "digest": digest, "reference": digest, "download_bytes": 1, "config": "{}"}
        stored.insert_image(connection, {**values, "state": state}, 1.0)
    found = stored.find_image(connection, site, digest)
    assert found is not None
    stored.update_image(connection, found.seq, state=state)


def held(connection: sa.Connection, *seqs: int) -> list[set[bool]]:
    """Whether the steps of each run are held."""
    return [set(connection.execute(sa.select(steps.c.held).where(steps.c.run_seq == seq)).scalars()) for seq in seqs]


def offered(connection: sa.Connection, site: str = SITE) -> int:
    """How many tasks could be placed now."""
    assert recount(connection, site) == 0
    return sum(int(row.ready) for row in waiting_demands(connection, site))


def test_a_run_is_held_until_all_its_images_are_ready(database: Database) -> None:
    with database.write() as connection:
        one, both, none = (run_with_images(connection, *wanted) for wanted in (["x"], ["x", "y"], []))
        assert offered(connection) == 3 and settle_holds(connection, SITE) == 0
        stored.set_digest(connection, "x", [one, both], "dx")
        stored.set_digest(connection, "y", [both], "dy")
        image(connection, "dx", "PREPARING")
        assert settle_holds(connection, SITE) == 0 and held(connection, one, both, none) == [{True}, {True}, {False}]
        image(connection, "dx")
        assert settle_holds(connection, SITE) == 2 and held(connection, one, both, none) == [{False}, {True}, {False}]
        assert offered(connection) == 6
        image(connection, "dy")
        assert settle_holds(connection, SITE) == 2 and offered(connection) == 9
        assert settle_holds(connection, SITE) == 0


def test_a_run_is_held_again_when_its_image_is_gone(database: Database) -> None:
    with database.write() as connection:
        run = run_with_images(connection, "x")
        stored.set_digest(connection, "x", [run], "dx")
        image(connection, "dx")
        settle_holds(connection, SITE)
        [first, *_] = place_some(connection, 1)
        image(connection, "dx", "QUEUED")
        assert settle_holds(connection, SITE) == 2 and offered(connection) == 0
        give_back(connection, first)
        assert offered(connection) == 0, "what comes back meanwhile is held as well"
        image(connection, "dx")
        assert settle_holds(connection, SITE) == 2 and offered(connection) == 3


def give_back(connection: sa.Connection, task: int) -> None:
    """To the queue, unstarted."""
    back = {"allocation_seq": None, "block": None, "attempt": 0}
    current = lock_tasks(connection, [task])
    assert apply_moves(connection, [Move(task, TaskState.QUEUED, 3.0, None, back)], current) == 1


def test_only_runs_of_that_site_are_settled(database: Database) -> None:
    with database.write() as connection:
        here, there = run_with_images(connection, "x"), run_with_images(connection, "x", site="other")
        stored.set_digest(connection, "x", [here, there], "dx")
        image(connection, "dx", site="other")
        assert settle_holds(connection, SITE) == 0 and held(connection, here, there) == [{True}, {True}]
        assert settle_holds(connection, "other") == 2 and held(connection, here, there) == [{True}, {False}]
        assert (offered(connection), offered(connection, "other")) == (0, 3)


def test_a_run_that_is_over_or_not_written_yet_holds_and_frees_nothing(database: Database) -> None:
    with database.write() as connection:
        over = run_with_images(connection, "x")
        end_tasks(connection, ids_of(over, range(3)), TaskState.CANCELED)
        begun = begin_run(connection, NewRun(run_values(), [new_step(1)]))
        assert settle_holds(connection, SITE) == 2, "what is over waits for no image any more"
        assert held(connection, begun.seq) == [{True}]
        publish_run(connection, begun)
        assert held(connection, begun.seq) == [{False}]


def test_tasks_that_come_to_be_while_their_step_is_held_are_held(database: Database) -> None:
    with database.write() as connection:
        run = insert_steps_run(connection, [1, None], [StepEdge(0, 1, "items")])
        [first] = place_some(connection, 1)
        stored.want_images(connection, run, {SITE: ["x"]})
        assert settle_holds(connection, SITE) == 2
        move_tasks(connection, [(first, TaskState.RUNNING), (first, TaskState.COMPLETE)], list_of(3))
        assert offered(connection) == 0 and len(ready_ids(connection, run)) == 3
        stored.set_digest(connection, "x", [run], "dx")
        image(connection, "dx")
        assert settle_holds(connection, SITE) == 2 and offered(connection) == 3


def test_steps_that_are_held_twice_are_let_go_once(database: Database) -> None:
    with database.write() as connection:
        run = insert_tasks_run(connection, [new_task(), new_task(demand=LARGER)])
        [step] = connection.execute(sa.select(steps.c.seq)).scalars()
        for now_held in (True, True, False, False, True):
            hold_steps(connection, [step], held=now_held)
            assert offered(connection) == (0 if now_held else 2)
        task = get_task(connection, ids_of(run, [0])[0])
        assert place_in_line(connection, task) is None


def test_tasks_are_taken_by_priority_and_age(database: Database) -> None:
    with database.write() as connection:
        old, urgent, new = (insert_tasks_run(connection, 2, priority=priority) for priority in (0, 5, 0))
        [demand] = connection.execute(sa.select(demands.c.seq)).scalars()
        order = [row.id // TASKS_PER_RUN for row in take_ready(connection, demand, 5)]
        assert order.count(urgent) == 2 and order.count(old) == 2 and order.count(new) == 1
        assert [row.id // TASKS_PER_RUN for row in take_ready(connection, demand, 1)] == [urgent]
        place = place_in_line(connection, get_task(connection, ids_of(new, [1])[0]))
        assert place is not None and (place.before, place.of, place.others, place.users) == (5, 6, 0, 1)


# --- what a look costs ---------------------------------------------------------


def fill(connection: sa.Connection, numbers: Iterable[int]) -> None:
    """Runs of three users: ready ones, and ones that wait for an image, for a back-off, or for others."""
    for number in numbers:
        user = f"user-{number % 3}"
        key = [DEMAND, LARGER, DemandKey("other@1", "{}")][number % 3]
        insert_tasks_run(connection, [new_task(demand=key)] * 3, user=user, priority=number % 2)
        back_off(connection, insert_tasks_run(connection, 1, user=user))
        waits = insert_tasks_run(connection, [new_task(demand=key)], user=user, held=True)
        stored.want_images(connection, waits, {SITE: ["x"]})
        insert_tasks_run(connection, 2, [(0, 1, False)], user=user)


def back_off(connection: sa.Connection, run_seq: int) -> None:
    """The only task of a run has failed, and is tried again at its time."""
    [task] = ids_of(run_seq, [0])
    both = [Move(task, TaskState.INITIALIZING, 1.0), Move(task, TaskState.QUEUED, 1.0, None, {"not_before": 1e9})]
    apply_moves(connection, both, lock_tasks(connection, [task]))


LOOKS: dict[str, Callable[[sa.Connection], object]] = {
    "waiting_demands": lambda connection: waiting_demands(connection, SITE),
    "take_ready": lambda connection: take_ready(connection, 1, 1000),
    "next_back_off": next_back_off,
    "end_back_offs": lambda connection: end_back_offs(connection, 10.0, 1e10, 100),
    "settle_holds": lambda connection: settle_holds(connection, SITE),
    "recount": lambda connection: recount(connection, SITE),
    "place_in_line": lambda connection: place_in_line(connection, get_task(connection, TASKS_PER_RUN)),
    "engine": lambda connection: new_demands(SITE).waiting(connection).sized,
}


def test_a_look_takes_as_many_statements_however_much_waits(database: Database) -> None:
    counts: list[dict[str, int]] = []
    looked: list[int] = []
    for numbers in (range(12), range(12, 312)):
        with database.write() as connection:
            fill(connection, numbers)
        with database.write() as connection:
            looked.append(len(waiting_demands(connection, SITE)))
            counts.append({})
            for name, look in LOOKS.items():
                with counted_statements(database) as sent:
                    look(connection)
                counts[-1][name] = len(sent)
    assert looked[0] == looked[1], "as many rows as there are users times kinds of work"
    assert counts[0] == counts[1]
    assert counts[0]["waiting_demands"] == 1


def test_what_waits_is_found_by_index(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("PostgreSQL chooses by its statistics, which so small a table does not fill")
    with database.write() as connection:
        fill(connection, range(300))
        with counted_statements(database) as sent:
            waiting_demands(connection, SITE)
        [statement] = sent
        plan = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, (0,) * statement.count("?"))
        told = "\n".join(str(row) for row in plan)
    assert "ix_demands_ready" in told and "ix_step_demands_ready" in told and "SCAN" not in told, told
