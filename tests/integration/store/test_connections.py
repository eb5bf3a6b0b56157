"""A connection to the database that died while nobody used it is replaced, and nobody is told of it."""

from __future__ import annotations

import pytest

import packhorse.store.database as databases
from packhorse.domain.errors import Unavailable
from packhorse.store.database import Database
from tests.fixtures.postgres import Postgres


def test_what_died_meanwhile_is_replaced(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres.new_database()
    database, other = Database(url), Database(url)
    those = "datname = current_database() AND pid <> pg_backend_pid()"
    kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {those}"  # noqa: S608  constants
    asked: list[int] = []
    ping = type(database.engine.dialect).do_ping
    monkeypatch.setattr(type(database.engine.dialect), "do_ping", lambda self, one: asked.append(1) or ping(self, one))
    assert database.answers()
    del asked[:]
    assert database.answers() and not asked, "it was used just now"

    monkeypatch.setattr(databases, "_SURELY_ALIVE_S", 0.0)
    with other.write() as connection:
        connection.exec_driver_sql(kill)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    assert asked

    monkeypatch.setattr(databases, "_SURELY_ALIVE_S", 1000.0)
    with other.write() as connection:
        connection.exec_driver_sql(kill)
    with pytest.raises(Unavailable), database.read() as connection:
        connection.exec_driver_sql("SELECT 1")
    assert database.answers(), "after that it is known to be dead"
    database.close()
    other.close()
