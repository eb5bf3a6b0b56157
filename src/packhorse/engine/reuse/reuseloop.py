"""Looks tasks up before they start: one of which nothing that matters has changed takes what an earlier one left.

Tasks that are to be looked up wait for that as they wait for others. Each is decided on once, in the transaction that
completes it or lets it start.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any

import sqlalchemy as sa
import structlog

from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.states import TaskState
from packhorse.domain.text import kept_json
from packhorse.engine.change import Change
from packhorse.engine.loop import AtSite, LoopOfSite
from packhorse.engine.reuse.deciding import Decided, Deciding
from packhorse.engine.reuse.filesums import FileSums
from packhorse.engine.reuse.keyer import Keyed, Keyer
from packhorse.engine.reuse.taking import AtOnce, Candidate, Taken
from packhorse.engine.steps.cache import Steps
from packhorse.engine.steps.growth import Growth
from packhorse.store import lookups as stored
from packhorse.store.makers import note_makers, note_waiting
from packhorse.store.moves import Current, Move, apply_moves, lock_tasks
from packhorse.store.schema import TASKS_PER_RUN

_TASKS_AT_ONCE = 2000
_AHEAD = 2000  # tasks that are looked at at a site by one command, with all that follows from them
_LOOK_S = 0.5  # between two looks at a store that this process has not written to, as in ``siteloop``

_log = structlog.get_logger("packhorse.reuse")


class _Undo(Exception):  # noqa: N818  nothing is wrong
    """Ends a transaction of which nothing is to stay."""


class ReuseLoop(LoopOfSite):
    """Looks up the tasks of one site. ``given`` is called when some may start."""

    wakes_for = Change.REUSE

    def __init__(
        self,
        at: AtSite,
        given: Callable[[], None],
    ) -> None:
        super().__init__(at, "reuse")
        self._given = given
        self._steps = Steps()
        self._growth = Growth(self._steps, at.site)
        self._sums = FileSums(self.wake)
        self._keyer = Keyer(self._steps, self._sums)
        self._late: set[int] = set()  # steps whose tasks wait for checksums, or for others
        self._told: set[int] = set()  # tasks of which it is told that they wait for others
        self._seen_writes = -1
        self._look_at = 0.0
        self._is_busy = False
        self._ending = threading.Event()

    def recover(self) -> None:
        """After a start."""
        self._ending.clear()

    def end(self) -> None:
        """What is looked at at the site is looked at again by the next engine."""
        self._ending.set()
        super().end()

    def wake_if_busy(self) -> None:
        """Tasks have ended: some that are to be looked up may have waited for them."""
        if self._is_busy:
            self.wake()

    def tick(self, monotonic: float) -> bool:
        """One step; whether anything moved. Nothing is asked of a store that is as it was."""
        writes = self._database.writes_of_others()
        if not self._late and writes == self._seen_writes and monotonic < self._look_at:
            return False
        with self._database.read() as connection:
            steps = [row.seq for row in stored.steps_to_look_up(connection, self._site.name)]
            over = stored.steps_looked_up(connection, steps) if steps else []
            keyed = self._keyed(connection, steps) if steps else []
        self._is_busy = len(steps) > len(over)
        if over:
            with self._lease.write() as connection:
                stored.end_lookups(connection, over)
        moved = self._look_up(keyed, steps) if keyed else False
        self._seen_writes, self._look_at = -1 if moved else writes, monotonic + _LOOK_S
        return moved

    def leave(self) -> None:
        """Checksums that are being computed are computed again."""
        self._sums.stop()

    def _keyed(self, connection: sa.Connection, steps: Sequence[int]) -> list[Keyed]:
        """The tasks of steps that can be looked up now, with their keys; those that wait for checksums come last."""
        late, self._late = self._late, set()
        for some in ([seq for seq in steps if seq not in late], [seq for seq in steps if seq in late]):
            rows = stored.tasks_to_look_up(connection, some, _TASKS_AT_ONCE) if some else []
            keyed = self._keyer.keys(connection, rows)
            if len(keyed) < len(rows):
                known = {one.task for one in keyed}
                self._late |= {row.step_seq for row in rows if row.id not in known}
            if keyed:
                return keyed
        return []

    # --- deciding ------------------------------------------------------------

    def _look_up(self, keyed: Sequence[Keyed], steps: Sequence[int]) -> bool:
        """Decides about tasks, and about those that may be looked up since others need not run; whether anything
        moved.
        """
        taking = AtOnce(self._site, self._ending)
        deciding = Deciding(self._site, self._database.read, taking.take)
        if len(keyed) <= _AHEAD:
            taking.take_ahead(self._foreseen(keyed, steps))
        moved = False
        while keyed:
            decided = deciding.decide(keyed)
            self._late |= {one.step.row.seq for one in keyed if one.task in decided.waiting}
            going = [one for one in keyed if one.task not in decided.waiting]
            if going or decided.waiting - self._told:
                self._write(going, decided)
                self._notifier.notify()
                self._given()
            moved |= bool(going)
            if len(keyed) == _TASKS_AT_ONCE or not decided.taken or self._ending.is_set():
                break
            with self._database.read() as connection:
                keyed = self._keyed(connection, steps)
        return moved

    def _foreseen(self, keyed: Sequence[Keyed], steps: Sequence[int]) -> list[Candidate]:
        """What is to be taken if all is as it was left, step after step: it is looked at by one command.

        Found by doing all of it in a transaction that is undone. What comes from lists is left out: it has no place in
        its run yet.
        """
        found: list[Candidate] = []
        noted: list[Candidate] = []
        late, seen, level = set(self._late), set[int](), 0

        def note(candidates: Sequence[Candidate]) -> list[Taken]:
            noted.extend(candidates)
            return [()] * len(candidates)

        with suppress(_Undo), self._lease.write() as connection:
            deciding = Deciding(self._site, lambda: nullcontext(connection), note)
            while keyed and len(seen) + len(keyed) <= _AHEAD:
                decided = deciding.decide(keyed)
                found += [candidate.at(level) for candidate in noted]
                noted.clear()
                seen |= {one.task for one in keyed}
                if not decided.taken:
                    break
                going = [one for one in keyed if one.task not in decided.waiting and not one.step.spec.leaves_list]
                self._apply(connection, going, decided)
                keyed = [one for one in self._keyed(connection, steps) if one.task not in seen]
                level += 1
            raise _Undo
        self._late = late
        return found

    # --- writing ------------------------------------------------------------

    def _write(self, keyed: Sequence[Keyed], decided: Decided) -> None:
        with self._lease.write() as connection:
            taken, start = self._apply(connection, keyed, decided)
            note_waiting(connection, decided.waiting - self._told)
            stored.keep_sums(connection, self._sums.new())
        self._told = (self._told | decided.waiting) - start
        _log.info("looked_up", site=self._site.name, taken=taken, start=len(start))

    def _apply(self, connection: sa.Connection, keyed: Sequence[Keyed], decided: Decided) -> tuple[int, set[int]]:
        """Completes tasks, and lets others start; returns how many, and which."""
        now = self._clock.now()
        current = lock_tasks(connection, [one.task for one in keyed])
        those = [one for one in keyed if _is_waiting(current.get(one.task))]
        self._check_lists(connection, those, decided)
        origins = {decided.taken[one.task].origin for one in those if one.task in decided.taken}
        runs = stored.run_ids(connection, {origin // TASKS_PER_RUN for origin in origins})
        moves: list[Move] = []
        start: dict[int, str | None] = {}
        rows: list[Mapping[str, Any]] = []
        for one in those:
            earlier = decided.taken.get(one.task)
            why = None if earlier is not None else decided.refused.get(one.task)
            if earlier is None:
                start[one.task] = one.key
            else:
                moves.append(_completed(one, earlier, runs, now))
            if one.inputs or earlier is not None or why is not None:
                rows.append(_row(one, earlier, why))
        stored.keep_lookups(connection, rows)
        apply_moves(connection, moves, current, self._growth.grow)
        stored.let_start(connection, start)
        note_makers(connection, {key: task for key, task in decided.makers.items() if task in start})
        return len(moves), set(start)

    def _check_lists(self, connection: sa.Connection, those: Sequence[Keyed], decided: Decided) -> None:
        """A list from which tasks come may be none for the step as it is now."""
        for one in those:
            if one.task in decided.taken and one.step.spec.leaves_list:
                why = self._growth.problem(connection, one.step, json.loads(decided.taken[one.task].result or "null"))
                if why is not None:
                    decided.refused[one.task] = why
                    del decided.taken[one.task]


def _is_waiting(row: Current | None) -> bool:
    """Whether a task still waits to be looked up: it may have been canceled."""
    return row is not None and row.state is TaskState.QUEUED and row.waiting_on == 1


def _completed(one: Keyed, earlier: stored.Earlier, runs: Mapping[int, str], now: float) -> Move:
    run_seq, index = divmod(earlier.origin, TASKS_PER_RUN)
    if run_seq in runs:
        source = public_task_id(runs[run_seq], index)
    else:
        source = public_task_id(earlier.run_id, earlier.id % TASKS_PER_RUN)
    why = f"Taken from task {source}: nothing that matters has changed since."
    if one.step.spec.reference:  # whoever made it, it is not theirs
        why = "The site has this reference data: it was made before."
    changes = {"result": earlier.result, "exit_code": earlier.exit_code, "ended_at": now, "reason": why}
    return Move(one.task, TaskState.COMPLETE, now, why, {**changes, "cache_key": one.key, "waiting_on": 0})


def _row(one: Keyed, earlier: stored.Earlier | None, why: str | None) -> Mapping[str, Any]:
    return {
        "task_id": one.task,
        "inputs": kept_json(dict(one.inputs)),
        "taken_from": None if earlier is None else earlier.origin,
        "files": None if earlier is None else earlier.files,
        "why": why,
    }
