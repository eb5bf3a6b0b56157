"""The states of blocks, and how far journals are."""

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


def test_how_far_the_journals_of_allocations_are(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in pages."""
    monkeypatch.setattr(stored, "_JOURNALS_AT_ONCE", 3)
    with database.write() as connection:
        seqs = [stored.insert_allocation(connection, f"a-{number}", "s", "{}", 1.0) for number in range(4)]
        for number, seq in enumerate(seqs[:3]):
            for agent in range(3):
                journal = stored.insert_journal(connection, seq, f"n{agent}")
                stored.advance_journal(connection, journal, 10 * number + agent, 0, stored.Node())
        offsets = stored.journal_offsets(connection, [seqs[0], seqs[2], seqs[3]])
        assert offsets == {
            seqs[0]: {"n0": 0, "n1": 1, "n2": 2},
            seqs[2]: {"n0": 20, "n1": 21, "n2": 22},
            seqs[3]: {},
        }
        found = stored.journal_of(connection, seqs[2], "n1")
        assert found is not None and found.offset == 21
        assert stored.journal_of(connection, seqs[3], "n1") is None
