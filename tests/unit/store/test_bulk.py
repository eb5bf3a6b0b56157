"""Many rows by one statement: what is bound arrives as it would row by row, in both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.store.bulk import Bulk
from packhorse.store.database import Database
from packhorse.store.schema import TASKS_PER_RUN, events, tasks
from tests.fixtures.stores import counted_statements, insert_tasks_run, states_of

NAMES = ("task_id", "at", "attempt", "from_state", "to_state", "why")


def test_rows_arrive_in_one_statement(database: Database) -> None:
    insert = Bulk(sa.insert(events), NAMES)
    rows = [(1 << 40, 1.5, 1, None, "QUEUED", None), (2, 2.0, 3, "RUNNING", "COMPLETE", "said")]
    with database.write() as connection:
        with counted_statements(database) as sent:
            insert.execute(connection, rows)
            insert.execute(connection, [])
        assert len(sent) == 1
        columns = [events.c[name] for name in NAMES]
        assert connection.execute(sa.select(*columns).order_by(events.c.id)).all() == rows


def test_rows_with_names_are_put_in_order(database: Database) -> None:
    with database.write() as connection:
        row = dict(zip(reversed(NAMES), (None, "QUEUED", None, 0, 1.0, 5), strict=True))
        Bulk(sa.insert(events), NAMES).execute_dicts(connection, [row])
        assert connection.execute(sa.select(events.c.task_id, events.c.to_state)).all() == [(5, "QUEUED")]


def test_text_is_cleaned_as_its_column_cleans_it(database: Database) -> None:
    with database.write() as connection:
        Bulk(sa.insert(events), NAMES).execute(
            connection, [(1, 1.0, 0, None, "QUEUED", "a\0b\ud800"), (2, 1.0, 0, None, "QUEUED", "plain")]
        )
        found = connection.execute(sa.select(events.c.why).order_by(events.c.id)).scalars().all()
        assert found == ["a\ufffdb\ufffd", "plain"]


def test_an_update_changes_the_rows_that_it_names(database: Database) -> None:
    update = Bulk(
        sa.update(tasks)
        .where(tasks.c.id == sa.bindparam("of"))
        .ordered_values((tasks.c.state, sa.bindparam("to_state")), (tasks.c.reason, sa.bindparam("to_reason"))),
        ["to_state", "to_reason", "of"],
    )
    with database.write() as connection:
        run = insert_tasks_run(connection, 3)
        first = run * TASKS_PER_RUN
        update.execute(connection, [("RUNNING", "x\0", first), ("COMPLETE", None, first + 2)])
        assert states_of(connection, run) == [TaskState.RUNNING, TaskState.QUEUED, TaskState.COMPLETE]
        reason = sa.select(tasks.c.reason).where(tasks.c.id == first)
        assert connection.execute(reason).scalar_one() == "x\ufffd"


def test_names_in_another_order_than_the_statement_s_are_refused(database: Database) -> None:
    wrong = Bulk(sa.insert(events), tuple(reversed(NAMES)))
    with database.write() as connection, pytest.raises(ValueError, match="in this order"):
        wrong.execute(connection, [(None, "QUEUED", None, 0, 1.0, 5)])
