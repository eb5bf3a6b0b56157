"""What could be placed at each site: the ready tasks of each user that are alike, counted as they move.

A task is *ready* when it is QUEUED, waits for nothing, and no back-off is under way. Whoever makes a task ready, or
takes one away, says so here in the same transaction: then a look at what waits costs the same however much waits.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from packhorse.store.chunks import chunks
from packhorse.store.schema import BACKS_OFF, READY, demands, runs, step_demands, steps, tasks
from packhorse.store.upserts import insert_missing

#: How many tasks of a step became ready for a demand (minus: are no longer).
Delta = Counter[tuple[int, int]]

_STEPS_AT_ONCE = 500
_CAN_GIVE = "ready > 0 AND held = 0"  # as the index of step_demands says it


@dataclass(frozen=True, slots=True)
class DemandKey:
    """What makes tasks alike: how long they are likely to take (``label``), the image, and what one asks for."""

    label: str
    resources: str
    """JSON of what differs from the defaults."""
    image: str | None = None

    @property
    def digest(self) -> str:
        return hashlib.sha256("\0".join((self.label, self.image or "", self.resources)).encode()).hexdigest()


def demand_seqs(connection: sa.Connection, site: str, user: str, keys: Collection[DemandKey]) -> dict[DemandKey, int]:
    """The rows of ``keys`` of a user at a site, made where there are none."""
    found: dict[DemandKey, int] = {}
    by_digest = {key.digest: key for key in keys}
    mine = sa.and_(demands.c.site == site, demands.c.user == user)
    for some in chunks(by_digest):
        query = sa.select(demands.c.seq, demands.c.key).where(mine, demands.c.key.in_(some))
        known = {row.key: row.seq for row in connection.execute(query)}
        new = [digest for digest in some if digest not in known]
        if new:
            rows = [_row(site, user, digest, by_digest[digest]) for digest in new]
            connection.execute(insert_missing(connection, demands), rows)
            known |= {row.key: row.seq for row in connection.execute(query)}
        found |= {by_digest[digest]: known[digest] for digest in some}
    return found


def _row(site: str, user: str, digest: str, key: DemandKey) -> dict[str, Any]:
    said = {"label": key.label, "image": key.image, "resources": key.resources}
    return {"site": site, "user": user, "key": digest, "ready": 0, **said}


def demands_of(connection: sa.Connection, seqs: Collection[int]) -> dict[int, Any]:
    """The rows of demands, by ``seq``."""
    found: dict[int, Any] = {}
    for some in chunks(seqs):
        found |= {row.seq: row for row in connection.execute(sa.select(demands).where(demands.c.seq.in_(some)))}
    return found


def add_ready(connection: sa.Connection, delta: Mapping[tuple[int, int], int]) -> None:
    """Counts tasks that became ready, or are no longer, by (step, demand)."""
    changes = {pair: more for pair, more in sorted(delta.items()) if more}
    if not changes:
        return
    held = _held(connection, {step for step, _ in changes})
    new = [pair for pair in changes if pair not in held]
    if new:  # the first tasks of their steps that ask for this
        _insert_pairs(connection, new)
        held = _held(connection, {step for step, _ in changes})
    pair = sa.and_(
        step_demands.c.step_seq == sa.bindparam("of_step"), step_demands.c.demand_seq == sa.bindparam("of_demand")
    )
    update = sa.update(step_demands).where(pair).values(ready=step_demands.c.ready + sa.bindparam("more"))
    values = [{"of_step": step, "of_demand": demand, "more": more} for (step, demand), more in changes.items()]
    connection.execute(update, values)
    by_demand: Counter[int] = Counter()
    for (step, demand), more in changes.items():
        if not held[step, demand]:
            by_demand[demand] += more
    _count(connection, by_demand)


def _held(connection: sa.Connection, of_steps: Collection[int]) -> dict[tuple[int, int], int]:
    """Whether steps are held, by (step, demand); locked, since who holds a step counts what was ready."""
    found: dict[tuple[int, int], int] = {}
    for some in chunks(of_steps):
        columns = (step_demands.c.step_seq, step_demands.c.demand_seq, step_demands.c.held)
        query = sa.select(*columns).where(step_demands.c.step_seq.in_(some))
        ordered = query.order_by(step_demands.c.step_seq, step_demands.c.demand_seq).with_for_update()
        found |= {(row.step_seq, row.demand_seq): row.held for row in connection.execute(ordered)}
    return found


def _insert_pairs(connection: sa.Connection, pairs: Collection[tuple[int, int]]) -> None:
    about: dict[int, Any] = {}
    for some in chunks({step for step, _ in pairs}):
        query = sa.select(steps.c.seq, steps.c.held, runs.c.priority).join(runs, runs.c.seq == steps.c.run_seq)
        locked = query.where(steps.c.seq.in_(some)).order_by(steps.c.seq).with_for_update(of=steps)
        about |= {row.seq: row for row in connection.execute(locked)}
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


def _count(connection: sa.Connection, by_demand: Mapping[int, int]) -> None:
    values = [{"of": demand, "more": more} for demand, more in sorted(by_demand.items()) if more]
    if values:
        update = sa.update(demands).where(demands.c.seq == sa.bindparam("of"))
        connection.execute(update.values(ready=demands.c.ready + sa.bindparam("more")), values)


def count_ready(connection: sa.Connection, which: sa.ColumnElement[bool]) -> Delta:
    """The ready tasks among those that match, by (step, demand)."""
    pair = (tasks.c.step_seq, tasks.c.demand_seq)
    query = sa.select(*pair, sa.func.count()).where(sa.text(READY), which).group_by(*pair)
    return Counter({(step, demand): number for step, demand, number in connection.execute(query)})


def count_made_ready(connection: sa.Connection, ids: Iterable[int]) -> None:
    """Tasks that waited for something, and of which some may have got the last of it just now."""
    delta: Delta = Counter()
    for some in chunks(set(ids)):
        delta.update(count_ready(connection, tasks.c.id.in_(some)))
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
    _count(connection, by_demand)
    return len(off) + sum(1 for more in by_demand.values() if more)


def waiting_demands(connection: sa.Connection, site: str) -> Sequence[Any]:
    """The demands of a site that have ready tasks, with the ``rank`` and ``step_seq`` of the step that is first."""
    ours = sa.and_(step_demands.c.demand_seq == demands.c.seq, sa.text("step_demands.ready > 0 AND held = 0"))
    first = sa.select(step_demands.c.step_seq).where(ours).order_by(step_demands.c.rank, step_demands.c.step_seq)
    rank = sa.select(step_demands.c.rank).where(ours).order_by(step_demands.c.rank, step_demands.c.step_seq)
    query = sa.select(
        demands,
        first.limit(1).scalar_subquery().label("step_seq"),
        rank.limit(1).scalar_subquery().label("rank"),
    )
    waiting = sa.and_(demands.c.site == site, sa.text("demands.ready > 0"))
    return connection.execute(query.where(waiting).order_by(demands.c.seq)).all()


def take_ready(connection: sa.Connection, demand_seq: int, limit: int) -> Sequence[Any]:
    """At most ``limit`` ready tasks of a demand, locked: by priority and age of their steps, then in order.

    Rows are id, step_seq, demand_seq, params, overrides, and the ``attempt`` that is next.
    """
    found: list[Any] = []
    whole, last = _first_steps(connection, demand_seq, limit)
    for some in chunks(whole):
        found += connection.execute(_ready_of(demand_seq, tasks.c.step_seq.in_(some)).limit(limit)).all()
    if last is not None and len(found) < limit:
        found += connection.execute(_ready_of(demand_seq, tasks.c.step_seq == last).limit(limit - len(found))).all()
    return found


def _first_steps(connection: sa.Connection, demand_seq: int, limit: int) -> tuple[list[int], int | None]:
    """The steps of which all ready tasks are taken when ``limit`` are, and the one of which only some are."""
    ours = sa.and_(step_demands.c.demand_seq == demand_seq, sa.text(_CAN_GIVE))
    query = sa.select(step_demands.c.step_seq, step_demands.c.ready).where(ours)
    ordered = query.order_by(step_demands.c.rank, step_demands.c.step_seq).limit(min(limit, _STEPS_AT_ONCE))
    whole: list[int] = []
    for row in connection.execute(ordered).all():
        if row.ready >= limit:
            return whole, row.step_seq
        whole.append(row.step_seq)
        limit -= row.ready
    return whole, None


def _ready_of(demand_seq: int, of_steps: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Through the index of ready tasks, which SQLite uses only where the query repeats its condition in literals."""
    c = tasks.c
    columns = (c.id, c.step_seq, c.demand_seq, c.params, (c.attempt + 1).label("attempt"), c.overrides)
    ready = sa.and_(sa.text(READY), of_steps, c.demand_seq == demand_seq)
    return sa.select(*columns).where(ready).order_by(c.step_seq, c.id).with_for_update()


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
        _count(connection, by_demand)


