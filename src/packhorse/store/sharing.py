"""With whom runs are shared: 'user:NAME' or 'group:NAME'."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.store.runs import RUN_COLUMNS
from packhorse.store.schema import runs, sharing
from packhorse.store.upserts import insert_missing

_GRANTEES: sa.BindParameter[Any] = sa.bindparam("grantees", expanding=True)
_IS_SHARED = (
    sa.exists().where(sharing.c.run_seq == runs.c.seq, sharing.c.grantee.in_(_GRANTEES)).correlate(runs).label("shared")
)
#: One statement whether or not a run is shared, or there: who asks cannot tell by the time that it takes.
_RUN = sa.select(runs, _IS_SHARED).where(runs.c.id == sa.bindparam("asked"), runs.c.visible)


def run_with_sharing(connection: sa.Connection, run_id: str, grantees: Collection[str]) -> Any | None:
    """A run's row by public id, and as ``shared`` whether it is shared with one of ``grantees``."""
    return connection.execute(_RUN, {"asked": run_id, "grantees": list(grantees)}).one_or_none()


def share_run(connection: sa.Connection, run_seq: int, grantee: str, by: str) -> None:
    """Shares a run; one that is shared already stays so."""
    row = {"run_seq": run_seq, "grantee": grantee, "by": by, "at": time.time()}
    connection.execute(insert_missing(connection, sharing), row)


def unshare_run(connection: sa.Connection, run_seq: int, grantee: str) -> int:
    """Shares a run no longer; how many rows there were."""
    mine = sa.delete(sharing).where(sharing.c.run_seq == run_seq, sharing.c.grantee == grantee)
    return connection.execute(mine).rowcount


def shares_of_run(connection: sa.Connection, run_seq: int) -> Sequence[Any]:
    """The rows of a run."""
    return connection.execute(sa.select(sharing).where(sharing.c.run_seq == run_seq).order_by(sharing.c.grantee)).all()


def list_shared_runs(
    connection: sa.Connection, grantees: Collection[str], before: int | None, limit: int
) -> Sequence[Any]:
    """Runs that are shared with one of ``grantees``, newest first; ``before`` is the ``seq`` of the last one seen."""
    shared = sa.select(sharing.c.run_seq).where(sharing.c.grantee.in_(list(grantees)))
    if before is not None:
        shared = shared.where(sharing.c.run_seq < before)
    query = sa.select(*RUN_COLUMNS).where(runs.c.seq.in_(shared), runs.c.visible)
    return connection.execute(query.order_by(runs.c.seq.desc()).limit(limit)).all()
