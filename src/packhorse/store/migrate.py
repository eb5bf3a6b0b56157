"""Brings a database to the schema of this program. Costs one query when it is there already."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from packhorse.domain.errors import Conflict
from packhorse.store.database import Database

#: The newest migration; a test holds it to the files in ``migrations/versions``.
HEAD = "0017"

_LOCK = 7_265_001  # PostgreSQL's advisory lock: one migration at a time


def ensure_schema(database: Database) -> None:
    """Creates or upgrades the tables. Refuses a database that a newer Packhorse has written."""
    with database.read() as connection:
        if _version(connection) == HEAD:
            return
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        version = _version(connection)
        if version != HEAD:  # nobody was quicker
            _upgrade(connection, version)
    database.cut_log()


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: sa.Connection, version: str | None) -> None:
    from alembic import command  # slow to import, and seldom needed
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise Conflict(
            f"The database was written by a newer Packhorse (its schema is '{version}', this program knows '{HEAD}').",
            hint="Upgrade this Packhorse, or point it to another database.",
        )
    command.upgrade(config, "head")
