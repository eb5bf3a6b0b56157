"""Looks tasks up before they start: one of which nothing that matters has changed takes what an earlier one left.

Tasks that are to be looked up wait for that as they wait for others. Each is decided on once, in the transaction that
completes it or lets it start.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
import structlog

from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.states import TaskState
from packhorse.domain.text import kept_json
from packhorse.engine.change import Change
from packhorse.engine.clock import Clock
from packhorse.engine.lease import Lease
from packhorse.engine.loop import Loop
from packhorse.engine.notifier import Notifier
from packhorse.engine.reuse.filesums import FileSums
from packhorse.engine.reuse.keyer import Keyed, Keyer
from packhorse.engine.reuse.taking import Wanted, take
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.cache import Steps
from packhorse.engine.steps.growth import Growth
from packhorse.sites.site import Site
from packhorse.store import lookups as stored
from packhorse.store.database import Database
from packhorse.store.makers import note_makers, note_waiting, under_way
from packhorse.store.moves import Current, Move, apply_moves, lock_tasks
from packhorse.store.schema import TASKS_PER_RUN

_TASKS_AT_ONCE = 2000
_LOOK_S = 0.5  # between two looks at a store that this process has not written to, as in ``siteloop``
_TRIES = 3  # of earlier tasks with the same key whose outputs are gone
DELIVERED = "its outputs are to be delivered, which only a task does that runs"

_log = structlog.get_logger("packhorse.reuse")


@dataclass
class _Decided:
    """What becomes of some tasks: from which earlier ones they take, and why others do not; which wait for others, and
    which make reference data with a key.
    """

    taken: dict[int, stored.Earlier] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    waiting: set[int] = field(default_factory=set)
    makers: dict[str, int] = field(default_factory=dict)


class ReuseLoop(Loop):
    """Looks up the tasks of one site. ``given`` is called when some may start."""

    wakes_for = Change.REUSE

    def __init__(
        self,
        site: Site,
        database: Database,
        lease: Lease,
        clock: Clock,
        notifier: Notifier,
        tell: threading.Event,
        given: Callable[[], None],
    ) -> None:
        super().__init__(f"{site.name} reuse", clock, tell, site.name)
        self._site = site
        self._database = database
        self._lease = lease
        self._notifier = notifier
        self._given = given
        self._steps = Steps()
        self._growth = Growth(self._steps, site)
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
        decided = self._decide(keyed) if keyed else _Decided()
        self._late |= {one.step.row.seq for one in keyed if one.task in decided.waiting}
        going = [one for one in keyed if one.task not in decided.waiting]
        if going or decided.waiting - self._told:
            self._write(going, decided)
            self._notifier.notify()
            self._given()
        self._seen_writes, self._look_at = -1 if going else writes, monotonic + _LOOK_S
        return bool(going)

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

    def _decide(self, keyed: Sequence[Keyed]) -> _Decided:
        decided = _Decided()
        waiting: dict[int, Keyed] = {}
        shared = {one.key for one in keyed if one.key is not None and one.step.spec.reference}
        makers: Mapping[str, int] = {}
        if shared:
            with self._database.read() as connection:
                makers = under_way(connection, shared)
        for one in keyed:
            if one.key is None:
                decided.refused[one.task] = f"{one.why}"
            elif one.step.delivers(one.params):
                decided.refused[one.task] = DELIVERED
            elif one.key in makers:
                decided.waiting.add(one.task)
            else:
                waiting[one.task] = one
        tried: dict[str, int | None] = {}
        for _ in range(_TRIES):
            keys = {one.key: tried.get(one.key) for one in waiting.values() if one.key is not None}
            if not keys:
                break
            with self._database.read() as connection:
                found = stored.newest_with_keys(connection, keys)
                earlier = stored.earlier_tasks(connection, set(found.values()))
            pairs = [(one, earlier[found[one.key]]) for one in waiting.values() if one.key in found]
            self._take(pairs, decided)
            tried |= found
            waiting = {one.task: one for one, _ in pairs if one.task not in decided.taken}
        self._choose_makers(keyed, shared, decided)
        return decided

    def _choose_makers(self, keyed: Sequence[Keyed], shared: Collection[str], decided: _Decided) -> None:
        """Of those that would make the same reference data the first does, and the others wait for it."""
        for one in keyed:
            if one.key is None or one.key not in shared or one.task in decided.taken:
                continue
            if decided.refused.get(one.task) == DELIVERED or one.task in decided.waiting:
                continue
            if decided.makers.setdefault(one.key, one.task) != one.task:
                decided.waiting.add(one.task)

    def _take(self, pairs: Sequence[tuple[Keyed, stored.Earlier]], decided: _Decided) -> None:
        """Takes what can be: results, and at the site the outputs."""
        with_outputs: list[tuple[Keyed, stored.Earlier, Wanted]] = []
        for one, earlier in pairs:
            files = json.loads(earlier.files or "[]")
            if not files:
                decided.taken[one.task] = earlier
            elif any("sha256" not in file for file in files):
                decided.refused[one.task] = _refusal(one.step, earlier, "have no checksums")
            else:
                source = self._site.output_folder(earlier.run_id, earlier.id % TASKS_PER_RUN)
                target = self._site.output_folder(one.step.row.run_id, one.step.row.index(one.task))
                with_outputs.append((one, earlier, Wanted(source, target, files)))
        answers = take(self._site, [wanted for _, _, wanted in with_outputs], self._ending)
        for (one, earlier, _), why in zip(with_outputs, answers, strict=True):
            if why is None:
                decided.taken[one.task] = earlier
            else:
                decided.refused[one.task] = _refusal(one.step, earlier, f"are not as it left them: {why}")

    # --- writing ------------------------------------------------------------

    def _write(self, keyed: Sequence[Keyed], decided: _Decided) -> None:
        now = self._clock.now()
        with self._lease.write() as connection:
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
            note_waiting(connection, decided.waiting - self._told)
            stored.keep_sums(connection, self._sums.new())
        self._told = (self._told | decided.waiting) - start.keys()
        _log.info("looked_up", site=self._site.name, taken=len(moves), start=len(start))

    def _check_lists(self, connection: sa.Connection, those: Sequence[Keyed], decided: _Decided) -> None:
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


def _refusal(step: Step, earlier: stored.Earlier, what: str) -> str:
    if step.spec.reference:
        return f"the site had this reference data, but its files {what}"
    task = public_task_id(earlier.run_id, earlier.id % TASKS_PER_RUN)
    return f"task {task} has the same key, but its outputs {what}"


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
