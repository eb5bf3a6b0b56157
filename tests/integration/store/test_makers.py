"""Who makes reference data: others wait while it is made, and what is over leaves nothing."""

from __future__ import annotations

import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.store.database import Database
from packhorse.store.makers import note_makers, under_way
from packhorse.store.schema import makers
from tests.fixtures.stores import end_tasks, ids_of, insert_tasks_run


def test_makers_that_have_ended_leave_when_others_come(database: Database) -> None:
    with database.write() as connection:
        first, second, third = ids_of(insert_tasks_run(connection, 3), range(3))
        note_makers(connection, {"a": first, "b": second, "gone": 7 << 20})
    with database.write() as connection:
        assert under_way(connection, ["a", "b", "c", "gone"]) == {"a": first, "b": second}
        end_tasks(connection, [first], TaskState.COMPLETE)
        note_makers(connection, {"c": third})
        assert under_way(connection, ["a", "b", "c"]) == {"b": second, "c": third}
        assert set(connection.execute(sa.select(makers.c.cache_key)).scalars()) == {"b", "c"}
        note_makers(connection, {"b": third})
        assert under_way(connection, ["b"]) == {"b": third}, "the last who makes it is the one to wait for"
