"""Users' secrets, sealed: what opens them is not in the database."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.store.schema import user_secrets
from packhorse.store.upserts import insert_or_set

_S = user_secrets.c


def set_secret(connection: sa.Connection, user: str, name: str, sealed: bytes) -> None:
    """Keeps one, in place of what was there under its name."""
    row = {"user": user, "name": name, "sealed": sealed, "set_at": time.time()}
    connection.execute(insert_or_set(connection, user_secrets, "sealed", "set_at"), row)


def list_secrets(connection: sa.Connection, user: str, limit: int) -> Sequence[Any]:
    """(name, set_at) of a user's."""
    return connection.execute(sa.select(_S.name, _S.set_at).where(_S.user == user).order_by(_S.name).limit(limit)).all()


def delete_secret(connection: sa.Connection, user: str, name: str) -> int:
    """Forgets one; how many there were."""
    return connection.execute(sa.delete(user_secrets).where(_S.user == user, _S.name == name)).rowcount


def sealed_secrets(connection: sa.Connection, user: str, names: Collection[str]) -> dict[str, bytes]:
    """Those of these names that there are."""
    query = sa.select(_S.name, _S.sealed).where(_S.user == user, _S.name.in_(list(names)))
    return {row.name: bytes(row.sealed) for row in connection.execute(query)}


def secret_names(connection: sa.Connection, user: str, names: Collection[str]) -> set[str]:
    """Which of these a user has."""
    query = sa.select(_S.name).where(_S.user == user, _S.name.in_(list(names)))
    return set(connection.execute(query).scalars())
