"""What could be placed at each site: the ready tasks of each user that are alike, counted as they move.

A task is *ready* when it is QUEUED, waits for nothing, and no back-off is under way. Whoever makes a task ready, or
takes one away, says so here in the same transaction: then a look at what waits costs the same however much waits.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from packhorse.store.chunks import chunks
from packhorse.store.schema import BACKS_OFF, CAN_GIVE, READY, demands, runs, step_demands, steps, tasks
from packhorse.store.upserts import insert_missing

#: How many tasks of a step became ready for a demand (minus: are no longer).
Delta = Counter[tuple[int, int]]

_STEPS_AT_ONCE = 500
_KEYS_AT_ONCE = 500
_D, _P, _T = demands.c, step_demands.c, tasks.c

# statements are made once: making one takes longer than executing it
_BY_KEY = sa.select(_D.user, _D.key, _D.seq).where(
    _D.site == sa.bindparam("site"),
    _D.user.in_(sa.bindparam("users", expanding=True)),
    _D.key.in_(sa.bindparam("keys", expanding=True)),
)
_BY_SEQ = sa.select(demands).where(_D.seq.in_(sa.bindparam("seqs", expanding=True)))
_ADD_TO_DEMAND = sa.update(demands).where(_D.seq == sa.bindparam("of")).values(ready=_D.ready + sa.bindparam("more"))
_ADD_TO_PAIR = (
    sa.update(step_demands)
    .where(_P.step_seq == sa.bindparam("of_step"), _P.demand_seq == sa.bindparam("of_demand"))
    .values(ready=_P.ready + sa.bindparam("more"))
)
_PAIRS_OF_STEPS = (
    sa.select(_P.step_seq, _P.demand_seq, _P.held)
    .where(_P.step_seq.in_(sa.bindparam("steps", expanding=True)))
    .order_by(_P.step_seq, _P.demand_seq)
    .with_for_update()
)
_ABOUT_STEPS = (
    sa.select(steps.c.seq, steps.c.held, runs.c.priority)
    .join(runs, runs.c.seq == steps.c.run_seq)
    .where(steps.c.seq.in_(sa.bindparam("steps", expanding=True)))
    .order_by(steps.c.seq)
    .with_for_update(of=steps)
)
_READY_BY_ID = (
    sa.select(_T.step_seq, _T.demand_seq, sa.func.count())
    .where(sa.text(READY), _T.id.in_(sa.bindparam("ids", expanding=True)))
    .group_by(_T.step_seq, _T.demand_seq)
)


def _first_of(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """What ``column`` is for the step whose tasks are the first of a demand."""
    ours = sa.select(column).where(_P.demand_seq == _D.seq, sa.text(CAN_GIVE))
    return ours.order_by(_P.rank, _P.step_seq).limit(1).scalar_subquery()


_WAITING = (
    sa.select(demands, _first_of(_P.step_seq).label("step_seq"), _first_of(_P.rank).label("rank"))
    .where(_D.site == sa.bindparam("site"), sa.text("demands.ready > 0"))
    .order_by(_D.seq)
)
_STEPS_IN_ORDER = (
    sa.select(_P.step_seq, _P.ready)
    .where(_P.demand_seq == sa.bindparam("demand"), sa.text(CAN_GIVE))
    .order_by(_P.rank, _P.step_seq)
    .limit(sa.bindparam("number", type_=sa.Integer))
)
# through the index of ready tasks, which SQLite uses only where the query repeats its condition in literals
_READY_OF = (
    sa.select(_T.id, _T.step_seq, _T.demand_seq, _T.params, (_T.attempt + 1).label("attempt"), _T.overrides)
    .where(
        sa.text(READY),
        _T.step_seq.in_(sa.bindparam("steps", expanding=True)),
        _T.demand_seq == sa.bindparam("demand"),
    )
    .order_by(_T.step_seq, _T.id)
    .limit(sa.bindparam("number", type_=sa.Integer))
    .with_for_update()
)
_BACKING_OFF = {"sqlite": "tasks INDEXED BY ix_tasks_back_off"}  # else it looks through all tasks that are queued


@dataclass(frozen=True, slots=True)
class DemandKey:
    """What makes tasks alike: how long they are likely to take (``label``), the image, and what one asks for."""

    label: str
    resources: str
    """JSON of what differs from the defaults."""
    image: str | None = None
    sized: bool = False
    """What they ask for was decided, and is not looked at again."""

    @property
    def digest(self) -> str:
        parts = (self.label, self.image or "", self.resources, *(["sized"] if self.sized else []))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


#: A user, and what tasks of theirs ask for.
Owned = tuple[str, DemandKey]


class NewReady(NamedTuple):
    """The ready tasks of a step that is new, for one demand."""

    step: int
    demand: int
    priority: int
    ready: int
    held: bool


def demand_seqs(connection: sa.Connection, site: str, keys: Collection[Owned]) -> dict[Owned, int]:
    """The rows of ``keys`` at a site, made where there are none."""
    found: dict[Owned, int] = {}
    by_digest = {(user, key.digest): (user, key) for user, key in keys}
    ordered = sorted(by_digest)
    for start in range(0, len(ordered), _KEYS_AT_ONCE):
        some = ordered[start : start + _KEYS_AT_ONCE]
        known = _known(connection, site, some)
        if new := [mine for mine in some if mine not in known]:
            rows = [_row(site, *mine, by_digest[mine][1]) for mine in new]
            connection.execute(insert_missing(connection, demands), rows)
            known = _known(connection, site, some)
        found |= {by_digest[mine]: known[mine] for mine in some}
    return found


def _known(connection: sa.Connection, site: str, some: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The rows of some (user, digest) and of others."""
    asked = {"site": site, "users": sorted({user for user, _ in some}), "keys": sorted({key for _, key in some})}
    return {(row.user, row.key): row.seq for row in connection.execute(_BY_KEY, asked)}


