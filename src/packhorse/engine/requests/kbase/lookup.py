"""Reads jobs: by their ids, by workspace, by the time when they were made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from packhorse.domain.errors import InvalidRequest, TooLarge
from packhorse.domain.kbase import job_id, not_found, not_readable, task_of
from packhorse.domain.states import TaskState
from packhorse.domain.text import dumps
from packhorse.engine.requests.estimating import Estimating
from packhorse.engine.requests.kbase.access import Access, is_its_id
from packhorse.engine.requests.kbase.states import Known, State, batch_state, is_fresh, job_state
from packhorse.engine.requests.kbase.statetexts import says_of_state, usual_texts
from packhorse.engine.steps.cache import Steps
from packhorse.store.database import Database
from packhorse.store.kbase.jobs import glance_at, load_jobs, reported_of, spans_of
from packhorse.store.kbase.runs import (
    BATCH_INDEX,
    abandoned_in,
    retries_in_batches,
    retries_of,
    runs_by_seq,
    runs_of_workspace,
    sizes_of,
)
from packhorse.store.runs import counts_of
from packhorse.store.schema import TASKS_PER_RUN

MAX_IDS = 100_000
MAX_WORKSPACE_RUNS = 20_000  # the newest

#: What a state is made of, besides its task: these cost a column or a statement more.
_INPUT, _OUTPUT = "job_input", "job_output"


@dataclass(frozen=True, slots=True)
class _Asked:
    """Jobs that somebody asked for by id, in their order: the tasks of those that there are, and which may be told."""

    ids: Sequence[str]
    known: Mapping[str, int]
    readable: Collection[int]
    runs: Mapping[int, Any]

    def why_not(self, job: str) -> State:
        """What is told in place of a job's state."""
        why = f"No read permissions for {job}" if job in self.known else not_found(job).message
        return {"failure": why, "check_job_error": True}


