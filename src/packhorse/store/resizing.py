"""Ready tasks that are to ask for something else than before: they go from one demand to another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from packhorse.store.demands import Delta, DemandKey, Owned, add_ready, demand_seqs, first_steps
from packhorse.store.schema import READY, tasks

_T = tasks.c
_RESIZE = (
    sa.update(tasks)
    .where(_T.id == sa.bindparam("of"))
    .values(demand_seq=sa.bindparam("to_demand"), overrides=sa.bindparam("to_overrides"))
)
_OF_STEP = sa.and_(sa.text(READY), _T.step_seq == sa.bindparam("step"), _T.demand_seq == sa.bindparam("demand"))
_ENDS = sa.select(sa.func.min(_T.id), sa.func.max(_T.id)).where(_OF_STEP)
_NEXT = (
    sa.select(_T.id, _T.step_seq, _T.demand_seq, _T.params, (_T.attempt + 1).label("attempt"), _T.overrides)
    .where(_OF_STEP, _T.id >= sa.bindparam("first"))
    .order_by(_T.id)
    .limit(1)
    .with_for_update()
)


class Resized(NamedTuple):
    """A ready task, locked in this transaction (``store.demands.take_ready``), and what it asks for from now on.

    ``overrides`` is JSON: what differs from what its step asks for.
    """

    row: Any
    key: DemandKey
    overrides: str | None


def resize_ready(connection: sa.Connection, site: str, user: str, resized: Sequence[Resized]) -> dict[DemandKey, int]:
    """Moves tasks of one user to the demands of their new keys; returns these demands."""
    owned: list[Owned] = list({(user, one.key) for one in resized})
    seqs = {key: seq for (_, key), seq in demand_seqs(connection, site, owned).items()}
    delta: Delta = Counter()
    values = []
    for row, key, overrides in resized:
        values.append({"of": row.id, "to_demand": seqs[key], "to_overrides": overrides})
        delta[row.step_seq, row.demand_seq] -= 1
        delta[row.step_seq, seqs[key]] += 1
    if values:
        connection.execute(_RESIZE, values)
        add_ready(connection, delta)
    return seqs


def take_spread(connection: sa.Connection, demand_seq: int, number: int) -> Sequence[Any]:
    """Some ready tasks of a demand's first step, as far from each other as they are, locked: tables are often sorted.

    Rows are as those of ``store.demands.take_ready``.
    """
    whole, last = first_steps(connection, demand_seq, 1)
    step = whole[0] if whole else last
    if step is None:
        return []
    which = {"step": step, "demand": demand_seq}
    first, final = connection.execute(_ENDS, which).one()
    found: dict[int, Any] = {}
    for place in range(number if first is not None else 0):
        begin = first + (final - first) * place // max(1, number - 1)
        row = connection.execute(_NEXT, {**which, "first": begin}).first()
        if row is not None:
            found[row.id] = row
    return [found[task] for task in sorted(found)]
