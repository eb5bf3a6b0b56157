"""What runs were granted of allocations: added up as attempts end, read by whoever asks what was paid for whom."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa

from packhorse.store.chunks import chunks
from packhorse.store.schema import allocations, runs, shares
from packhorse.store.upserts import insert_or_add

_ROWS_AT_ONCE = 1000


@dataclass(slots=True)
class Share:
    """Sums over ended attempts.

    ``core_s`` are the cores granted on all nodes times wall time; ``tasks`` had their first attempt here;
    ``stored_bytes`` are those of the outputs that were kept.
    """

    tasks: int = 0
    attempts: int = 0
    failed: int = 0
    core_s: float = 0.0
    failed_core_s: float = 0.0
    cpu_s: float = 0.0
    stored_bytes: int = 0

    def add(self, attempt: Mapping[str, Any], core_s: float, cpu_s: float) -> None:
        """Adds one, as its row of the store; what it was granted, and what it used."""
        self.tasks += attempt["attempt"] == 1
        self.attempts += 1
        self.core_s += core_s
        self.cpu_s += cpu_s
        if attempt["failure"] is not None:
            self.failed += 1
            self.failed_core_s += core_s
        if attempt["files"]:
            sizes = [file.get("size") for file in json.loads(attempt["files"])]
            self.stored_bytes += sum(size for size in sizes if isinstance(size, int) and 0 <= size <= _LARGEST)


_LARGEST = 1 << 50  # bytes of one file: what a journal says need not be our agent's
_SUMS = tuple(field.name for field in fields(Share))


def add_shares(connection: sa.Connection, allocation_seq: int, more: Mapping[int, Share]) -> None:
    """Adds to what runs (by ``seq``) were granted of an allocation; belongs in the transaction that adds their
    attempts.
    """
    if more:
        rows = [
            {"allocation_seq": allocation_seq, "run_seq": run, **asdict(share)} for run, share in sorted(more.items())
        ]
        connection.execute(insert_or_add(connection, shares, *_SUMS), rows)


def iter_shares(
    connection: sa.Connection, *, user: str | None = None, run_seq: int | None = None, since: float | None = None
) -> Iterator[Any]:
    """Allocations with what each user and app was granted of them, by allocation; of one ``user`` or one run only, if
    so asked.

    Each row has ``seq``, ``site``, ``shape``, ``started_at`` and ``ended_at`` of its allocation, ``user`` and ``app``,
    the sums of ``Share``, and ``all_core_s``: what everybody together was granted of the allocation. Where all are
    asked for, that is None, and an allocation that nobody used has one row as well, without a user. ``since`` leaves
    out allocations that ended before.
    """
    yield from connection.execute(shares_query(user, run_seq, since).execution_options(yield_per=_ROWS_AT_ONCE))


_STORED = (
    sa.select(sa.func.coalesce(sa.func.sum(shares.c.stored_bytes), 0))
    .join(runs, runs.c.seq == shares.c.run_seq)
    .where(runs.c.user == sa.bindparam("whose"))
)


def stored_bytes(connection: sa.Connection, user: str) -> int:
    """How much the outputs of a user's tasks are that were kept at sites, all together."""
    return int(connection.execute(_STORED, {"whose": user}).scalar_one())


_AT_SITE = sa.select(allocations.c.seq).where(allocations.c.site == sa.bindparam("of_site"))
_WITH_STORED = (
    sa.select(runs.c.seq, runs.c.id)
    .where(
        runs.c.seq > sa.bindparam("after"),
        runs.c.ended_at.is_not(None),
        sa.exists().where(
            shares.c.run_seq == runs.c.seq, shares.c.stored_bytes > 0, shares.c.allocation_seq.in_(_AT_SITE)
        ),
    )
    .order_by(runs.c.seq)
    .limit(sa.bindparam("number", type_=sa.Integer))
)
_FORGET_STORED = (
    sa.update(shares)
    .where(
        shares.c.run_seq.in_(sa.bindparam("of_runs", expanding=True)),
        shares.c.stored_bytes > 0,
        shares.c.allocation_seq.in_(_AT_SITE),
    )
    .values(stored_bytes=0)
)


def runs_with_stored(connection: sa.Connection, site: str, after: int, limit: int) -> Sequence[Any]:
    """(seq, id) of runs behind ``after`` that have ended, and of which outputs are counted as kept at a site."""
    return connection.execute(_WITH_STORED, {"of_site": site, "after": after, "number": limit}).all()


def forget_stored(connection: sa.Connection, site: str, run_seqs: Collection[int]) -> None:
    """What runs left at a site is not kept any more."""
    for some in chunks(run_seqs):
        connection.execute(_FORGET_STORED, {"of_site": site, "of_runs": some})


def shares_query(user: str | None, run_seq: int | None, since: float | None) -> sa.Select[Any]:
    """One row for each allocation, user and app: not one for each task."""
    a = allocations.c
    everybody = user is None and run_seq is None
    of_all = shares.alias("of_all")
    all_core_s: sa.ColumnElement[Any] = sa.null()
    if not everybody:
        all_core_s = sa.select(sa.func.sum(of_all.c.core_s)).where(of_all.c.allocation_seq == a.seq).scalar_subquery()
    sums = [sa.func.coalesce(sa.func.sum(shares.c[name]), 0).label(name) for name in _SUMS]
    columns = (
        a.seq,
        a.site,
        a.shape,
        a.started_at,
        a.ended_at,
        runs.c.user,
        runs.c.app,
        *sums,
        all_core_s.label("all_core_s"),
    )
    source = allocations.join(shares, shares.c.allocation_seq == a.seq, isouter=everybody)
    query = sa.select(*columns).select_from(source.join(runs, runs.c.seq == shares.c.run_seq, isouter=everybody))
    if user is not None:
        query = query.where(runs.c.user == user)
    if run_seq is not None:
        query = query.where(shares.c.run_seq == run_seq)
    if since is not None:
        query = query.where(sa.or_(a.ended_at >= since, a.ended_at.is_(None)))
    return query.group_by(a.seq, runs.c.user, runs.c.app).order_by(a.seq)
