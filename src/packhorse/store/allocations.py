"""Allocations, their blocks and their journals."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from packhorse.domain.states import AllocationState
from packhorse.store.chunks import chunks
from packhorse.store.schema import HAS_ALLOCATION, UNCLAIMED, allocations, blocks, journals, tasks

_MOST_LIVE = 10_000
_BLOCKS_AT_ONCE = 10_000
_JOURNALS_AT_ONCE = 5000
_UNCLAIMED = sa.text(UNCLAIMED)

_A, _B, _J = allocations.c, blocks.c, journals.c
_LIVE = (
    sa.select(allocations)
    .where(_A.site == sa.bindparam("site"), sa.text("state <> 'ENDED'"))  # as its index says it
    .order_by(_A.seq)
    .limit(_MOST_LIVE)
)
_INSERT_BLOCK = sa.insert(blocks)
_OF_NUMBERS = sa.and_(
    _B.allocation_seq == sa.bindparam("allocation"), _B.number.in_(sa.bindparam("numbers", expanding=True))
)
_SET_STATE = sa.update(blocks).where(_OF_NUMBERS).values(state=sa.bindparam("to_state"))
_SET_WRITTEN = _SET_STATE.where(_B.state == "planned")
_IN_STATES = (
    sa.select(blocks)
    .where(_B.allocation_seq == sa.bindparam("allocation"), _B.state.in_(sa.bindparam("states", expanding=True)))
    .order_by(_B.number)
)
_AT_SITE = (
    sa.select((_B.predicted_core_s / _B.tasks).label("core_s"))
    .select_from(tasks)
    .join(blocks, sa.and_(_B.allocation_seq == tasks.c.allocation_seq, _B.number == tasks.c.block))
    .where(
        sa.text(f"tasks.{HAS_ALLOCATION}"),
        tasks.c.allocation_seq.in_(
            sa.select(_A.seq).where(_A.site == sa.bindparam("site"), sa.text("allocations.state <> 'ENDED'"))
        ),
    )
    .limit(sa.bindparam("number", type_=sa.Integer))
    .subquery()
)
_LEFT = sa.select(sa.func.count(), sa.func.sum(_AT_SITE.c.core_s))
_LAST_BLOCK = sa.select(sa.func.max(_B.number)).where(_B.allocation_seq == sa.bindparam("allocation"))
_JOURNALS = sa.select(journals).where(_J.allocation_seq == sa.bindparam("allocation"))
_JOURNAL_OF = _JOURNALS.where(_J.agent == sa.bindparam("agent"))
_UNCLAIMED_CORE_S = (
    sa.select(_B.allocation_seq, sa.func.sum(_B.predicted_core_s))
    .where(_UNCLAIMED, _B.allocation_seq.in_(sa.bindparam("seqs", expanding=True)))
    .group_by(_B.allocation_seq)
)
_ADVANCE = (
    sa.update(journals)
    .where(_J.id == sa.bindparam("of"))
    .values(
        offset=sa.bindparam("to_offset"),
        bad_lines=_J.bad_lines + sa.bindparam("more_bad"),
        node=sa.func.coalesce(sa.bindparam("to_node", type_=_J.node.type), _J.node),
        node_type=sa.func.coalesce(sa.bindparam("to_node_type", type_=_J.node_type.type), _J.node_type),
    )
)


def insert_allocation(connection: sa.Connection, allocation_id: str, site: str, shape: str, at: float) -> int:
    """Remembers an allocation before it is submitted: its id is the token by which its job is found again.

    Returns its ``seq``.
    """
    values = {"id": allocation_id, "site": site, "state": AllocationState.SUBMITTING, "shape": shape, "created_at": at}
    return int(connection.execute(sa.insert(allocations).values(values).returning(allocations.c.seq)).scalar_one())


def update_allocation(connection: sa.Connection, seq: int, **values: Any) -> None:
    """Sets columns of one allocation."""
    connection.execute(sa.update(allocations).where(allocations.c.seq == seq).values(values))


def live_allocations(connection: sa.Connection, site: str) -> Sequence[Any]:
    """The allocations of a site that are not over, oldest first; no more than any batch scheduler takes of a user."""
    return connection.execute(_LIVE, {"site": site}).all()


def get_allocation(connection: sa.Connection, seq: int) -> Any | None:
    """One allocation's row."""
    return connection.execute(sa.select(allocations).where(allocations.c.seq == seq)).one_or_none()


class NewBlock(NamedTuple):
    """A block of so many tasks."""

    allocation_seq: int
    number: int
    tasks: int
    predicted_core_s: float


def insert_blocks(connection: sa.Connection, new: Sequence[NewBlock]) -> None:
    """Remembers blocks before they are written to the spool."""
    if new:
        connection.execute(_INSERT_BLOCK, [{**one._asdict(), "state": "planned"} for one in new])


def set_block_states(connection: sa.Connection, allocation_seq: int, numbers: Collection[int], state: str) -> None:
    """Moves blocks on: planned → written → claimed or revoked, and never back.

    An agent may have claimed a block, and its journal been read, before we note that we wrote it; unclaimed for ever,
    it would count as work that its allocation still has.
    """
    if numbers:
        statement = _SET_WRITTEN if state == "written" else _SET_STATE
        connection.execute(statement, {"allocation": allocation_seq, "numbers": list(numbers), "to_state": state})