class Lookup:
    """Jobs of the store as clients see them."""

    def __init__(self, database: Database, steps: Steps, estimating: Estimating) -> None:
        self._database = database
        self._steps = steps
        self._estimating = estimating

    def by_id(
        self, ids: Sequence[Any], access: Access, exclude: Collection[str], *, as_admin: bool
    ) -> dict[str, State]:
        """The state of each job, by id, in the order of ``ids``; or why it is not told."""
        asked = self._asked(ids, access, as_admin=as_admin)
        states = self.states(asked.readable, asked.runs, exclude)
        return {one: states.get(asked.known.get(one, -1)) or asked.why_not(one) for one in asked.ids}

    def texts_by_id(
        self, ids: Sequence[Any], access: Access, exclude: Collection[str], *, as_admin: bool
    ) -> dict[str, str]:
        """The same as JSON, each state by itself: for answers that have thousands."""
        asked = self._asked(ids, access, as_admin=as_admin)
        texts = self._texts(asked.readable, asked.runs, exclude)
        return {one: texts.get(asked.known.get(one, -1)) or dumps(asked.why_not(one)) for one in asked.ids}

    def _asked(self, ids: Sequence[Any], access: Access, *, as_admin: bool) -> _Asked:
        if len(ids) > MAX_IDS:
            raise TooLarge(f"{len(ids):,} jobs are asked for at once; the limit is {MAX_IDS:,}.")
        tasks = {str(one): task_of(one) for one in ids}
        with self._database.read() as connection:
            runs = runs_by_seq(connection, {task // TASKS_PER_RUN for task in tasks.values()})
        known = {one: task for one, task in tasks.items() if _is_of(one, runs.get(task // TASKS_PER_RUN))}
        readable = access.readable(runs.values(), as_admin=as_admin)  # may ask a service: no transaction waits for it
        return _Asked(list(tasks), known, {task for task in known.values() if task // TASKS_PER_RUN in readable}, runs)

    def of_workspace(self, wsid: int, access: Access, exclude: Collection[str], *, as_admin: bool) -> dict[str, State]:
        """The states of the jobs in a workspace, oldest first, with the jobs that stand for batches."""
        if as_admin:
            access.require_admin()
        sees_all = as_admin or access.may_read_workspace(wsid)
        if not sees_all and access.has_workspaces:
            raise not_readable(access.caller.name, wsid)
        with self._database.read() as connection:
            found = runs_of_workspace(connection, wsid, MAX_WORKSPACE_RUNS)
            runs = {row.run_seq: row for row in reversed(found) if sees_all or row.user == access.caller.name}
            numbers = sizes_of(connection, runs)
        states = self.states(all_of(runs, numbers), runs, exclude)
        return {job_id(task, runs[task // TASKS_PER_RUN].created_at): states[task] for task in sorted(states)}

    def states(self, ids: Collection[int], runs: Mapping[int, Any], exclude: Collection[str]) -> dict[int, State]:
        """The states of jobs, by task, of ``runs`` by ``seq``."""
        batches = {task for task in ids if task % TASKS_PER_RUN == BATCH_INDEX}
        jobs = set(ids) - batches
        left_out = frozenset(exclude)
        with self._database.read() as connection:
            reported = reported_of(connection, jobs) | reported_of(connection, batches)
            retries = retries_of(connection, *spans_of(jobs))
            wanted = {"params": _INPUT not in left_out, "result": _OUTPUT not in left_out}
            rows = list(load_jobs(connection, jobs, **wanted))
            asked = {row.step_seq for row in rows} if wanted["params"] else set()
            common = {seq: step.spec.params for seq, step in self._steps.many(connection, asked).items()}
            undecided = self._estimating.undecided(connection, {row.demand_seq for row in rows if is_fresh(row)})
            found: dict[int, State] = {}
            for row in rows:
                run, waits = runs[row.id // TASKS_PER_RUN], row.demand_seq in undecided and is_fresh(row)
                known = Known(row, run, reported.get(row.id), retries.get(row.id, ()), waits)
                found[row.id] = job_state(known, common.get(row.step_seq, {}), left_out)
            if batches:
                found |= self._batches(connection, batches, runs, reported, left_out)
        return found

    def _texts(self, ids: Collection[int], runs: Mapping[int, Any], exclude: Collection[str]) -> dict[int, str]:
        """``states`` as JSON."""
        left_out, found = frozenset(exclude), dict[int, str]()
        if _INPUT in left_out:
            jobs = {task for task in ids if task % TASKS_PER_RUN != BATCH_INDEX}
            with self._database.read() as connection:
                special = {task for task, row in reported_of(connection, jobs).items() if says_of_state(row)}
                special |= retries_of(connection, *spans_of(jobs)).keys()
                glances = list(glance_at(connection, jobs - special, result=_OUTPUT not in left_out))
                undecided = self._estimating.undecided(connection, {row[-1] for row in glances} - {None})
                found = usual_texts(glances, runs, undecided, left_out)
        rest = self.states([task for task in ids if task not in found], runs, exclude)
        return found | {task: dumps(state) for task, state in rest.items()}

    def _batches(
        self, connection: sa.Connection, ids: Collection[int], runs: Mapping[int, Any], reported: Mapping[int, Any],
        exclude: Collection[str],
    ) -> dict[int, State]:  # fmt: skip
        seqs = {task // TASKS_PER_RUN: task for task in ids if runs[task // TASKS_PER_RUN].batch}
        numbers, retried = sizes_of(connection, seqs), retries_in_batches(connection, seqs)
        counts = counts_of(connection, [*seqs, *(row.run_seq for rows in retried.values() for row in rows)])
        found = {}
        for seq, task in seqs.items():
            more = retried.get(seq, [])
            total: Counter[TaskState] = Counter(counts[seq])
            for row in more:
                total.update(counts[row.run_seq])
            gone = abandoned_in(connection, seq)
            children = [
                job_id(one, at) for one, at in children_of(runs[seq], numbers.get(seq, 0), more) if one not in gone
            ]
            found[task] = batch_state(runs[seq], children, total, reported.get(task), exclude)
        return found

    def children(self, connection: sa.Connection, run: Any) -> list[int]:
        """The tasks that are jobs of a batch now, its retries included."""
        more = retries_in_batches(connection, [run.run_seq]).get(run.run_seq, [])
        number = sizes_of(connection, [run.run_seq]).get(run.run_seq, 0)
        gone = abandoned_in(connection, run.run_seq)
        return [task for task, _ in children_of(run, number, more) if task not in gone]


def children_of(run: Any, number: int, retries: Iterable[Any]) -> list[tuple[int, float]]:
    """(task, when its run was made) of the jobs of a batch, in the order of its request, then those of retries."""
    first = run.run_seq * TASKS_PER_RUN
    order = json.loads(run.meta).get("order") or range(number)
    own = [(first + index, run.created_at) for index in order]
    return own + [(row.run_seq * TASKS_PER_RUN, row.created_at) for row in retries]


def all_of(runs: Mapping[int, Any], numbers: Mapping[int, int]) -> set[int]:
    """The jobs of runs, those that stand for batches included."""
    found: set[int] = set()
    for seq, row in runs.items():
        first = seq * TASKS_PER_RUN
        found.update(range(first, first + numbers.get(seq, 0)))
        if row.batch:
            found.add(first + BATCH_INDEX)
    return found


def _is_of(job: str, run: Any | None) -> bool:
    return run is not None and is_its_id(job, run)


def exclude_of(value: Any) -> list[str]:
    """``exclude_fields`` of a request."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value) or len(value) > 100:
        raise InvalidRequest("'exclude_fields' must be a list of names of fields")
    return [name for name in value if name != "job_id"]
