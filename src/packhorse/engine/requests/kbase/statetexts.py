"""States of jobs as text: thousands of them are asked for again and again while a batch runs.

Most jobs of a run that are in the same state are told the same, but for their ids, their times and their results. So
the state of one is made as that of any job is (``states.job_state``), and the others' are written after its pattern.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.kbase import job_id
from packhorse.domain.states import TaskState
from packhorse.domain.text import dumps, shown_text
from packhorse.engine.requests.kbase.states import Known, job_state
from packhorse.store.schema import TASKS_PER_RUN

#: States in which jobs are told alike; what is said of a failure is its own.
_ALIKE = frozenset({TaskState.QUEUED, TaskState.INITIALIZING, TaskState.RUNNING, TaskState.COMPLETE})
_SAYING = (
    "started", "started_at", "terminated_code", "terminated_at", "error_code", "errormsg", "error", "abandoned",
)  # fmt: skip
_BEGAN_S, _ENDED_S = 1.0, 2.0  # no job is that old


@dataclass(frozen=True, slots=True)
class _Sample:
    """A task that stands for those like it."""

    id: int
    state: str
    started_at: float | None
    ended_at: float | None
    result: str | None
    attempt: int = 1
    failure: str | None = None
    reason: str | None = None


def usual_texts(
    glances: Iterable[Sequence[Any]], runs: Mapping[int, Any], undecided: Collection[int], exclude: Collection[str]
) -> dict[int, str]:
    """The JSON of the states of those jobs of which nothing special is to be said, by task.

    ``glances`` are rows of ``store.kbase.jobs.glance_at`` of jobs of which nothing was reported, and that were not
    tried again. Jobs of ``undecided`` demands wait for the decision of what they are granted. ``exclude`` has
    ``job_input``.
    """
    found: dict[int, str] = {}
    patterns: dict[tuple[Any, ...], str] = {}
    for task, state, began, ended, result, is_long, demand in glances:
        if is_long or state not in _ALIKE:
            continue
        seq, index = divmod(task, TASKS_PER_RUN)
        kind = seq, state, began is None, ended is None, result is None, demand in undecided
        pattern = patterns.get(kind)
        if pattern is None:
            times = None if began is None else _BEGAN_S, None if ended is None else _ENDED_S
            sample = _Sample(task, state, *times, None if result is None else "null")
            known = Known(sample, runs[seq], None, is_undecided=demand in undecided)
            pattern = patterns[kind] = _pattern(known, exclude)
        told = {"task": task, "index": index, "began": began, "ended": ended}
        if result is not None:
            told["output"] = shown_text(result)
        found[task] = pattern % told
    return found


def says_of_state(reported: Any) -> bool:
    """Whether what was reported of a job (a row of ``kbase_jobs``) changes its state; most rows are of its log."""
    return any(getattr(reported, name) not in (None, False) for name in _SAYING)


def _pattern(known: Known, exclude: Collection[str]) -> str:
    """The state of a sample, as what is formatted with a job's own values."""
    run = known.run
    moments = {_BEGAN_S * 1000: "%(began)d", _ENDED_S * 1000: "%(ended)d"}
    own = {
        "job_id": f'"{job_id(0, run.created_at)[:8]}%(task)016x"',
        "scheduler_id": f'"{public_task_id(run.id, 0)[:-1]}%(index)d"',
        "job_output": "%(output)s",
    }
    parts = []
    for name, value in job_state(known, {}, exclude).items():
        said = own.get(name)
        if said is None and name in ("running", "finished", "updated"):
            said = moments.get(value)
        parts.append(f'"{name}":{said or dumps(value).replace("%", "%%")}')
    return f"{{{','.join(parts)}}}"
