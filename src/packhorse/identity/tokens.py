"""Tokens of the store. One is shown once, when it is made; only its SHA-256 is stored."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from packhorse.domain.accessviews import NewTokenView, TokenView
from packhorse.domain.errors import InvalidRequest, NotAuthenticated, NotFound
from packhorse.domain.text import text_problem
from packhorse.domain.users import Scope, User
from packhorse.identity.known import forget_all
from packhorse.store.audit import note_change
from packhorse.store.database import Database
from packhorse.store.tokens import (
    delete_token,
    delete_tokens_of,
    find_token,
    get_token,
    insert_token,
    list_tokens,
    token_id,
)

#: How a token of the store begins; those of others do not.
OURS = "ph_"
MAX_TOKENS = 1000
"""Listed at once."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to make. ``expires_at``: seconds since the epoch; None is never."""

    user: str
    admin: bool = False
    sees_all: bool = False
    scopes: Collection[Scope] = tuple(Scope)
    name: str = ""
    expires_at: float | None = None


class TokenChecker(Protocol):
    """What front doors need to know of tokens."""

    def who(self, token: str) -> User:
        """The user of a token. Raises NotAuthenticated; Unavailable where who knows does not answer now."""
        ...


class Tokens:
    """The tokens of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, user: str, *, admin: bool = False) -> str:
        """Makes a token for ``user`` that opens all that they may do; it cannot be read back later."""
        return self.make(NewToken(user, admin=admin)).token

    def make(self, new: NewToken, by: str | None = None) -> NewTokenView:
        """Makes a token; it cannot be read back later. ``by``: who makes it, else its user. Raises InvalidRequest."""
        token = f"{OURS}{secrets.token_urlsafe(32)}"
        values = _row(token, new)
        self._insert(values, by or new.user)
        return NewTokenView(**_view_of(values).model_dump(), token=token)

    def revoke(self, user: str, by: str | None = None) -> int:
        """Forgets all tokens of ``user``; how many there were."""
        if text_problem(user):
            return 0
        with self._database.write() as connection:
            number = delete_tokens_of(connection, user)
            if number:
                note_change(connection, by or user, "tokens revoked", f"all of {user}")
        forget_all()
        return number

    def revoke_one(self, public_id: str, of: str | None, by: str) -> None:
        """Forgets the token of this id, where it is one of ``of`` (None: of anybody). Raises NotFound."""
        with self._database.write() as connection:
            row = find_token(connection, public_id)
            if row is None or of not in (None, row.user):
                raise NotFound(f"There is no token '{public_id[:60]}'.", hint="'packhorse token list' lists them.")
            delete_token(connection, row.hash)
            note_change(connection, by, "token revoked", f"{public_id} of {row.user}")
        forget_all()

    def views(self, user: str | None = None) -> Sequence[TokenView]:
        """The tokens of ``user``, or of all."""
        with self._database.read() as connection:
            return [_view_of(row._mapping) for row in list_tokens(connection, user, MAX_TOKENS)]

    def view(self, token: str) -> TokenView:
        """What is known of a token. Raises NotAuthenticated."""
        return _view_of(self._row(token)._mapping)

    def who(self, token: str) -> User:
        """The user of a token. Raises NotAuthenticated."""
        row = self._row(token)
        scopes = frozenset(Scope(word) for word in row.scopes.split())
        return User(row.user, row.admin and Scope.ADMIN in scopes, row.sees_all, scopes)

    def ensure_file(self, path: Path, user: str) -> None:
        """Sees to it that ``path`` (readable by its owner only) holds an admin token of ``user`` that this store
        knows.
        """
        token = _read_private(path)
        if token is None:
            token = f"{OURS}{secrets.token_urlsafe(32)}"
            path.unlink(missing_ok=True)  # it may be there and empty
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(token + "\n")
        try:
            self.who(token)
        except NotAuthenticated:
            self._insert(_row(token, NewToken(user, admin=True, name=path.name)), user)

    def _row(self, token: str) -> Any:
        asked = digest_of(token)
        with self._database.read() as connection:
            row = get_token(connection, asked)
        if row is None or not hmac.compare_digest(row.hash, asked):
            raise NotAuthenticated("The token is not known here.", hint="It may have been revoked; ask for a new one.")
        if row.expires_at is not None and row.expires_at <= time.time():
            raise NotAuthenticated("The token has expired.", hint="Ask for a new one.")
        return row

    def _insert(self, values: dict[str, Any], by: str) -> None:
        with self._database.write() as connection:
            insert_token(connection, values)
            note_change(connection, by, "token made", f"{token_id(values['hash'])} of {values['user']}")


def digest_of(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _row(token: str, new: NewToken) -> dict[str, Any]:
    if not new.user.strip() or len(new.user) > 200 or not new.user.isprintable():
        raise InvalidRequest("A user's name has 1 to 200 printable characters.")
    if len(new.name) > 100 or not (new.name.isprintable() or not new.name):
        raise InvalidRequest("A token's name has at most 100 printable characters.")
    if not new.scopes:
        raise InvalidRequest("A token without a scope opens nothing.", hint=f"Scopes are {', '.join(Scope)}.")
    now = time.time()
    if new.expires_at is not None and not now < new.expires_at < now + 1e10:
        raise InvalidRequest("A token expires in the future.", hint="Leave it out for one that does not expire.")
    return {
        "hash": digest_of(token),
        "user": new.user,
        "admin": new.admin,
        "sees_all": new.sees_all,
        "scopes": " ".join(scope for scope in Scope if scope in new.scopes),
        "name": new.name,
        "created_at": now,
        "expires_at": new.expires_at,
    }


def _view_of(row: Any) -> TokenView:
    return TokenView(
        id=token_id(row["hash"]),
        name=row["name"],
        user=row["user"],
        admin=row["admin"],
        sees_all=row["sees_all"],
        scopes=[Scope(word) for word in row["scopes"].split()],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


def _read_private(path: Path) -> str | None:
    """The token in a file that nobody else may read; None when there is none yet."""
    try:
        if path.stat().st_mode & 0o077:
            raise InvalidRequest(f"Others may read the token in {path}.", hint=f"Remove it, or: chmod 600 {path}")
        return path.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None