def blocks_of(connection: sa.Connection, allocation_seq: int, states: Collection[str]) -> Sequence[Any]:
    """The blocks of an allocation in these states, in order."""
    return connection.execute(_IN_STATES, {"allocation": allocation_seq, "states": list(states)}).all()


def unclaimed_core_s(connection: sa.Connection, allocation_seqs: Collection[int]) -> dict[int, float]:
    """Predicted core-seconds of the blocks that no agent has claimed, by allocation; those without any are left out."""
    return {
        seq: float(core_s)
        for some in chunks(allocation_seqs)
        for seq, core_s in connection.execute(_UNCLAIMED_CORE_S, {"seqs": some})
    }


def left_core_s(connection: sa.Connection, site: str, most: int) -> float:
    """Predicted core-seconds of the tasks that a site has and that have not ended; infinity where these are more than
    ``most``.
    """
    number, core_s = connection.execute(_LEFT, {"site": site, "number": most + 1}).one()
    return math.inf if number > most else float(core_s or 0.0)


def written_blocks(connection: sa.Connection, allocation_seqs: Collection[int]) -> dict[int, list[int]]:
    """The numbers of the blocks that are at the site and that no agent has claimed, by allocation."""
    found: dict[int, list[int]] = {}
    columns = (blocks.c.allocation_seq, blocks.c.number)
    for some in chunks(allocation_seqs):
        written = sa.and_(_UNCLAIMED, blocks.c.state == "written", blocks.c.allocation_seq.in_(some))
        query = sa.select(*columns).where(written).order_by(*columns).limit(_BLOCKS_AT_ONCE)
        for seq, number in connection.execute(query):
            found.setdefault(seq, []).append(number)
    return found


def next_block_number(connection: sa.Connection, allocation_seq: int) -> int:
    """One more than the highest so far."""
    highest = connection.execute(_LAST_BLOCK, {"allocation": allocation_seq}).scalar()
    return 1 if highest is None else int(highest) + 1


def journals_of(connection: sa.Connection, allocation_seq: int) -> dict[str, Any]:
    """The journals seen so far, by agent."""
    return {row.agent: row for row in connection.execute(_JOURNALS, {"allocation": allocation_seq})}


def journal_of(connection: sa.Connection, allocation_seq: int, agent: str) -> Any | None:
    """One agent's journal, if it was seen."""
    return connection.execute(_JOURNAL_OF, {"allocation": allocation_seq, "agent": agent}).one_or_none()


def journal_offsets(connection: sa.Connection, allocation_seqs: Collection[int]) -> dict[int, dict[str, int]]:
    """How far the journals of allocations are applied (bytes), by allocation and agent."""
    offsets: dict[int, dict[str, int]] = {seq: {} for seq in allocation_seqs}
    columns = (journals.c.id, journals.c.allocation_seq, journals.c.agent, journals.c.offset)
    for some in chunks(allocation_seqs):
        page, last = sa.select(*columns).where(journals.c.allocation_seq.in_(some)).order_by(journals.c.id), 0
        while rows := connection.execute(page.where(journals.c.id > last).limit(_JOURNALS_AT_ONCE)).all():
            for row in rows:
                offsets[row.allocation_seq][row.agent] = row.offset
            last = rows[-1].id
    return offsets


def insert_journal(connection: sa.Connection, allocation_seq: int, agent: str) -> int:
    """Starts to follow an agent's journal, from its beginning. Returns the journal's id."""
    values = {"allocation_seq": allocation_seq, "agent": agent, "offset": 0, "bad_lines": 0}
    return int(connection.execute(sa.insert(journals).values(values).returning(journals.c.id)).scalar_one())


def queue_waits(connection: sa.Connection, site: str, number: int) -> list[float]:
    """For how many seconds the last allocations of a site waited until they ran."""
    started = sa.and_(_A.site == site, _A.started_at.is_not(None))
    query = sa.select(_A.started_at - _A.created_at).where(started).order_by(_A.seq.desc()).limit(number)
    return [max(0.0, float(waited)) for waited in connection.execute(query).scalars()]


class Node(NamedTuple):
    """Where an agent runs: the name of its node, and of the processors of that."""

    name: str | None = None
    type: str | None = None


def advance_journal(connection: sa.Connection, journal_id: int, offset: int, bad_lines: int, node: Node) -> None:
    """Remembers that everything before ``offset`` (bytes) has been applied; belongs in the transaction that applied
    it.
    """
    values: dict[str, Any] = {"of": journal_id, "to_offset": offset, "more_bad": bad_lines}
    values |= {"to_node": node.name, "to_node_type": node.type}
    connection.execute(_ADVANCE, values)


def add_busy(connection: sa.Connection, seq: int, core_s: float) -> None:
    """One of the allocation's agents ended, after ``core_s`` core-seconds in which tasks ran."""
    busy = sa.func.coalesce(allocations.c.busy_core_s, 0.0) + core_s
    connection.execute(sa.update(allocations).where(allocations.c.seq == seq).values(busy_core_s=busy))
