"""Allocations, their blocks and their journals."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from packhorse.domain.states import AllocationState
from packhorse.store.schema import allocations, blocks, journals

_A, _B, _J = allocations.c, blocks.c, journals.c
_LIVE = (
    sa.select(allocations)
    .where(_A.site == sa.bindparam("site"), sa.text("state <> 'ENDED'"))  # as its index says it
    .order_by(_A.seq)
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
_LAST_BLOCK = sa.select(sa.func.max(_B.number)).where(_B.allocation_seq == sa.bindparam("allocation"))
_JOURNALS = sa.select(journals).where(_J.allocation_seq == sa.bindparam("allocation"))
_ADVANCE = (
    sa.update(journals)
    .where(_J.id == sa.bindparam("of"))
    .values(
        offset=sa.bindparam("to_offset"),
        bad_lines=_J.bad_lines + sa.bindparam("more_bad"),
        node=sa.func.coalesce(sa.bindparam("to_node", type_=sa.String), _J.node),
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
    """The allocations of a site that are not over, oldest first."""
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


def next_block_number(connection: sa.Connection, allocation_seq: int) -> int:
    """One more than the highest so far."""
    highest = connection.execute(_LAST_BLOCK, {"allocation": allocation_seq}).scalar()
    return 1 if highest is None else int(highest) + 1


def journals_of(connection: sa.Connection, allocation_seq: int) -> dict[str, Any]:
    """The journals seen so far, by agent."""
    return {row.agent: row for row in connection.execute(_JOURNALS, {"allocation": allocation_seq})}


def insert_journal(connection: sa.Connection, allocation_seq: int, agent: str) -> int:
    """Starts to follow an agent's journal, from its beginning. Returns the journal's id."""
    values = {"allocation_seq": allocation_seq, "agent": agent, "offset": 0, "bad_lines": 0}
    return int(connection.execute(sa.insert(journals).values(values).returning(journals.c.id)).scalar_one())


def advance_journal(connection: sa.Connection, journal_id: int, offset: int, bad_lines: int, node: str | None) -> None:
    """Remembers that everything before ``offset`` (bytes) has been applied; belongs in the transaction that applied
    it.
    """
    values = {"of": journal_id, "to_offset": offset, "more_bad": bad_lines, "to_node": node}
    connection.execute(_ADVANCE, values)


def add_busy(connection: sa.Connection, seq: int, core_s: float) -> None:
    """One of the allocation's agents ended, after ``core_s`` core-seconds in which tasks ran."""
    busy = sa.func.coalesce(allocations.c.busy_core_s, 0.0) + core_s
    connection.execute(sa.update(allocations).where(allocations.c.seq == seq).values(busy_core_s=busy))