def _row(site: str, user: str, digest: str, key: DemandKey) -> dict[str, Any]:
    said = {"label": key.label, "image": key.image, "resources": key.resources, "sized": key.sized}
    return {"site": site, "user": user, "key": digest, "ready": 0, **said}


def demands_of(connection: sa.Connection, seqs: Collection[int]) -> dict[int, Any]:
    """The rows of demands, by ``seq``."""
    found: dict[int, Any] = {}
    for some in chunks(seqs):
        found |= {row.seq: row for row in connection.execute(_BY_SEQ, {"seqs": some})}
    return found


def add_ready(connection: sa.Connection, delta: Mapping[tuple[int, int], int]) -> None:
    """Counts tasks that became ready, or are no longer, by (step, demand)."""
    add_ready_to_demands(connection, add_ready_to_steps(connection, delta))


def add_ready_to_steps(connection: sa.Connection, delta: Mapping[tuple[int, int], int]) -> Counter[int]:
    """The first half of ``add_ready``; what it returns is given to ``add_ready_to_demands`` at the end of the
    transaction.

    The rows of demands are what most transactions share. Each locks them last, in order, and all at once: then no two
    wait for each other.
    """
    changes = {pair: more for pair, more in sorted(delta.items()) if more}
    by_demand: Counter[int] = Counter()
    if not changes:
        return by_demand
    held = _held(connection, {step for step, _ in changes})
    new = [pair for pair in changes if pair not in held]
    if new:  # the first tasks of their steps that ask for this
        _insert_pairs(connection, new)
        held = _held(connection, {step for step, _ in changes})
    values = [{"of_step": step, "of_demand": demand, "more": more} for (step, demand), more in changes.items()]
    connection.execute(_ADD_TO_PAIR, values)
    for (step, demand), more in changes.items():
        if not held[step, demand]:
            by_demand[demand] += more
    return by_demand


def add_ready_to_demands(connection: sa.Connection, by_demand: Mapping[int, int]) -> None:
    """The other half of ``add_ready``."""
    values = [{"of": demand, "more": more} for demand, more in sorted(by_demand.items()) if more]
    if values:
        connection.execute(_ADD_TO_DEMAND, values)


