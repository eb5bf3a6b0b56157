"""Fixtures for every layer: databases of both kinds, and an engine room of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from packhorse.engine.embedded import Embedded
from packhorse.store.database import Database
from packhorse.store.migrate import ensure_schema

from .fixtures.postgres import Postgres

# how fast a machine is at the moment is no property of the code
settings.register_profile("packhorse", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("packhorse")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what uses the cluster: these tests break it, and so run in one process; the others run beside them in
    another.
    """
    for item in items:
        if "slurm" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A private PostgreSQL server, for the whole session."""
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/packhorse.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with our schema."""
    database = Database(database_url)
    ensure_schema(database)
    yield database
    database.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder for everything that an engine room keeps."""
    return tmp_path / "home"


@pytest.fixture
def embedded(home: Path, database_url: str) -> Iterator[Embedded]:
    """Packhorse in this process, on either database; its engine is not running yet."""
    room = Embedded(home, database_url=database_url, linger_s=0.5)
    yield room
    room.close()
