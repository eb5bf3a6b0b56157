"""What journal records do to the store: gathered in memory for one transaction, then written with a few bulk
statements.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from packhorse.domain.failures import TERMINAL_STATE, FailureClass
from packhorse.domain.resources import Resources
from packhorse.domain.states import AT_SITE, TaskState
from packhorse.domain.text import kept_json
from packhorse.engine.collecting.executors import kept_executors
from packhorse.engine.collecting.journal import Record
from packhorse.engine.collecting.records import Recorder, Records
from packhorse.engine.collecting.results import judged, stored_result
from packhorse.engine.collecting.verdict import Failure, judge
from packhorse.engine.data.deliveries import of_outputs
from packhorse.engine.retry import GOES_ON, RetryDecision
from packhorse.engine.sizing.retrying import Retrying
from packhorse.engine.steps.base import Step, demand_key
from packhorse.engine.steps.cache import Asked, Steps
from packhorse.engine.steps.growth import Growth
from packhorse.estimate.durations import Durations
from packhorse.sites.site import Site
from packhorse.store.allocations import Node
from packhorse.store.deliveries import hold_for_delivery
from packhorse.store.demands import demand_seqs
from packhorse.store.moves import Current, Move, apply_moves, lock_tasks
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.shares import Share, add_shares
from packhorse.store.tasks import add_attempts, add_log_chunks, failures_of, get_task

S = TaskState
Row = dict[str, Any]

_LONGEST_S = 1e9  # whatever a damaged record says


@dataclass(frozen=True, slots=True)
class _Alike:
    """Tasks of one step that were granted the same. ``is_json``: their results are; ``columns`` are those that the rows
    of their attempts share.
    """

    step: Step
    asked: Asked
    granted: Resources
    is_json: bool
    columns: Row


class Effects:
    """The effects of records about ``task_ids`` that came from one allocation (None: from the engine itself)."""

    def __init__(
        self,
        connection: sa.Connection,
        task_ids: set[int],
        *,
        steps: Steps,
        durations: Durations,
        site: Site,
        retrying: Retrying,
        allocation_seq: int,
        journal_id: int | None,
        node: Node,
        recorder: Recorder,
    ) -> None:
        self._connection = connection
        self._steps = steps
        self._growth = Growth(steps, site)
        self._durations = durations
        self._retrying = retrying
        self._site = site
        self._allocation_seq = allocation_seq
        self._journal_id = journal_id
        self._node = node.name
        self._records = Records(recorder, node)
        self._current = lock_tasks(connection, task_ids)
        self._alike: dict[tuple[int, int], _Alike] = {}  # by step and demand
        self._started: set[int] = set()
        self._over: set[int] = set()
        self._moves: list[Move] = []
        self._attempts: list[dict[str, Any]] = []
        self._chunks: list[tuple[Any, ...]] = []
        self._shares: defaultdict[int, Share] = defaultdict(Share)
        self._held: dict[int, Row] = {}  # tasks that ended well, and have outputs to deliver
        self._outputs_to_deliver: list[Row] = []
        self.bad_records = 0

    def add(self, record: Record, now: float) -> None:
        """One record of a journal.

        One that is JSON but makes no sense is counted and skipped, like a line that is no JSON.
        """
        try:
            match record["k"]:
                case "end":
                    self.end(record, now)
                case "start":
                    self.start(record)
                case "log":
                    self.log(record)
                case "back":
                    self.back(record, now)
        except (KeyError, TypeError, ValueError):
            self.bad_records += 1

    def start(self, record: Record) -> None:
        """An agent started a task."""
        row = self._row(record["id"], record["n"])
        if row is not None and row.state is S.INITIALIZING and record["id"] not in self._started:
            self._started.add(record["id"])
            at = float(record["t0"])
            self._moves.append(Move(record["id"], S.RUNNING, at, None, {"started_at": at}))

    def log(self, record: Record) -> None:
        """A running task wrote something."""
        if self._row(record["id"], record["n"]) is not None:
            self._chunk(record["id"], record["n"], record["s"], record["o"], record["l"])

    def back(self, record: Record, now: float) -> None:
        """An agent gives tasks back that it never started: to the queue, with the attempt that did not happen taken
        off.
        """
        for task, attempt in record["tasks"]:
            if self._row(task, attempt) is not None:
                self.give_back(task, f"An agent gave it back unstarted ({record.get('why', '')}).", now)

    def give_back(self, task: int, why: str, now: float) -> None:
        """A task that never started returns to the queue, or ends if its cancel is under way."""
        row = self._current[task]
        self._over.add(task)
        if row.state is S.CANCELING:
            self._moves.append(
                Move(task, S.CANCELED, now, "It had not started.", {"failure": FailureClass.CANCELED, "ended_at": now})
            )
        else:
            home = {"allocation_seq": None, "block": None, "attempt": row.attempt - 1, "reason": why}
            self._moves.append(Move(task, S.QUEUED, now, why, home))

    def end(self, record: Record, now: float) -> None:
        """A task ended, one way or another."""
        task, attempt = record["id"], record["n"]
        row = self._row(task, attempt)
        if row is None:
            return
        alike = self._of(row)
        step, asked, granted = alike.step, alike.asked, alike.granted
        record = step.verdict(judged(record, alike.is_json))
        if step.spec.leaves_list and not record.get("why") and record.get("exit") == 0:
            why = self._growth.problem(self._connection, step, record.get("result"))
            record = record if why is None else {**record, "why": "result", "msg": why, "result": None}
        began, ended = float(record.get("t0") or now), float(record.get("t1") or now)
        failure = judge(record, granted, self._node)
        tried = self._attempt(task, row, record, alike, failure, began, ended)
        self._over.add(task)
        self._keep(tried, granted, step)
        for stream, start, length in record.get("log") or ():
            self._chunk(task, attempt, stream, start, length)
        if row.state is S.INITIALIZING and task not in self._started:
            self._moves.append(Move(task, S.RUNNING, began, None, {"started_at": began}))
        if failure is None:
            self._durations.observe(asked.label, (tried["wall_s"] or 0.0) * granted.cpu_cores)
        self._settle(task, row, alike, failure, tried, record.get("result"), now)

    def lost(self, task: int, failure: Failure, now: float, ended_at: float | None = None) -> None:
        """The engine itself ends the current attempt: no agent will report on it.

        Its cores were held until ``ended_at``.
        """
        row = self._current.get(task)
        if row is None or row.state not in AT_SITE or row.allocation_seq != self._allocation_seq:
            return
        alike = self._of(row)
        step, granted = alike.step, alike.granted
        self._over.add(task)
        began = None if row.state is S.INITIALIZING else row.started_at
        held_s = (
            None
            if began is None
            else min(max(0.0, (now if ended_at is None else ended_at) - began), granted.walltime_s or _LONGEST_S)
        )
        tried = self._attempt(task, row, {"wall": held_s}, alike, failure, began, now)
        self._keep(tried, granted, step)
        if row.state is S.INITIALIZING and TERMINAL_STATE[failure.failure] is not S.SYSTEM_ERROR:
            self._moves.append(Move(task, S.RUNNING, now))
        self._settle(task, row, alike, failure, tried, None, now)

    def write(self) -> int:
        """Writes it all; returns the number of transitions."""
        add_log_chunks(self._connection, self._chunks)
        add_attempts(self._connection, self._attempts)
        add_shares(self._connection, self._allocation_seq, self._shares)
        self._records.write(self._connection)
        moved = apply_moves(self._connection, self._moves, self._current, self._growth.grow)
        if self._held:
            hold_for_delivery(self._connection, self._site.name, self._held, self._outputs_to_deliver)
        return moved

    def _row(self, task: int, attempt: int) -> Current | None:
        """The task's row if the record speaks of its current attempt here; a record that comes late or twice has
        none.
        """
        row = self._current.get(task)
        if (
            row is None
            or task in self._over
            or row.attempt != attempt
            or row.allocation_seq != self._allocation_seq
            or row.state not in AT_SITE
        ):
            return None
        return row

    def _settle(
        self,
        task: int,
        row: Current,
        alike: _Alike,
        failure: Failure | None,
        tried: Row,
        result: Any,
        now: float,
    ) -> None:
        """Decides where the task goes: to its terminal state, or back to the queue for another attempt."""
        step, asked = alike.step, alike.asked
        at = tried["ended_at"]
        end = {"ended_at": at, "exit_code": tried["exit_code"]}
        if row.state is S.CANCELING:
            how = "It was ended." if failure else "It had finished when the cancel arrived; its result is not kept."
            self._moves.append(
                Move(task, S.CANCELED, at, how, {**end, "failure": FailureClass.CANCELED, "reason": how})
            )
            return
        if failure is None:
            done = {**end, "result": stored_result(result, alike.is_json), "failure": None, "reason": None}
            if step.may_deliver and (outputs := self._outputs(task, row, step, tried)):
                self._outputs_to_deliver += outputs
                self._held[task] = {
                    **done,
                    "ended_at": None,
                    "reason": f"It has finished; {len(outputs)} of its outputs are delivered.",
                }
                return
            self._moves.append(Move(task, S.COMPLETE, at, None, done))
            return
        granted = asked.resources
        if step.is_resumable and failure.evidence.progress and failure.failure in GOES_ON:
            decision = RetryDecision(True, "it got on, so that it goes on where it stopped")
        else:
            raised, earlier = self._retrying.raised(
                self._connection, step, task, row.attempt, failure.failure, granted, self._failures_before(task, row)
            )
            decision = step.retry_policy.decide(failure.failure, earlier, raised)
        why = f"{failure.evidence.message} {decision.why[0].upper()}{decision.why[1:]}."
        if not decision.again:
            final = {**end, "failure": failure.failure, "reason": failure.evidence.message}
            final |= (
                {} if result is None else {"result": stored_result(result, alike.is_json)}
            )  # what it says of its failure
            self._moves.append(Move(task, TERMINAL_STATE[failure.failure], at, why, final))
            return
        overrides = {**json.loads(row.overrides or "{}"), **(decision.overrides or {})}
        home = {
            "allocation_seq": None,
            "block": None,
            "not_before": now + decision.delay_s,
            "failure": failure.failure,
            "reason": why,
            "overrides": kept_json(overrides) if overrides else None,
            "started_at": None,
        }
        if decision.overrides:
            home["demand_seq"] = self._demand(step, asked, granted.override(decision.overrides))
        self._moves.append(Move(task, S.QUEUED, at, why, home))

    def _demand(self, step: Step, asked: Asked, raised: Resources) -> int:
        """The demand of a task that asks for more than before."""
        mine = (step.row.user, demand_key(asked.label, asked.image, raised, sized=True))
        return demand_seqs(self._connection, step.row.site, [mine])[mine]

    def _outputs(self, task: int, row: Current, step: Step, tried: Row) -> list[Row]:
        """What a task that ended well has to deliver before it is complete."""
        files = json.loads(tried["files"]) if tried["files"] else []
        stored = get_task(self._connection, task) if files else None
        if stored is None:
            return []
        index = step.row.index(task)
        urls = step.output_urls(stored.params, index, files)
        return of_outputs(urls, self._site.output_folder(step.row.run_id, index), task, row.attempt)

    def _of(self, row: Current) -> _Alike:
        """The step of a task, and what it was granted."""
        found = self._alike.get((row.step_seq, row.demand_seq))
        if found is None:
            step = self._steps.of(self._connection, row.step_seq)
            asked = self._steps.asked(self._connection, row.demand_seq)
            granted = asked.resources
            columns = {
                "allocation_seq": self._allocation_seq,
                "journal_id": self._journal_id,
                "cores": granted.cpu_cores,
                "memory_mb": granted.memory_mb,
                "walltime_s": granted.walltime_s,
                "image": self._image(step, asked),
            }
            found = _Alike(step, asked, granted, step.result_type == "json", columns)
            self._alike[row.step_seq, row.demand_seq] = found
        return found

    def _failures_before(self, task: int, row: Current) -> list[Any]:
        """The earlier failed attempts, those that made progress left out: what gets on may go on."""
        rows = failures_of(self._connection, task) if row.attempt > 1 else ()
        return [earlier for earlier in rows if not progress_in(earlier.evidence)]

    def _attempt(
        self,
        task: int,
        row: Current,
        record: Record,
        alike: _Alike,
        failure: Failure | None,
        began: float | None,
        ended: float,
    ) -> Row:
        """The row of the attempts table; raises TypeError or ValueError where the record has something else than a
        number.
        """
        files = record.get("files")
        return {
            **alike.columns,
            "task_id": task,
            "attempt": row.attempt,
            "failure": failure.failure if failure else None,
            "exit_code": _int(record.get("exit")),
            "signal": _int(record.get("sig")),
            "started_at": began,
            "ended_at": ended,
            "wall_s": _float(record.get("wall")),
            "cpu_s": _float(record.get("cpu")),
            "peak_memory": _int(record.get("peak")),
            "read_bytes": _int(record.get("rd")),
            "write_bytes": _int(record.get("wr")),
            "evidence": kept_json(failure.evidence.as_dict()) if failure else None,
            "files": kept_json(files) if files else None,
            "steps": kept_executors(record),
        }

    def _image(self, step: Step, asked: Asked) -> str | None:
        """Digest of the image that tasks ran in, the first of several."""
        if asked.image is None:
            return None
        image = self._steps.images_of(self._connection, step.row.run_seq).get(asked.image)
        return None if image is None else image.digest

    def _keep(self, tried: Row, granted: Resources, step: Step) -> None:
        """The attempt, what its run thereby was granted of the allocation, and what is remembered of it."""
        self._attempts.append(tried)
        self._records.add(step, tried, granted)
        core_s = granted.nodes * granted.cpu_cores * _sane(tried["wall_s"])
        self._shares[tried["task_id"] // TASKS_PER_RUN].add(tried, core_s, _sane(tried["cpu_s"]))

    def _chunk(self, task: int, attempt: int, stream: str, start: int, length: int) -> None:
        if length > 0 and stream in ("out", "err") and self._journal_id is not None:
            self._chunks.append((task, attempt, stream, start, length, self._journal_id))


def progress_in(evidence: str | None) -> int:
    """How often the log of a failed attempt said that work was done."""
    return int(json.loads(evidence).get("progress") or 0) if evidence else 0


def _int(value: Any) -> int | None:
    return None if value is None else int(value)


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _sane(seconds: float | None) -> float:
    """Of a record that is nonsense no sum may become so (NaN compares false)."""
    return max(0.0, min(seconds or 0.0, _LONGEST_S))
