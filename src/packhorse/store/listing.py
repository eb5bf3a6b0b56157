"""Tasks that came over TES, listed: by owner, and by name, state and tags, each along an index.

One condition leads along its index; where there are others, so many tasks are looked at that a page takes no longer
than others, and it may then be shorter than was asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from packhorse.store.chunks import chunks
from packhorse.store.schema import runs, task_tags, tasks

MAX_NAME = 100
"""Characters of a name that are searched."""
_LOOKED_AT = 10_000  # tasks, of which those are left out that other conditions do not hold for
_AT_ONCE = 1000
_OWNERS = 200  # for a page of everybody's
_END = (1 << 63) - 1

_T = tasks.c


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is listed: tasks whose names begin with ``prefix``, in one state, with all of these tags. A tag's value ''
    is any.
    """

    prefix: str = ""
    state: str | None = None
    tags: Mapping[str, str] | None = None


class Place(NamedTuple):
    """Where a list goes on: behind this task. ``name`` counts where names lead."""

    owner: str
    name: str
    task: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A page: its tasks in order, each with the place behind it, and where the next one begins, if there is one."""

    places: Sequence[Place]
    following: Place | None

    @property
    def ids(self) -> list[int]:
        return [place.task for place in self.places]

    def first(self, number: int) -> Listed:
        """No more than so many of them."""
        return self if number >= len(self.places) else Listed(self.places[:number], self.places[number - 1])


def tag_rows(task: int, owner: str, tags: Mapping[str, str]) -> list[dict[str, int]]:
    """The rows of ``task_tags`` of one task."""
    digests = {digest for key, value in tags.items() for digest in (_digest(owner, key), _digest(owner, key, value))}
    return [{"digest": digest, "task_id": task} for digest in sorted(digests)]


def _digest(*words: str) -> int:
    """63 bits of SHA-256: nobody but a task's owner chooses what it is made of."""
    said = json.dumps(words).encode()
    return int.from_bytes(hashlib.sha256(said).digest()[:8], "big") >> 1


def page_of_listed(
    connection: sa.Connection, owner: str | None, wanted: Wanted, after: Place | None, size: int
) -> Listed:
    """At most ``size`` tasks of ``owner``, or of everybody, behind ``after``. Newest first, or by name where names are
    asked for; everybody's by owner.
    """
    places: list[Place] = []
    left = _LOOKED_AT
    owners = iter([owner]) if owner is not None else _owners_from(connection, after.owner if after is not None else "")
    of = next(owners, None)
    if after is not None and after.owner != of:  # no token of ours
        after = None
    for _ in range(_OWNERS):
        if of is None:
            return Listed(places, None)
        found, after, looked_at = _of_owner(connection, of, wanted, after, size - len(places), left)
        places += found
        left -= looked_at
        if after is not None:
            return Listed(places, after)
        of = next(owners, None)
        if of is not None and (len(places) == size or left <= 0):
            break
    return Listed(places, None if of is None else Place(of, "", _END))


def _some_owners() -> sa.Select[Any]:
    """Owners from a name on, in order: one look at the index for each, however many tasks they have."""
    first = sa.select(sa.func.min(_T.owner).label("owner")).where(
        _T.owner >= sa.bindparam("begin"), _T.owner.is_not(None)
    )
    found = first.cte("found", recursive=True)
    behind = sa.select(sa.func.min(_T.owner)).where(_T.owner > found.c.owner, _T.owner.is_not(None))
    found = found.union_all(sa.select(behind.scalar_subquery()).where(found.c.owner.is_not(None)))
    return sa.select(found.c.owner).where(found.c.owner.is_not(None)).limit(_OWNERS_AT_ONCE)


_OWNERS_AT_ONCE = 25
_SOME_OWNERS = _some_owners()


def _owners_from(connection: sa.Connection, begin: str) -> Iterator[str]:
    """All owners from ``begin`` on, itself as well, in order; asked for by parts."""
    last: str | None = None
    while True:
        some = connection.execute(_SOME_OWNERS, {"begin": begin if last is None else last}).scalars().all()
        yield from (one for one in sorted(some) if one != last)
        if len(some) < _OWNERS_AT_ONCE:
            return
        last = max(some)


