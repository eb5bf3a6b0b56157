"""The results of tasks as JSON lines: what a gathering task reads, and what a user exports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.text import dumps
from packhorse.engine.requests.documents import files_of, params_of, result_of
from packhorse.engine.spec import RunSpec
from packhorse.store.database import Database
from packhorse.store.runs import spec_of_run
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.tasks import tasks_with_files, upstream_of

_PAGE = 2000


def result_document(row: Any, spec: RunSpec) -> dict[str, Any]:
    """One task's result: index, task, name, state, params, result, files, reason."""
    index = row.id % TASKS_PER_RUN
    return {
        "index": index,
        "task": public_task_id(spec.run_id, index),
        "name": row.name,
        "state": row.state,
        "params": params_of(row, spec),
        "result": result_of(row, spec),
        "files": files_of(row),
        "reason": row.reason,
    }


def iter_results(database: Database, ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The results of tasks in the order of their ids, a page a transaction."""
    specs: dict[int, RunSpec] = {}
    for start in range(0, len(ids), _PAGE):
        with database.read() as connection:
            rows = list(tasks_with_files(connection, ids[start : start + _PAGE]))
            for run_seq in {row.id // TASKS_PER_RUN for row in rows} - set(specs):
                specs[run_seq] = RunSpec.from_json(spec_of_run(connection, run_seq))
        for row in rows:
            yield result_document(row, specs[row.id // TASKS_PER_RUN])


def write_results(database: Database, gather_task: int, path: Path) -> None:
    """Writes the results of all tasks that ``gather_task`` waited for, one JSON object a line."""
    with database.read() as connection:
        ids = upstream_of(connection, gather_task)
    with path.open("w", encoding="utf-8") as file:
        for document in iter_results(database, ids):
            file.write(dumps(document) + "\n")