def end_back_offs(connection: sa.Connection, now: float, latest: float, limit: int) -> int:
    """Makes tasks ready whose back-off is over; returns how many.

    A back-off that ends after ``latest`` was set by a clock that has jumped since: it is over.
    """
    over = sa.or_(tasks.c.not_before <= now, tasks.c.not_before > latest)
    query = sa.select(tasks.c.id).where(sa.text(BACKS_OFF), over).order_by(tasks.c.not_before).limit(limit)
    ids = connection.execute(query.with_for_update()).scalars().all()
    for some in chunks(ids):
        connection.execute(sa.update(tasks).where(tasks.c.id.in_(some)).values(not_before=0.0))
    count_made_ready(connection, ids)
    return len(ids)


def next_back_off(connection: sa.Connection) -> float | None:
    """When the first back-off ends; None where none is under way."""
    return connection.execute(
        sa.select(tasks.c.not_before).where(sa.text(BACKS_OFF)).order_by(tasks.c.not_before).limit(1)
    ).scalar()


@dataclass(frozen=True, slots=True)
class PlaceInLine:
    """How many ready tasks of its user that are like it are before a task, of how many; how many ``others`` that user
    has ready at its site; and how many users have some there.
    """

    before: int
    of: int
    others: int
    users: int


def place_in_line(connection: sa.Connection, task: Any) -> PlaceInLine | None:
    """Of a task's row (store.tasks.get_task); None when it is not ready, or its step is held."""
    query = sa.select(step_demands, demands.c.site, demands.c.user, demands.c.ready.label("all_ready"))
    mine = connection.execute(
        query.join(demands, demands.c.seq == step_demands.c.demand_seq).where(
            step_demands.c.step_seq == task.step_seq, step_demands.c.demand_seq == task.demand_seq
        )
    ).one_or_none()
    if mine is None or mine.held or task.state != "QUEUED" or task.waiting_on or task.not_before:
        return None
    earlier = sa.or_(
        step_demands.c.rank < mine.rank,
        sa.and_(step_demands.c.rank == mine.rank, step_demands.c.step_seq < task.step_seq),
    )
    ours = sa.and_(step_demands.c.demand_seq == task.demand_seq, sa.text(_CAN_GIVE), earlier)
    before = _sum(connection, step_demands.c.ready, ours)
    of_step = sa.and_(
        sa.text(READY), tasks.c.step_seq == task.step_seq, tasks.c.demand_seq == task.demand_seq, tasks.c.id < task.id
    )
    before += connection.execute(sa.select(sa.func.count()).select_from(tasks).where(of_step)).scalar_one()
    here = sa.and_(demands.c.site == mine.site, sa.text("demands.ready > 0"))
    others = _sum(connection, demands.c.ready, sa.and_(here, demands.c.user == mine.user)) - mine.all_ready
    users = connection.execute(sa.select(sa.func.count(sa.distinct(demands.c.user))).where(here)).scalar_one()
    return PlaceInLine(before, mine.all_ready, others, users)


def _sum(connection: sa.Connection, column: sa.Column[int], which: sa.ColumnElement[bool]) -> int:
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(column), 0)).where(which)).scalar_one())
