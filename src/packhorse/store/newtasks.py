"""Tasks on their way in: written in pieces, many in a statement, whatever runs and steps they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.store.bulk import Bulk
from packhorse.store.data import DataKey, Link, add_data_edges, edges_for, link_data
from packhorse.store.demands import Delta, DemandKey, Owned, add_ready, demand_seqs
from packhorse.store.listing import tag_rows
from packhorse.store.schema import TASKS_PER_RUN, events, task_tags, tasks
from packhorse.store.steps import add_counts

INSERT_CHUNK = 5000  # tasks of a run that is written in one transaction
_BATCH = 2000  # of one that is written in several: others wait for no more

_INSERT_TASK = Bulk(
    sa.insert(tasks),
    ("id", "step_seq", "demand_seq", "name", "state", "params", "waiting_on", "attempt", "not_before", "cache_key",
     "owner"),
)  # fmt: skip
_INSERT_EVENT = Bulk(sa.insert(events), ("task_id", "at", "attempt", "to_state"))
_INSERT_TAG = sa.insert(task_tags)


@dataclass(frozen=True, slots=True)
class NewTask:
    """One task to insert. ``params`` is JSON text; ``waiting_on`` the number of upstream tasks and steps that have not
    ended yet; ``data`` is what else it waits for.
    """

    params: str
    demand: DemandKey
    name: str | None = None
    waiting_on: int = 0
    data: tuple[DataKey, ...] = ()
    tags: Mapping[str, str] | None = None
    """Of a task that is listed by TES: the tags that it is found by; None: it is not listed."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Tasks of one step that are inserted together, from index ``first`` of the run on."""

    run_seq: int
    step_seq: int
    first: int
    tasks: Sequence[NewTask]
    user: str
    site: str
    at: float
    reuse: bool = False
    """They wait to be looked up as well."""


def add_pieces(connection: sa.Connection, pieces: Sequence[Piece]) -> None:
    """Tasks of steps that others may know already."""
    ready = insert_pieces(connection, pieces)
    counts: Counter[tuple[int, int, TaskState]] = Counter()
    for piece in pieces:
        counts[piece.run_seq, piece.step_seq, TaskState.QUEUED] += len(piece.tasks)
    add_counts(connection, counts)
    add_ready(connection, ready)


def insert_pieces(connection: sa.Connection, pieces: Sequence[Piece]) -> Delta:
    """Inserts tasks with what they need and their first event; returns how many are ready, which is still to be
    counted.
    """
    links: dict[str, dict[DataKey, Link]] = {}
    seqs: dict[str, dict[Owned, int]] = {}
    for site in sorted({piece.site for piece in pieces}):
        here = [piece for piece in pieces if piece.site == site]
        needed = {key for piece in here for task in piece.tasks for key in task.data}
        links[site] = link_data(connection, site, needed) if needed else {}
        seqs[site] = demand_seqs(connection, site, {(one.user, task.demand) for one in here for task in one.tasks})
    rows: list[tuple[Any, ...]] = []
    tags: list[dict[str, int]] = []
    told: list[tuple[Any, ...]] = []
    data_rows: list[dict[str, Any]] = []
    ready: Delta = Counter()
    queued = TaskState.QUEUED.value
    for piece in pieces:
        begin, step, user, at = piece.run_seq * TASKS_PER_RUN + piece.first, piece.step_seq, piece.user, piece.at
        of_site, links_here, cache_key = seqs[piece.site], links[piece.site], "" if piece.reuse else None
        for index, task in enumerate(piece.tasks, start=begin):
            waiting_on = task.waiting_on + piece.reuse
            if task.data:
                waiting_on += sum(links_here[key].sha256 is None for key in set(task.data))
            demand = of_site[user, task.demand]
            owner = None
            if task.tags is not None:
                owner = user
                tags += tag_rows(index, user, task.tags)
            rows.append((index, step, demand, task.name, queued, task.params, waiting_on, 0, 0.0, cache_key, owner))
            told.append((index, at, 0, queued))
            if not waiting_on:
                ready[step, demand] += 1
        if links_here:
            data_rows += edges_for(begin, ((index, task.data) for index, task in enumerate(piece.tasks)), links_here)
    _INSERT_TASK.execute(connection, rows)
    if tags:
        connection.execute(_INSERT_TAG, tags)
    _INSERT_EVENT.execute(connection, told)
    add_data_edges(connection, data_rows)
    return ready


def batches(new_tasks: Iterable[NewTask]) -> Iterator[Sequence[NewTask]]:
    """Pieces of what is inserted."""
    remaining = iter(new_tasks)
    while some := list(islice(remaining, _BATCH)):
        yield some