def _of_owner(
    connection: sa.Connection, owner: str, wanted: Wanted, after: Place | None, size: int, most: int
) -> tuple[list[Place], Place | None, int]:
    """(tasks of the page, where it goes on with this owner, how many tasks were looked at)."""
    place = after or Place(owner, "", _END)
    lead, others = _way(connection, owner, wanted, place)
    number = size + 1 if not others else _AT_ONCE
    found: list[Place] = []
    looked_at = 0
    while True:
        candidates = lead(place, number)
        holding = _holding(connection, [one.task for one in candidates], others)
        for one in candidates:
            if len(found) == size:
                return found, place, looked_at
            place = one
            looked_at += 1
            if one.task in holding:
                found.append(one)
        if len(candidates) < number:
            return found, None, looked_at
        if looked_at >= most:
            return found, place, looked_at


Lead = Callable[[Place, int], list[Place]]
Others = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Way:
    """A condition along its index: ``lead`` reads tasks behind a place, ``count`` says how many there are at most, and
    ``meets`` names what these meet.
    """

    lead: Lead
    count: Callable[[int], int]
    meets: frozenset[str]


def _way(connection: sa.Connection, owner: str, wanted: Wanted, place: Place) -> tuple[Lead, Others]:
    """The condition that leads along its index, and those that are left: the one that the fewest tasks meet, as far as
    that is soon counted. A list that began by name goes on so, and all others have one order.
    """
    digests = [_digest(owner, key, *([value] if value else [])) for key, value in (wanted.tags or {}).items()]
    others: Others = {f"digest{number}": digest for number, digest in enumerate(digests)}
    if wanted.state is not None:
        others["state"] = wanted.state
    prefix = wanted.prefix[:MAX_NAME]
    if prefix:
        others |= {"low": prefix, "high": _behind(prefix)}
    ways: list[_Way] = []
    is_first = place.task == _END
    if prefix and (is_first or place.name):
        ways.append(_names(connection, owner, prefix, others["high"]))
    if not place.name:
        for number, digest in enumerate(digests):
            ways.append(_ids(connection, _BY_TAG, place, f"digest{number}", digest=digest))
        if wanted.state is not None:
            ways.append(_ids(connection, _BY_STATE, place, "state", state=wanted.state, owner=owner))
    if not ways:
        return _ids(connection, _BY_OWNER, place, owner=owner).lead, others
    best = _narrowest(ways)
    return best.lead, {name: value for name, value in others.items() if name not in best.meets}


def _narrowest(ways: Sequence[_Way]) -> _Way:
    """The one that the fewest tasks meet; none is counted further than the best before it."""
    best, fewest = ways[0], _AT_ONCE
    for way in ways if len(ways) > 1 else ():
        number = way.count(fewest)
        if number < fewest:
            best, fewest = way, number
        if not number:
            break
    return best


_NUMBER = sa.bindparam("number", type_=sa.Integer)
_BEFORE = sa.bindparam("before", type_=sa.BigInteger)
_OF_OWNER = _T.owner == sa.bindparam("owner")
_BY_OWNER = sa.select(_T.id).where(_OF_OWNER, _T.id < _BEFORE).order_by(_T.id.desc()).limit(_NUMBER)
_BY_STATE = (
    sa.select(_T.id)
    .where(_OF_OWNER, _T.state == sa.bindparam("state"), _T.id < _BEFORE)
    .order_by(_T.id.desc())
    .limit(_NUMBER)
)
_BY_TAG = (
    sa.select(task_tags.c.task_id)
    .where(task_tags.c.digest == sa.bindparam("digest"), task_tags.c.task_id < _BEFORE)
    .order_by(task_tags.c.task_id.desc())
    .limit(_NUMBER)
)
_OF_NAME = (
    sa.select(_T.name, _T.id)
    .where(_OF_OWNER, _T.name == sa.bindparam("low"), _T.id > sa.bindparam("after", type_=sa.BigInteger))
    .order_by(_T.id)
    .limit(_NUMBER)
)


@cache
def _by_name(*, first: bool, bounded: bool) -> sa.Select[Any]:
    """Names from ``low`` on, itself only for the first page; below ``high`` where there is such a bound."""
    low = _T.name >= sa.bindparam("low") if first else _T.name > sa.bindparam("low")
    high = [_T.name < sa.bindparam("high")] if bounded else []
    return sa.select(_T.name, _T.id).where(_OF_OWNER, low, *high).order_by(_T.name, _T.id).limit(_NUMBER)


@cache
def _number_of(query: sa.Select[Any]) -> sa.Select[Any]:
    """How many rows a query has: its own are not fetched for that, since each takes longer than to count a hundred."""
    return sa.select(sa.func.count()).select_from(query.subquery())


