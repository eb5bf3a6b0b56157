"""Tokens by their SHA-256: the token itself is never stored."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from packhorse.store.schema import tokens

_ID = re.compile(r"t-([0-9a-f]{16})")
_BY_HASH = sa.select(tokens).where(tokens.c.hash == sa.bindparam("asked"))
_INSERT = sa.insert(tokens)


def token_id(digest: str) -> str:
    """The public id of a token, which opens nothing: a part of its hash."""
    return f"t-{digest[:16]}"


def insert_token(connection: sa.Connection, values: Mapping[str, Any]) -> None:
    """Inserts a row."""
    connection.execute(_INSERT, values)


def get_token(connection: sa.Connection, digest: str) -> Any | None:
    """The row of a token by its hash."""
    return connection.execute(_BY_HASH, {"asked": digest}).one_or_none()


def find_token(connection: sa.Connection, public_id: str) -> Any | None:
    """The row of a token by its public id."""
    match = _ID.fullmatch(public_id)
    if match is None:
        return None
    begins = match[1]
    query = sa.select(tokens).where(tokens.c.hash >= begins, tokens.c.hash <= begins + "f" * (64 - len(begins)))
    return connection.execute(query.limit(1)).one_or_none()


def list_tokens(connection: sa.Connection, user: str | None, limit: int) -> Sequence[Any]:
    """The tokens of ``user``, or of all, by user and time."""
    query = sa.select(tokens).order_by(tokens.c.user, tokens.c.created_at).limit(limit)
    return connection.execute(query if user is None else query.where(tokens.c.user == user)).all()


def delete_token(connection: sa.Connection, digest: str) -> int:
    """Forgets one; how many there were."""
    return connection.execute(sa.delete(tokens).where(tokens.c.hash == digest)).rowcount


def delete_tokens_of(connection: sa.Connection, user: str) -> int:
    """Forgets all of a user; how many there were."""
    return connection.execute(sa.delete(tokens).where(tokens.c.user == user)).rowcount
