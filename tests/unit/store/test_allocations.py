"""The states of blocks, and how far journals are."""

from __future__ import annotations

import math

import pytest
import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.store import allocations as stored
from packhorse.store.asked import asked_of_site
from packhorse.store.database import Database
from packhorse.store.schema import TASKS_PER_RUN, growths
from tests.fixtures.stores import insert_tasks_run, move_tasks, place_some

S = TaskState


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


def test_what_a_site_still_has_to_do(database: Database) -> None:
    """Of tasks in blocks, each its part of what its block was predicted to take; those that ended do not count."""
    with database.write() as connection:
        insert_tasks_run(connection, 10, site="local")
        seq = stored.insert_allocation(connection, "a-1", "local", "{}", 0.0)
        stored.insert_blocks(connection, [stored.NewBlock(seq, 1, tasks=10, predicted_core_s=5.0)])
        assert stored.left_core_s(connection, "local", 10) == 0
        ids = place_some(connection, 10, "local", seq)
        assert stored.left_core_s(connection, "local", 10) == pytest.approx(5.0)
        assert stored.left_core_s(connection, "elsewhere", 10) == 0
        assert stored.left_core_s(connection, "local", 9) == math.inf, "it is not looked through"
        move_tasks(connection, [(task, state) for task in ids[:4] for state in (S.RUNNING, S.COMPLETE)])
        assert stored.left_core_s(connection, "local", 10) == pytest.approx(3.0)


def test_what_is_asked_of_a_site(database: Database) -> None:
    with database.write() as connection:
        task = insert_tasks_run(connection, 1, site="local") * TASKS_PER_RUN
        assert asked_of_site(connection, "local") == (False, False)
        move_tasks(connection, [(task, S.INITIALIZING), (task, S.CANCELING)])
        row = {"step_seq": 1, "run_seq": 1, "site": "local", "upstream": 1, "grown": 0}
        connection.execute(sa.insert(growths).values(row))
        assert asked_of_site(connection, "local") == (True, True)
        assert asked_of_site(connection, "elsewhere") == (True, False)
