"""What could be placed is counted right whatever happens, on both databases, and nothing of it is ever forgotten."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packhorse.domain.states import AT_SITE, TERMINAL, DataState, TaskState
from packhorse.store import data as stored
from packhorse.store.data import DataKey
from packhorse.store.database import Database
from packhorse.store.demands import (
    add_ready_to_demands,
    demand_seqs,
    end_back_offs,
    hold_steps,
    next_back_off,
    recount,
    take_ready,
    waiting_demands,
)
from packhorse.store.growths import add_part, open_growths
from packhorse.store.migrate import ensure_schema
from packhorse.store.moves import Move, PlacedBlock, apply_moves, cancel_queued, lock_tasks, place_tasks
from packhorse.store.newtasks import NewTask
from packhorse.store.runs import Begun, NewRun, add_tasks, begin_run, counts_of, insert_runs, publish_run, remove_run
from packhorse.store.schema import READY, TASKS_PER_RUN, data, demands, in_run, runs, step_demands, steps, tasks
from packhorse.store.steps import StepEdge, load_steps, steps_of_run
from tests.fixtures.stores import (
    DEMAND,
    LARGER,
    SITE,
    insert_steps_run,
    insert_tasks_run,
    list_of,
    new_step,
    new_task,
    part_of,
    place_some,
    run_values,
    states_of,
)

S = TaskState
E = StepEdge
URLS = (DataKey("https://h/a"), DataKey("https://h/b"))
SHAPES: tuple[tuple[list[int | None], list[StepEdge]], ...] = (
    ([3, 1], [E(0, 1, "gather")]),
    ([2, 2, 1], [E(0, 1, "each"), E(0, 2, "gather", True), E(1, 2, "gather", True)]),
    ([1, None, 1], [E(0, 1, "items"), E(1, 2, "gather", True)]),
    ([1, 2, None, None, 1], [E(0, 2, "items"), E(1, 2, "gather"), E(2, 3, "each"), E(3, 4, "gather")]),
    ([1, 2, None, None], [E(0, 2, "items"), E(2, 3, "each", True), E(1, 3, "gather")]),
)
_numbers = count()


class Play:
    """Everything that may happen to runs at a site of their own; each method is one thing, chosen by ``pick``."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.site = f"site-{next(_numbers)}"
        self.now = 1000.0
        self.runs: list[int] = []
        self.unfinished: list[Begun] = []

    # --- what users do -----------------------------------------------------------

    def _one(self, pick: int) -> NewTask:
        needs = URLS[: pick % 3] if pick % 4 == 0 else ()
        return new_task(demand=(DEMAND, LARGER)[pick % 2], data=needs)

    def submit(self, pick: int) -> None:
        some = [self._one(pick + number) for number in range(1 + pick % 4)]
        user = f"user-{pick % 2}"
        values = {"user": user, "priority": pick % 3, "held": pick % 5 == 0}
        self.runs.append(insert_tasks_run(self.connection, some, site=self.site, **values))

    def submit_documents(self, pick: int) -> None:
        pairs = [(up, down) for down in range(4) for up in range(down)]
        edges = [(up, down, bool((pick + up) % 2)) for bit, (up, down) in enumerate(pairs) if pick >> bit & 1]
        self.runs.append(insert_tasks_run(self.connection, 4, edges, site=self.site))

    def submit_steps(self, pick: int) -> None:
        numbers, edges = SHAPES[pick % len(SHAPES)]
        self.runs.append(insert_steps_run(self.connection, numbers, edges, site=self.site))

    def begin(self, pick: int) -> None:
        begun = begin_run(self.connection, NewRun(run_values(), [new_step(4, site=self.site, held=pick % 3 == 0)]))
        add_tasks(self.connection, begun, 0, [self._one(pick), self._one(pick + 1)], 0)
        self.unfinished.append(begun)

    def finish(self, pick: int) -> None:
        if self.unfinished:
            begun = self.unfinished.pop(pick % len(self.unfinished))
            if pick % 3 == 0:
                remove_run(self.connection, begun.seq)
                return
            add_tasks(self.connection, begun, 0, [self._one(pick), self._one(pick + 1)], 2)
            publish_run(self.connection, begun)
            self.runs.append(begun.seq)

    def cancel_run(self, pick: int) -> None:
        if self.runs:
            run = self.runs[pick % len(self.runs)]
            self.now += 0.001  # since by this it finds again what it has canceled
            cancel_queued(self.connection, run, self.now, "because")
            self._move(self._tasks(in_run(run), *(AT_SITE - {S.CANCELING})), S.CANCELING)

    def cancel_task(self, pick: int) -> None:
        if chosen := self._some(pick, S.QUEUED):
            self._move(chosen[:1], S.CANCELED)

    # --- what engines do -----------------------------------------------------------

    def place(self, pick: int) -> None:
        place_some(self.connection, 1 + pick % 4, self.site)

    def start(self, pick: int) -> None:
        self._move(self._some(pick, S.INITIALIZING), S.RUNNING)

    def complete(self, pick: int) -> None:
        self._move(self._some(pick, S.RUNNING), S.COMPLETE, items=pick % 5)

    def grow(self, pick: int) -> None:
        """Some more tasks of a list that is known."""
        if growths := open_growths(self.connection, self.site):
            part = part_of(self.connection, growths[pick % len(growths)], 1 + pick % 2)
            assert add_part(self.connection, part, self.now)
            assert not add_part(self.connection, part, self.now), "once"

    def fail(self, pick: int) -> None:
        self._move(self._some(pick, S.RUNNING), (S.EXECUTOR_ERROR, S.SYSTEM_ERROR, S.PREEMPTED)[pick % 3])

    def end_cancels(self, pick: int) -> None:
        self._move(self._some(pick, S.CANCELING), S.CANCELED)

    def give_back(self, pick: int) -> None:
        self._move(self._some(pick, S.INITIALIZING), S.QUEUED)

    def retry(self, pick: int) -> None:
        """With a back-off or without, and asking for more or for as much."""
        chosen = self._some(pick, S.RUNNING)
        changes: dict[str, object] = {"not_before": self.now + pick % 50} if pick % 3 else {}
        current = lock_tasks(self.connection, chosen)
        moves = []
        for task, row in current.items():
            more = {}
            if pick % 2:
                user = load_steps(self.connection, [row.step_seq])[row.step_seq].user
                more = {"demand_seq": demand_seqs(self.connection, self.site, [(user, LARGER)])[user, LARGER]}
            home = {"allocation_seq": None, "block": None}
            moves.append(Move(task, S.QUEUED, self.now, None, {**home, **changes, **more}))
        apply_moves(self.connection, moves, current)

    def wait(self, pick: int) -> None:
        self.now += pick % 40
        end_back_offs(self.connection, self.now, self.now + 1000, 1 + pick % 3)

    def hold(self, pick: int) -> None:
        if self.runs:
            chosen = {row.seq for row in steps_of_run(self.connection, self.runs[pick % len(self.runs)])}
            hold_steps(self.connection, chosen, held=bool(pick // 7 % 2))

    def bring(self, pick: int) -> None:
        """Data comes, or will never come."""
        here = sa.and_(data.c.site == self.site, data.c.state == DataState.QUEUED)
        rows = self.connection.execute(sa.select(data).where(here).order_by(data.c.id)).all()
        if not rows:
            return
        row = stored.lock_data(self.connection, rows[pick % len(rows)].id)
        if pick % 4 == 0:
            stored.update_data(self.connection, row.id, state=DataState.FAILED)
            self._move(list(stored.waiting_tasks(self.connection, row.id)), S.SYSTEM_ERROR)
            return
        stored.update_data(self.connection, row.id, state=DataState.READY, sha256="a" * 64, path="/a")
        stored.give_data(self.connection, row.id, "a" * 64, "/a")

    # --- and what must hold ----------------------------------------------------------

    def _of_site(self) -> sa.Select[tuple[int]]:
        return sa.select(demands.c.seq).where(demands.c.site == self.site)

    def _at_site(self, *states: TaskState) -> list[int]:
        return self._tasks(tasks.c.demand_seq.in_(self._of_site()), *states)

    def _tasks(self, which: sa.ColumnElement[bool], *states: TaskState) -> list[int]:
        query = sa.select(tasks.c.id).where(which, tasks.c.state.in_(states)).order_by(tasks.c.id)
        return list(self.connection.execute(query).scalars())

    def _some(self, pick: int, state: TaskState) -> list[int]:
        """Up to three of the tasks in a state of runs that are visible."""
        written = [begun.seq for begun in self.unfinished]
        found = [task for task in self._at_site(state) if task // TASKS_PER_RUN not in written]
        start = pick % len(found) if found else 0
        return found[start : start + 1 + pick % 3]

    def _move(self, ids: list[int], target: TaskState, items: int = 0) -> None:
        self.now += 0.001
        current = lock_tasks(self.connection, ids)
        home = {"allocation_seq": None, "block": None} if target is S.QUEUED else {}
        moves = [Move(task, target, self.now, None, dict(home)) for task in ids]
        assert apply_moves(self.connection, moves, current, list_of(items, part=2)) == len(ids)

    def check(self) -> None:
        """Counts all of the site by itself, and compares."""
        counted: Counter[tuple[int, int]] = Counter()
        ready = sa.select(tasks.c.step_seq, tasks.c.demand_seq)
        for row in self.connection.execute(ready.where(sa.text(READY), tasks.c.demand_seq.in_(self._of_site()))):
            counted[row.step_seq, row.demand_seq] += 1
        offered: Counter[int] = Counter()
        pairs = sa.select(step_demands, steps.c.held.label("step_held")).join(
            steps, steps.c.seq == step_demands.c.step_seq
        )
        said = self.connection.execute(pairs.where(step_demands.c.demand_seq.in_(self._of_site()))).all()
        assert {(row.step_seq, row.demand_seq): row.ready for row in said if row.ready} == dict(counted)
        assert all(bool(row.held) is row.step_held for row in said)
        for row in said:
            offered[row.demand_seq] += 0 if row.held else row.ready
        found = {row.seq: row.ready for row in waiting_demands(self.connection, self.site)}
        assert found == {seq: number for seq, number in offered.items() if number}
        assert recount(self.connection, self.site) == 0
        for run in self.runs:
            growths = [one for one in open_growths(self.connection, self.site) if one.run_seq == run]
            missing = sum(self._missing(one) for one in growths)
            told = counts_of(self.connection, [run])[run]
            assert sum(told.values()) == len(states_of(self.connection, run)) + missing

    def _missing(self, growth: Any) -> int:
        """Tasks that are counted, and still to come."""
        rest = part_of(self.connection, growth, 1000)
        return sum(len(one.tasks) for one in rest.grown)

    def finish_all(self) -> None:
        """Lets everything go on: then everything ends."""
        while self.unfinished:
            self.finish(1)
        hold_steps(self.connection, self._seqs(), held=False)
        for _ in URLS:
            self.bring(1)
        while True:
            self.now += 2000
            end_back_offs(self.connection, self.now, self.now, 1000)
            self.check()
            self.grow(1)
            placed = place_some(self.connection, 1000, self.site)
            self._move(self._at_site(S.INITIALIZING), S.RUNNING)
            running, canceling = self._at_site(S.RUNNING), self._at_site(S.CANCELING)
            self._move(running, S.COMPLETE, items=2)
            self._move(canceling, S.CANCELED)
            if not (placed or running or canceling or open_growths(self.connection, self.site)):
                break
        for run in self.runs:
            assert set(states_of(self.connection, run)) <= TERMINAL, "something was forgotten"
            assert self.connection.execute(sa.select(runs.c.ended_at).where(runs.c.seq == run)).scalar() is not None
        assert waiting_demands(self.connection, self.site) == []

    def _seqs(self) -> list[int]:
        return list(self.connection.execute(sa.select(steps.c.seq).where(steps.c.site == self.site)).scalars())


WHAT = [
    "submit", "submit_documents", "submit_steps", "begin", "finish", "cancel_run", "cancel_task", "place", "place",
    "start", "start", "complete", "complete", "fail", "end_cancels", "give_back", "retry", "wait", "hold", "bring",
    "grow", "grow",
]  # fmt: skip
plays = st.lists(st.tuples(st.sampled_from(WHAT), st.integers(0, 63)), min_size=1, max_size=30)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(start=st.lists(st.sampled_from(WHAT[:4]), min_size=1, max_size=3), play=plays)
def test_whatever_happens_what_is_ready_is_counted(
    database: Database, start: list[str], play: list[tuple[str, int]]
) -> None:
    with database.write() as connection:
        it = Play(connection)
        for number, what in enumerate(start):
            getattr(it, what)(number * 11 + len(play))
            it.check()
        for what, pick in play:
            getattr(it, what)(pick)
            it.check()
        it.finish_all()


@pytest.mark.parametrize("table", ["step_demands", "demands"])
def test_a_count_that_is_off_is_mended(database: Database, table: str) -> None:
    with database.write() as connection:
        it = Play(connection)
        it.submit(3)
        it.submit(2)
        of = {"step_demands": step_demands, "demands": demands}[table]
        connection.execute(sa.update(of).values(ready=of.c.ready + 2))
        assert recount(connection, it.site) > 0
        it.check()


def test_who_submits_and_who_places_never_wait_for_each_other(database: Database) -> None:
    """Each locks what both change last, in order and at once; else PostgreSQL ends one of two that wait."""
    users = [f"u{number}" for number in range(5)]
    failed: list[BaseException] = []

    def repeat(work: Callable[[sa.Connection], object]) -> None:
        try:
            for _ in range(60):
                with database.write() as connection:
                    work(connection)
        except BaseException as error:
            failed.append(error)

    def submit(order: Sequence[str]) -> Callable[[sa.Connection], object]:
        return lambda connection: insert_runs(
            connection, [(NewRun(run_values(user=user), [new_step(2)]), [[new_task()] * 2]) for user in order]
        )

    def place(connection: sa.Connection) -> None:
        less: Counter[int] = Counter()
        for block, row in enumerate(reversed(waiting_demands(connection, SITE))):
            rows = take_ready(connection, row.seq, 1)
            less.update(place_tasks(connection, [PlacedBlock(7, block, rows, "because")], 2.0))
        add_ready_to_demands(connection, less)

    with database.write() as connection:
        submit(users)(connection)
    works = [submit(users), submit(users[::-1]), place]
    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    with database.write() as connection:
        assert recount(connection, SITE) == 0


def test_a_look_for_back_offs_costs_the_same_however_many_tasks_are_queued(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/packhorse.db")
    ensure_schema(database)
    costs: list[tuple[int, int]] = []
    for number in (10, 3000):
        with database.write() as connection:
            insert_tasks_run(connection, number)
        with database.write() as connection:
            look = _instructions(connection, lambda: next_back_off(connection))
            costs.append((look, _instructions(connection, lambda: end_back_offs(connection, 1.0, 2.0, 10))))
    database.close()
    assert costs[0] == costs[1] and max(costs[0]) < 100


def _instructions(connection: sa.Connection, work: Callable[[], object]) -> int:
    """How many of SQLite's own it takes."""
    counted: list[None] = []
    raw: Any = connection.connection.dbapi_connection
    raw.set_progress_handler(lambda: counted.append(None), 1)
    try:
        work()
    finally:
        raw.set_progress_handler(None, 1)
    return len(counted)
