"""The steps of runs, the edges between them, and the apps that they run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.store.chunks import chunks
from packhorse.store.schema import apps, runs, step_counts, step_edges, steps
from packhorse.store.upserts import insert_missing, insert_or_add


@dataclass(frozen=True, slots=True)
class StepEdge:
    """An edge from ``upstream`` to ``downstream``: numbers of steps of a new run, or, negated, the ``seq`` of a step
    of an earlier one, of which only what has completed is read.
    """

    upstream: int
    downstream: int
    kind: str
    accept_failure: bool = False


_COLUMNS = (
    steps,
    runs.c.id.label("run_id"),
    runs.c.user,
    runs.c.priority,
    runs.c.created_at,
)


_SEQS: sa.BindParameter[Any] = sa.bindparam("seqs", expanding=True)
_BY_SEQ = sa.select(*_COLUMNS).join(runs, runs.c.seq == steps.c.run_seq).where(steps.c.seq.in_(_SEQS))
_EDGES_OUT = (
    sa.select(step_edges)
    .where(step_edges.c.upstream.in_(_SEQS))
    .order_by(step_edges.c.upstream, step_edges.c.downstream)
)
_INSERT_COUNT = sa.insert(step_counts)


def load_steps(connection: sa.Connection, seqs: Collection[int]) -> dict[int, Any]:
    """Steps with their run's id, user and priority, by ``seq``."""
    found: dict[int, Any] = {}
    for some in chunks(seqs):
        found |= {row.seq: row for row in connection.execute(_BY_SEQ, {"seqs": some})}
    return found


def steps_of_run(connection: sa.Connection, run_seq: int) -> Sequence[Any]:
    """The steps of a run in order, as ``load_steps`` has them."""
    query = sa.select(*_COLUMNS).join(runs, runs.c.seq == steps.c.run_seq)
    return connection.execute(query.where(steps.c.run_seq == run_seq).order_by(steps.c.number)).all()


def edges_out_of(connection: sa.Connection, seqs: Collection[int]) -> Sequence[Any]:
    """The edges that begin at steps."""
    found: list[Any] = []
    for some in chunks(seqs):
        found += connection.execute(_EDGES_OUT, {"seqs": some})
    return found


def edges_into_step(connection: sa.Connection, seq: int) -> Sequence[Any]:
    """The edges that end at a step, by upstream step."""
    query = sa.select(step_edges).where(step_edges.c.downstream == seq)
    return connection.execute(query.order_by(step_edges.c.upstream)).all()


def place_step(connection: sa.Connection, seq: int, first: int, number: int) -> None:
    """Where the tasks of a step lie whose list is known now."""
    connection.execute(sa.update(steps).where(steps.c.seq == seq).values(first=first, tasks=number))


def counts_of_steps(connection: sa.Connection, run_seq: int) -> dict[int, dict[TaskState, int]]:
    """Tasks by state for each step of a run."""
    found: dict[int, dict[TaskState, int]] = {}
    for row in connection.execute(
        sa.select(step_counts).where(step_counts.c.run_seq == run_seq, step_counts.c.tasks > 0)
    ):
        found.setdefault(row.step_seq, {})[TaskState(row.state)] = row.tasks
    return found


def add_counts(connection: sa.Connection, delta: Mapping[tuple[int, int, TaskState], int]) -> None:
    """Adds to how many tasks are in a state, by (run, step, state)."""
    rows = [
        {"run_seq": run, "step_seq": step, "state": state, "tasks": more}
        for (run, step, state), more in sorted(delta.items())
        if more
    ]
    if rows:
        connection.execute(insert_or_add(connection, step_counts, "tasks"), rows)


def add_counts_of_new(connection: sa.Connection, state: TaskState, new: Sequence[tuple[int, int, int]]) -> None:
    """(run, step, tasks) of steps that this transaction has made, all of whose tasks are in one state."""
    if new:
        rows = [{"run_seq": run, "step_seq": step, "state": state, "tasks": number} for run, step, number in new]
        connection.execute(_INSERT_COUNT, rows)


def keep_app(connection: sa.Connection, digest: str, name: str, manifest: str, archive: bytes, at: float) -> None:
    """Remembers an app, unless it is known."""
    row = {"digest": digest, "name": name, "manifest": manifest, "archive": archive, "created_at": at}
    connection.execute(insert_missing(connection, apps), row)


def known_apps(connection: sa.Connection, digests: Collection[str]) -> set[str]:
    """Those of ``digests`` that the store has."""
    found: set[str] = set()
    for some in chunks(digests):
        found |= set(connection.execute(sa.select(apps.c.digest).where(apps.c.digest.in_(some))).scalars())
    return found


def app_manifest(connection: sa.Connection, digest: str) -> str:
    """The manifest of an app as JSON text."""
    return str(connection.execute(sa.select(apps.c.manifest).where(apps.c.digest == digest)).scalar_one())


def app_archive(connection: sa.Connection, digest: str, most: int | None = None) -> bytes:
    """The folder of an app, as ``domain.apparchive`` packs it; empty where there is no such app, or it has more than
    ``most`` bytes.
    """
    query = sa.select(apps.c.archive).where(apps.c.digest == digest)
    if most is not None:
        query = query.where(sa.func.length(apps.c.archive) <= most)
    return bytes(connection.execute(query).scalar() or b"")
