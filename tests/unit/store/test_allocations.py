"""The states of blocks."""

from __future__ import annotations

import pytest

from packhorse.store import allocations as stored
from packhorse.store.database import Database


@pytest.mark.parametrize("over", ["claimed", "revoked"])
def test_a_block_that_is_over_is_not_written_again(database: Database, over: str) -> None:
    with database.write() as connection:
        seq = stored.insert_allocation(connection, "a-1", "local", "{}", 0.0)
        for number in (1, 2):
            stored.insert_blocks(connection, [stored.NewBlock(seq, number, tasks=1, predicted_core_s=1.0)])
        stored.set_block_states(connection, seq, [1], over)  # read from the journal before we noted what we wrote
        stored.set_block_states(connection, seq, [1, 2], "written")
        assert [row.number for row in stored.blocks_of(connection, seq, [over])] == [1]
        assert [row.number for row in stored.blocks_of(connection, seq, ["planned", "written"])] == [2]
