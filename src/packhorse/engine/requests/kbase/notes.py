"""What is noted of a job beside its states: the jobs that it has started, its provenance, and its progress."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa

from packhorse.domain.kbase import task_of
from packhorse.domain.text import kept_json
from packhorse.store.database import Database
from packhorse.store.kbase.jobs import lock_reported, report, reported_of

Notes = dict[str, Any]


def notes_of(reported: Any | None) -> Notes:
    """Those in a row of what was reported."""
    return dict(json.loads(reported.progress)) if reported is not None and reported.progress else {}


def read_notes(database: Database, task: int) -> Notes:
    """Those of one job."""
    with database.read() as connection:
        return notes_of(reported_of(connection, [task]).get(task))


def change_notes(database: Database, task: int, change: Callable[[Notes], None]) -> None:
    """Changes those of one job; others who do so wait."""
    with database.write() as connection:
        notes = notes_of(lock_reported(connection, [task])[task])
        change(notes)
        report(connection, [task], {"progress": kept_json(notes)})


def with_those_below(connection: sa.Connection, tasks: Iterable[int]) -> list[int]:
    """Jobs, and all that they have started, however far below."""
    found = dict.fromkeys(tasks)
    fresh = list(found)
    while fresh:
        notes = [notes_of(row) for row in reported_of(connection, fresh).values()]
        fresh = [task for one in notes for job in one.get("below", ()) if (task := task_of(job)) not in found]
        found.update(dict.fromkeys(fresh))
    return list(found)
