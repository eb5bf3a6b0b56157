"""Runs of KBase jobs, found by what EE2's clients ask for: ids, workspaces, batches, users and times."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.store.chunks import chunks
from packhorse.store.schema import TASKS_PER_RUN, kbase_jobs, kbase_runs, runs, steps

#: The index, in its run, of the job that stands for a batch: no task has it.
BATCH_INDEX = TASKS_PER_RUN - 1

_R = kbase_runs.c
_SEQS: sa.BindParameter[Any] = sa.bindparam("seqs", expanding=True)
_COLUMNS = (
    _R.run_seq, _R.user, _R.wsid, _R.created_at, _R.batch, _R.batch_seq, _R.retry_of, _R.parent, _R.meta, runs.c.id,
    runs.c.ended_at,
)  # fmt: skip
_ROWS = sa.select(*_COLUMNS).join(runs, runs.c.seq == _R.run_seq).where(runs.c.visible)
_BY_SEQ = _ROWS.where(_R.run_seq.in_(_SEQS))
_OF_WORKSPACE = _ROWS.where(_R.wsid == sa.bindparam("wsid")).order_by(_R.run_seq.desc()).limit(sa.bindparam("number"))
_IN_BATCHES = _ROWS.where(_R.batch_seq.in_(_SEQS)).order_by(_R.batch_seq, _R.run_seq)
_RETRIES = sa.select(_R.retry_of, _R.run_seq, _R.created_at).order_by(_R.retry_of, _R.run_seq)
_RETRIES_OF = _RETRIES.where(_R.retry_of.in_(sa.bindparam("ids", expanding=True)))
_RETRIES_BETWEEN = _RETRIES.where(_R.retry_of.between(sa.bindparam("first"), sa.bindparam("last")))
_SIZES = (
    sa.select(steps.c.run_seq, sa.func.sum(steps.c.tasks)).where(steps.c.run_seq.in_(_SEQS)).group_by(steps.c.run_seq)
)
_UNSEAL = sa.select(_R.sealed).where(_R.run_seq == sa.bindparam("seq"))
_ABANDONED = (
    sa.select(kbase_jobs.c.task_id)
    .where(kbase_jobs.c.task_id.between(sa.bindparam("first"), sa.bindparam("last")), kbase_jobs.c.abandoned)
    .order_by(kbase_jobs.c.task_id)
)


def runs_by_seq(connection: sa.Connection, seqs: Collection[int]) -> dict[int, Any]:
    """Rows of visible runs of jobs, with their public ``id``, by ``seq``."""
    found: dict[int, Any] = {}
    for some in chunks(seqs):
        found |= {row.run_seq: row for row in connection.execute(_BY_SEQ, {"seqs": some})}
    return found


def runs_of_workspace(connection: sa.Connection, wsid: int, limit: int) -> Sequence[Any]:
    """The newest runs of jobs in a workspace, newest first."""
    return connection.execute(_OF_WORKSPACE, {"wsid": wsid, "number": limit}).all()


def retries_in_batches(connection: sa.Connection, batch_seqs: Collection[int]) -> dict[int, list[Any]]:
    """The runs that are retries of children, by the batch that they belong to."""
    found: dict[int, list[Any]] = {}
    for some in chunks(batch_seqs):
        for row in connection.execute(_IN_BATCHES, {"seqs": some}):
            found.setdefault(row.batch_seq, []).append(row)
    return found


def retries_of(
    connection: sa.Connection, spans: Collection[tuple[int, int]], ids: Collection[int]
) -> dict[int, list[Any]]:
    """(retry_of, run_seq, created_at) of the retries of tasks, by task: of those from the first to the last of each
    span, and of ``ids``.
    """
    found: dict[int, list[Any]] = {}
    rows: list[Any] = []
    for first, last in spans:
        rows += connection.execute(_RETRIES_BETWEEN, {"first": first, "last": last})
    for some in chunks(ids):
        rows += connection.execute(_RETRIES_OF, {"ids": some})
    for row in rows:
        found.setdefault(row.retry_of, []).append(row)
    return found


def sizes_of(connection: sa.Connection, seqs: Collection[int]) -> dict[int, int]:
    """How many tasks runs have."""
    found: dict[int, int] = {}
    for some in chunks(seqs):
        found |= {seq: int(number or 0) for seq, number in connection.execute(_SIZES, {"seqs": some})}
    return found


def abandoned_in(connection: sa.Connection, run_seq: int) -> set[int]:
    """The tasks of a batch that it does not count any more."""
    first = run_seq * TASKS_PER_RUN
    rows = connection.execute(_ABANDONED, {"first": first, "last": first + BATCH_INDEX})
    return set(rows.scalars())


def runs_made(
    connection: sa.Connection, user: str | None, begin: float, end: float, limit: int, *, ascending: bool
) -> Sequence[Any]:
    """At most ``limit`` runs of jobs made after ``begin`` and before ``end``, of one user or of all."""
    order = (_R.created_at, _R.run_seq) if ascending else (_R.created_at.desc(), _R.run_seq.desc())
    query = _ROWS.where(_R.created_at > begin, _R.created_at < end).order_by(*order).limit(limit)
    if user is not None:
        query = query.where(_R.user == user)
    return connection.execute(query).all()


def sealed_token(connection: sa.Connection, run_seq: int) -> bytes | None:
    """What is kept, sealed, for the jobs of a run."""
    data = connection.execute(_UNSEAL, {"seq": run_seq}).scalar()
    return None if data is None else bytes(data)


_ENDED = (
    sa.select(_R.run_seq)
    .join(runs, runs.c.seq == _R.run_seq)
    .where(sa.text("kbase_runs.sealed IS NOT NULL"), runs.c.ended_at.is_not(None))
    .limit(sa.bindparam("number"))
)


def ended_with_tokens(connection: sa.Connection, limit: int) -> Sequence[int]:
    """Runs that are over, and for whose jobs something is still kept."""
    return connection.execute(_ENDED, {"number": limit}).scalars().all()


def forget_tokens(connection: sa.Connection, seqs: Collection[int]) -> None:
    """Forgets what was kept for the jobs of runs."""
    connection.execute(sa.update(kbase_runs).where(_R.run_seq.in_(seqs)).values(sealed=None))