def add_ready_of_new(connection: sa.Connection, new: Sequence[NewReady]) -> None:
    """Counts the ready tasks of steps that this transaction has made: nobody else knows these steps yet."""
    if new:
        rows = [
            {
                "step_seq": one.step,
                "demand_seq": one.demand,
                "rank": -one.priority,
                "ready": one.ready,
                "held": one.held,
            }
            for one in new
        ]
        connection.execute(sa.insert(step_demands), rows)
        by_demand: Counter[int] = Counter()
        for one in new:
            by_demand[one.demand] += 0 if one.held else one.ready
        add_ready_to_demands(connection, by_demand)


def _held(connection: sa.Connection, of_steps: Collection[int]) -> dict[tuple[int, int], int]:
    """Whether steps are held, by (step, demand); locked, since who holds a step counts what was ready."""
    found: dict[tuple[int, int], int] = {}
    for some in chunks(of_steps):
        for row in connection.execute(_PAIRS_OF_STEPS, {"steps": some}):
            found[row.step_seq, row.demand_seq] = row.held
    return found


def _insert_pairs(connection: sa.Connection, pairs: Collection[tuple[int, int]]) -> None:
    about: dict[int, Any] = {}
    for some in chunks({step for step, _ in pairs}):
        about |= {row.seq: row for row in connection.execute(_ABOUT_STEPS, {"steps": some})}
    rows = [
        {
            "step_seq": step,
            "demand_seq": demand,
            "rank": -about[step].priority,
            "ready": 0,
            "held": int(about[step].held),
        }
        for step, demand in pairs
    ]
    connection.execute(insert_missing(connection, step_demands), rows)


def count_ready(connection: sa.Connection, which: sa.ColumnElement[bool]) -> Delta:
    """The ready tasks among those that match, by (step, demand)."""
    pair = (tasks.c.step_seq, tasks.c.demand_seq)
    query = sa.select(*pair, sa.func.count()).where(sa.text(READY), which).group_by(*pair)
    return Counter({(step, demand): number for step, demand, number in connection.execute(query)})


def count_made_ready(connection: sa.Connection, ids: Iterable[int]) -> None:
    """Tasks that waited for something, and of which some may have got the last of it just now."""
    delta: Delta = Counter()
    for some in chunks(set(ids)):
        for step, demand, number in connection.execute(_READY_BY_ID, {"ids": some}):
            delta[step, demand] += number
    add_ready(connection, delta)


def recount(connection: sa.Connection, site: str) -> int:
    """Counts what is ready at a site anew, as an engine does that starts; returns how many counts were off.

    One statement sees one state of the store, and what is off is added: whoever moves tasks meanwhile is not disturbed.
    """
    here = sa.select(demands.c.seq).where(demands.c.site == site).scalar_subquery()
    t, p, d = tasks.c, step_demands.c, demands.c
    none = sa.literal(0)
    of_tasks = sa.select(t.step_seq, t.demand_seq, sa.func.count(), none, none)
    of_tasks = of_tasks.where(sa.text(READY), t.demand_seq.in_(here)).group_by(t.step_seq, t.demand_seq)
    of_pairs = sa.select(p.step_seq, p.demand_seq, none, p.ready, p.held).where(p.demand_seq.in_(here))
    of_demands = sa.select(none, d.seq, none, d.ready, none).where(d.site == site)
    real: Delta = Counter()
    told: Delta = Counter()
    held: set[tuple[int, int]] = set()
    for step, demand, counted, said, is_held in connection.execute(sa.union_all(of_tasks, of_pairs, of_demands)):
        real[step, demand] += counted
        told[step, demand] += said
        if is_held:
            held.add((step, demand))
    off = {pair: real[pair] - told[pair] for pair in real if pair[0] and real[pair] != told[pair]}
    add_ready(connection, off)
    by_demand: Counter[int] = Counter()
    for (step, demand), number in told.items():
        by_demand[demand] += -number if not step else number if (step, demand) not in held else 0
    add_ready_to_demands(connection, by_demand)
    return len(off) + sum(1 for more in by_demand.values() if more)


