"""The results of tasks: what a gathering task reads, what a user exports, and how the store keeps one."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.domain.text import kept_json, shown_json, shown_name
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.cache import Steps
from packhorse.store.database import Database
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.steps import edges_into_step, load_steps
from packhorse.store.tasks import page_with_files

_PAGE = 2000


def result_document(row: Any, step: Step) -> dict[str, Any]:
    """One task's result: index, task, name, step, state, params, result, files, reason."""
    return {
        "index": step.row.index(row.id),
        "task": step.row.public_id(row.id),
        "name": row.name,
        "step": step.row.name,
        "state": row.state,
        "params": step.shown_params(row.params),
        "result": result_of(row, step),
        "files": files_of(row),
        "reason": row.reason,
    }


def result_of(row: Any, step: Step) -> Any:
    """A task's result: parsed where the manifest says that it is JSON, else text without the last line's end."""
    if row.result is None:
        return None
    return shown_json(row.result) if step.result_type == "json" else row.result.removesuffix("\n")


def files_of(row: Any) -> list[dict[str, Any]]:
    """The outputs that an attempt kept; ``quoted`` is the path as URLs have it, where ``path`` cannot say it. Their
    stamps are between the site and us.
    """
    files = json.loads(row.files or "[]")
    return [{**{name: file[name] for name in file if name != "stamp"}, **shown_name(file["path"])} for file in files]


def iter_results(
    database: Database, step_seqs: Iterable[int], states: Collection[TaskState] | None = None
) -> Iterator[dict[str, Any]]:
    """The results of the tasks of steps, in order, a page a transaction, in constant memory."""
    for row, step in _iter_rows(database, step_seqs, states):
        yield result_document(row, step)


def _iter_rows(
    database: Database, step_seqs: Iterable[int], states: Collection[TaskState] | None
) -> Iterator[tuple[Any, Step]]:
    steps = Steps()
    for seq in step_seqs:
        with database.read() as connection:
            about, step = load_steps(connection, [seq])[seq], steps.of(connection, seq)
        first = about.run_seq * TASKS_PER_RUN + about.first
        last = first + (about.tasks or 0) - 1
        while first <= last:
            with database.read() as connection:
                rows = page_with_files(connection, first, last, _PAGE, states)
            for row in rows:
                yield row, step
            if len(rows) < _PAGE:
                break
            first = rows[-1].id + 1


def runs_read(connection: sa.Connection, step: Step) -> list[str]:
    """The runs, this one or earlier ones, whose results a gathering ``step`` reads."""
    return sorted({row.run_id for row in gathered_steps(connection, step).values()})


def gathered_steps(connection: sa.Connection, step: Step) -> dict[int, Any]:
    """The steps that a ``step`` gathers, by their ``seq``; not those that it waits for because it takes an output."""
    seqs = [edge.upstream for edge in edges_into_step(connection, step.row.seq) if edge.kind == "gather"]
    about, wanted = load_steps(connection, seqs), step.spec.results_of
    return {seq: about[seq] for seq in seqs if not wanted or about[seq].name in wanted}


def write_results(database: Database, step: Step, path: Path, folder_of: Callable[[str, int], str]) -> None:
    """Writes the results of all tasks that a ``step`` gathers, one JSON object a line. ``folder_of`` a run's task, by
    its index, its outputs are.

    Of an earlier run, those that completed: the others were tried again.
    """
    with database.read() as connection:
        about = gathered_steps(connection, step)
    with path.open("w", encoding="utf-8") as file:
        for seq, gathered in about.items():
            states = None if gathered.run_seq == step.row.run_seq else (TaskState.COMPLETE,)
            for row, of in _iter_rows(database, [seq], states):
                index, paths = of.row.index(row.id), [one["path"] for one in json.loads(row.files or "[]")]
                folder = folder_of(of.row.run_id, index)
                outputs = {name: _below(folder, kept) for name, kept in of.kept(index, row.params, paths).items()}
                document = {**result_document(row, of), "outputs": outputs}
                file.write(kept_json(document) + "\n")


def _below(folder: str, kept: str | list[str]) -> str | list[str]:
    return f"{folder}/{kept}" if isinstance(kept, str) else [f"{folder}/{one}" for one in kept]
