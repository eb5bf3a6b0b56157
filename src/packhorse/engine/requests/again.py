"""A retry asked for by a user: a new run of what failed, was canceled, or waited for those.

The old run keeps its history.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.states import FAILED, TaskState
from packhorse.domain.text import kept_json
from packhorse.engine.requests.accept import Accepted, Edge
from packhorse.engine.spec import RunSpec
from packhorse.store.runs import NewTask
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.tasks import edges_into, ids_in_states, tasks_with_files

AGAIN = (*sorted(FAILED), TaskState.CANCELED)


def accept_retry(connection: sa.Connection, run_seq: int, old: RunSpec, app: str, run_id: str) -> Accepted:
    """The run that tries again what did not complete in ``run_seq``. Refused when everything completed."""
    chosen = list(ids_in_states(connection, run_seq, AGAIN))
    if not chosen:
        raise InvalidRequest(f"Run {old.run_id} has no task that failed or was canceled, so there is nothing to retry.")
    chosen = _with_dependents(connection, run_seq, chosen)
    new_index = {task: index for index, task in enumerate(chosen)}
    edges: list[Edge] = []
    waiting: dict[int, int] = {}
    for upstream, downstream, accept_failure in edges_into(connection, chosen):
        if upstream in new_index:
            edges.append((new_index[upstream], new_index[downstream], accept_failure))
            waiting[downstream] = waiting.get(downstream, 0) + 1
        else:  # complete already: only read
            edges.append((-upstream - 1, new_index[downstream], accept_failure))
    spec = replace(old, run_id=run_id)
    tasks = []
    for row in tasks_with_files(connection, chosen):
        params = row.params if row.role != "task" else _moved(row.params, old.run_id, run_id, run_seq, new_index)
        needs = spec.data_of(row.role, json.loads(params)) if spec.has_data else ()
        tasks.append(NewTask(row.role, params, row.name, waiting.get(row.id, 0), needs))
    return Accepted(spec, app, tasks, edges)


def _with_dependents(connection: sa.Connection, run_seq: int, chosen: Sequence[int]) -> list[int]:
    """Adds a gathering task that completed without the failed ones: it must gather again."""
    gathering = ids_in_states(connection, run_seq, (TaskState.COMPLETE,), role="gather")
    return sorted({*chosen, *gathering})


def _moved(params: str, old_run: str, new_run: str, run_seq: int, new_index: dict[int, int]) -> str:
    """The stored document of a TES task whose upstream tasks may be retried too: then it takes their new outputs."""
    stored = json.loads(params)
    for path, (run_id, index, output) in stored["upstream"].items():
        task = run_seq * TASKS_PER_RUN + index
        if run_id == old_run and task in new_index:
            stored["upstream"][path] = (new_run, new_index[task], output)
    return kept_json(stored)