def waiting_demands(connection: sa.Connection, site: str) -> Sequence[Any]:
    """The demands of a site that have ready tasks, with the ``rank`` and ``step_seq`` of the step that is first."""
    return connection.execute(_WAITING, {"site": site}).all()


def take_ready(connection: sa.Connection, demand_seq: int, limit: int) -> Sequence[Any]:
    """At most ``limit`` ready tasks of a demand, locked: by priority and age of their steps, then in order.

    Rows are id, step_seq, demand_seq, params, overrides, and the ``attempt`` that is next.
    """
    found: list[Any] = []
    whole, last = first_steps(connection, demand_seq, limit)
    asked = [*chunks(whole), *([] if last is None else [[last]])]
    for some in asked:
        if (number := limit - len(found)) > 0:
            found += connection.execute(_READY_OF, {"steps": some, "demand": demand_seq, "number": number})
    return found


def first_steps(connection: sa.Connection, demand_seq: int, limit: int) -> tuple[list[int], int | None]:
    """The steps of which all ready tasks are taken when ``limit`` are, and the one of which only some are."""
    whole: list[int] = []
    asked = {"demand": demand_seq, "number": min(limit, _STEPS_AT_ONCE)}
    for row in connection.execute(_STEPS_IN_ORDER, asked).all():
        if row.ready >= limit:
            return whole, row.step_seq
        whole.append(row.step_seq)
        limit -= row.ready
    return whole, None


def hold_steps(connection: sa.Connection, seqs: Collection[int], *, held: bool) -> None:
    """Holds steps, whose tasks are then no longer offered; or lets them go. What holds already, or not, stays so."""
    for some in chunks(seqs):
        connection.execute(sa.update(steps).where(steps.c.seq.in_(some)).values(held=held))
        changing = sa.and_(step_demands.c.step_seq.in_(some), step_demands.c.held == int(not held))
        by_demand: Counter[int] = Counter()
        query = sa.select(step_demands).where(changing)
        ordered = query.order_by(step_demands.c.step_seq, step_demands.c.demand_seq).with_for_update()
        for row in connection.execute(ordered):
            by_demand[row.demand_seq] += -row.ready if held else row.ready
        connection.execute(sa.update(step_demands).where(changing).values(held=int(held)))
        add_ready_to_demands(connection, by_demand)


def end_back_offs(connection: sa.Connection, now: float, latest: float, limit: int) -> int:
    """Makes tasks ready whose back-off is over; returns how many.

    A back-off that ends after ``latest`` was set by a clock that has jumped since: it is over.
    """
    asked = {"now": now, "latest": latest, "most": limit}
    ids = connection.execute(_back_offs_over(connection.dialect.name), asked).scalars().all()
    for some in chunks(ids):
        connection.execute(sa.update(tasks).where(tasks.c.id.in_(some)).values(not_before=0.0))
    count_made_ready(connection, ids)
    return len(ids)


def next_back_off(connection: sa.Connection) -> float | None:
    """When the first back-off ends; None where none is under way."""
    return connection.execute(_next_back_off(connection.dialect.name)).scalar()


@cache
def _next_back_off(dialect: str) -> sa.TextClause:
    backing_off = _BACKING_OFF.get(dialect, "tasks")
    return sa.text(f"SELECT not_before FROM {backing_off} WHERE {BACKS_OFF} ORDER BY not_before LIMIT 1")  # noqa: S608


@cache
def _back_offs_over(dialect: str) -> sa.TextClause:
    over = f"{BACKS_OFF} AND (not_before <= :now OR not_before > :latest)"
    lock = "" if dialect == "sqlite" else "FOR UPDATE"
    backing_off = _BACKING_OFF.get(dialect, "tasks")
    return sa.text(f"SELECT id FROM {backing_off} WHERE {over} ORDER BY not_before LIMIT :most {lock}")  # noqa: S608
