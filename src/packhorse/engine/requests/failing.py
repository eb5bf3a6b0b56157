"""Failures of a run that are alike, with a few examples of each and what these were judged by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from packhorse.domain.ids import task_id
from packhorse.domain.text import shown_json
from packhorse.report.facts import Example, FailureFacts
from packhorse.store.reports import attempts_by_key, failed_in_run, failed_tasks
from packhorse.store.schema import TASKS_PER_RUN

_EXAMPLES = 3
_MAX_GROUPS = 60


@dataclass(slots=True)
class _Alike:
    """Attempts of one step that failed with one class, exit code and signal; ``tasks``: for which it was the end."""

    attempts: int = 0
    tasks: int = 0
    examples: list[tuple[int, int]] = field(default_factory=list)


_Key = tuple[int, str, int | None, int | None]


class Failures:
    """Filled by ``add``, one attempt at a time."""

    def __init__(self) -> None:
        self._alike: dict[_Key, _Alike] = {}

    def add(self, step: int, row: Any) -> None:
        """An attempt (``store.reports.iter_attempts``) of the step with this number."""
        if row.failure is None:
            return
        alike = self._alike.setdefault((step, row.failure, row.exit_code, row.signal), _Alike())
        alike.attempts += 1
        alike.tasks += row.attempt == row.last and row.state != "QUEUED"
        if len(alike.examples) < _EXAMPLES:
            alike.examples.append((row.task_id, row.attempt))

    def facts(self, connection: sa.Connection, run: Any, step_seqs: Sequence[int]) -> list[FailureFacts]:
        """The most frequent first, then tasks that failed without having been tried; ``step_seqs`` by number."""
        ranked = sorted(self._alike.items(), key=lambda item: -item[1].attempts)[:_MAX_GROUPS]
        keys = {key for _, alike in ranked for key in alike.examples}
        rows = attempts_by_key(connection, keys)
        found = [_of_attempts(key, alike, rows, run.id) for key, alike in ranked]
        return found + self._untried(connection, run, step_seqs)

    def _untried(self, connection: sa.Connection, run: Any, step_seqs: Sequence[int]) -> list[FailureFacts]:
        tried: Counter[tuple[int, str]] = Counter()
        for (step, failure, _, _), alike in self._alike.items():
            tried[step, failure] += alike.tasks
        numbers = {seq: number for number, seq in enumerate(step_seqs)}
        found: list[FailureFacts] = []
        for row in failed_in_run(connection, run.seq):
            left = row.tasks - tried[numbers[row.step_seq], row.failure]
            if left > 0 and len(found) < _MAX_GROUPS:
                tasks = failed_tasks(connection, run.seq, row.step_seq, row.failure, min(left, _EXAMPLES))
                examples = [_of_task(task, run.id) for task in tasks]
                found.append(FailureFacts(numbers[row.step_seq], row.failure, None, None, 0, left, examples))
        return sorted(found, key=lambda one: -one.tasks)


def _of_attempts(key: _Key, alike: _Alike, rows: Mapping[tuple[int, int], Any], run_id: str) -> FailureFacts:
    step, failure, exit_code, signal = key
    examples = []
    for one in alike.examples:
        row = rows[one]
        evidence = shown_json(row.evidence) if row.evidence else {}
        message = str(evidence.get("message") or row.reason or "")
        task = task_id(run_id, row.task_id % TASKS_PER_RUN)
        examples.append(Example(task, row.name, row.attempt, row.node, row.allocation, row.ended_at, message, evidence))
    return FailureFacts(step, failure, exit_code, signal, alike.attempts, alike.tasks, examples)


def _of_task(row: Any, run_id: str) -> Example:
    task = task_id(run_id, row.id % TASKS_PER_RUN)
    return Example(task, row.name, 0, None, None, row.ended_at, row.reason or "", {})
