"""Allocations, their blocks and their journals."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.domain.states import AllocationState
from packhorse.store.chunks import chunks
from packhorse.store.schema import UNCLAIMED, allocations, blocks, journals

_MOST_LIVE = 10_000
_BLOCKS_AT_ONCE = 10_000
_JOURNALS_AT_ONCE = 5000
_UNCLAIMED = sa.text(UNCLAIMED)


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
    live = sa.and_(allocations.c.site == site, allocations.c.state != AllocationState.ENDED)
    return connection.execute(sa.select(allocations).where(live).order_by(allocations.c.seq).limit(_MOST_LIVE)).all()


def get_allocation(connection: sa.Connection, seq: int) -> Any | None:
    """One allocation's row."""
    return connection.execute(sa.select(allocations).where(allocations.c.seq == seq)).one_or_none()


def insert_block(
    connection: sa.Connection, allocation_seq: int, number: int, tasks: int, predicted_core_s: float
) -> None:
    """Remembers a block before it is written to the spool."""
    values = {
        "allocation_seq": allocation_seq,
        "number": number,
        "state": "planned",
        "tasks": tasks,
        "predicted_core_s": predicted_core_s,
    }
    connection.execute(sa.insert(blocks).values(values))


def set_block_states(connection: sa.Connection, allocation_seq: int, numbers: Collection[int], state: str) -> None:
    """Moves blocks on: planned → written → claimed or revoked, and never back.

    An agent may have claimed a block, and its journal been read, before we note that we wrote it; unclaimed for ever,
    it would count as work that its allocation still has.
    """
    if numbers:
        which = sa.and_(blocks.c.allocation_seq == allocation_seq, blocks.c.number.in_(numbers))
        if state == "written":
            which = sa.and_(which, blocks.c.state == "planned")
        connection.execute(sa.update(blocks).where(which).values(state=state))


def blocks_of(connection: sa.Connection, allocation_seq: int, states: Collection[str]) -> Sequence[Any]:
    """The blocks of an allocation in these states, in order."""
    which = sa.and_(blocks.c.allocation_seq == allocation_seq, blocks.c.state.in_(states))
    return connection.execute(sa.select(blocks).where(which).order_by(blocks.c.number)).all()


def unclaimed_core_s(connection: sa.Connection, allocation_seqs: Collection[int]) -> dict[int, float]:
    """Predicted core-seconds of the blocks that no agent has claimed, by allocation; those without any are left out."""
    work = sa.func.sum(blocks.c.predicted_core_s)
    query = sa.select(blocks.c.allocation_seq, work).where(_UNCLAIMED).group_by(blocks.c.allocation_seq)
    return {
        seq: float(core_s)
        for some in chunks(allocation_seqs)
        for seq, core_s in connection.execute(query.where(blocks.c.allocation_seq.in_(some)))
    }


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
    highest = connection.execute(
        sa.select(sa.func.max(blocks.c.number)).where(blocks.c.allocation_seq == allocation_seq)
    ).scalar()
    return 1 if highest is None else int(highest) + 1


def journals_of(connection: sa.Connection, allocation_seq: int) -> dict[str, Any]:
    """The journals seen so far, by agent."""
    rows = connection.execute(sa.select(journals).where(journals.c.allocation_seq == allocation_seq))
    return {row.agent: row for row in rows}


def journal_of(connection: sa.Connection, allocation_seq: int, agent: str) -> Any | None:
    """One agent's journal, if it was seen."""
    which = sa.and_(journals.c.allocation_seq == allocation_seq, journals.c.agent == agent)
    return connection.execute(sa.select(journals).where(which)).one_or_none()


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


def advance_journal(connection: sa.Connection, journal_id: int, offset: int, bad_lines: int, node: str | None) -> None:
    """Remembers that everything before ``offset`` (bytes) has been applied; belongs in the transaction that applied
    it.
    """
    values: dict[str, Any] = {"offset": offset, "bad_lines": journals.c.bad_lines + bad_lines}
    if node is not None:
        values["node"] = node
    connection.execute(sa.update(journals).where(journals.c.id == journal_id).values(values))


def add_busy(connection: sa.Connection, seq: int, core_s: float) -> None:
    """One of the allocation's agents ended, after ``core_s`` core-seconds in which tasks ran."""
    busy = sa.func.coalesce(allocations.c.busy_core_s, 0.0) + core_s
    connection.execute(sa.update(allocations).where(allocations.c.seq == seq).values(busy_core_s=busy))