def _ids(connection: sa.Connection, query: sa.Select[Any], begin: Place, *meets: str, **values: Any) -> _Way:
    """Newest first."""

    def lead(place: Place, number: int) -> list[Place]:
        found = connection.execute(query, {**values, "before": place.task, "number": number}).scalars()
        return [Place(begin.owner, "", task) for task in found]

    def count(most: int) -> int:
        asked = {**values, "before": begin.task, "number": most}
        return int(connection.execute(_number_of(query), asked).scalar_one())

    return _Way(lead, count, frozenset(meets))


def _names(connection: sa.Connection, owner: str, low: str, high: str | None) -> _Way:
    """By name, and of one name oldest first."""
    bound = {"high": high} if high is not None else {}

    def lead(place: Place, number: int) -> list[Place]:
        values = {"owner": owner, "number": number, **bound}
        if not place.name:
            query = _by_name(first=True, bounded=high is not None)
            return [Place(owner, *row) for row in connection.execute(query, {**values, "low": low})]
        same = {"owner": owner, "low": place.name, "after": place.task, "number": number}
        found = [Place(owner, *row) for row in connection.execute(_OF_NAME, same)]
        if len(found) < number:
            query = _by_name(first=False, bounded=high is not None)
            values |= {"low": place.name, "number": number - len(found)}
            found += [Place(owner, *row) for row in connection.execute(query, values)]
        return found

    def count(most: int) -> int:
        query = _number_of(_by_name(first=True, bounded=high is not None))
        return int(connection.execute(query, {"owner": owner, "low": low, "number": most, **bound}).scalar_one())

    return _Way(lead, count, frozenset({"low", "high"}))


def _behind(prefix: str) -> str | None:
    """The first text behind all that begin with ``prefix``, in the order of bytes; None where there is none."""
    for end in range(len(prefix), 0, -1):
        code = ord(prefix[end - 1]) + 1
        if code <= 0x10FFFF:
            return prefix[: end - 1] + chr(0xE000 if 0xD800 <= code < 0xE000 else code)
    return None


def _holding(connection: sa.Connection, ids: Sequence[int], others: Others) -> Collection[int]:
    """Those of ``ids`` for which the other conditions hold."""
    if not others:
        return set(ids)
    found: set[int] = set()
    values = {name: value for name, value in others.items() if value is not None}
    query = _which(tuple(sorted(values)))
    for some in chunks(ids):
        found.update(connection.execute(query, {**values, "ids": some}).scalars())
    return found


@cache
def _which(names: tuple[str, ...]) -> sa.Select[Any]:
    """Tasks of ``ids`` for which the conditions of these names hold."""
    query = sa.select(_T.id).where(_T.id.in_(sa.bindparam("ids", expanding=True)))
    for name in names:
        match name:
            case "state":
                query = query.where(_T.state == sa.bindparam("state"))
            case "low":
                query = query.where(_T.name >= sa.bindparam("low"))
            case "high":
                query = query.where(_T.name < sa.bindparam("high"))
            case _:
                tag = task_tags.alias()
                query = query.where(sa.exists().where(tag.c.digest == sa.bindparam(name), tag.c.task_id == _T.id))
    return query


_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_SHORT = sa.select(_T.id, _T.state, sa.func.length(_T.params).label("length")).where(_T.id.in_(_IDS))
_WHOLE = sa.select(tasks).where(_T.id.in_(_IDS))
_RUNS = sa.select(runs.c.seq, runs.c.id, runs.c.created_at).where(runs.c.seq.in_(_IDS))


def short_rows(connection: sa.Connection, ids: Collection[int]) -> dict[int, Any]:
    """(id, state, length of what is kept of it in characters) of tasks, by id."""
    return {row.id: row for some in chunks(ids) for row in connection.execute(_SHORT, {"ids": some})}


def whole_rows(connection: sa.Connection, ids: Collection[int]) -> dict[int, Any]:
    """Tasks by id."""
    return {row.id: row for some in chunks(ids) for row in connection.execute(_WHOLE, {"ids": some})}


def runs_of(connection: sa.Connection, seqs: Collection[int]) -> dict[int, Any]:
    """(seq, id, created_at) of runs, by ``seq``."""
    return {row.seq: row for some in chunks(seqs) for row in connection.execute(_RUNS, {"ids": some})}
