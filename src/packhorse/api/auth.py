"""Who asks. A token is shown once, when it is made; only its SHA-256 is stored."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path
from typing import Annotated, Protocol

from fastapi import Depends, Request

from packhorse.domain.errors import InvalidRequest, NotAuthenticated
from packhorse.domain.text import text_problem
from packhorse.domain.views import User
from packhorse.store.database import Database
from packhorse.store.schema import tokens as table

_HINT = (
    "Send 'Authorization: Bearer TOKEN'; the client and the command line take it from PACKHORSE_TOKEN_FILE or"
    " PACKHORSE_TOKEN."
)


class TokenChecker(Protocol):
    """What the API needs to know of tokens."""

    def who(self, token: str) -> User:
        """The user of a token. Raises NotAuthenticated."""
        ...


class Tokens:
    """The tokens of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, user: str, *, admin: bool = False) -> str:
        """Makes a token for ``user`` and returns it; it cannot be read back later."""
        token = f"ph_{secrets.token_urlsafe(32)}"
        self._insert(token, user, admin)
        return token

    def revoke(self, user: str) -> int:
        """Forgets all tokens of ``user``; how many there were."""
        if text_problem(user):
            return 0
        with self._database.write() as connection:
            return connection.execute(table.delete().where(table.c.user == user)).rowcount

    def users(self) -> list[tuple[User, float]]:
        """(user, when the token was made, seconds since the epoch) for each token."""
        with self._database.read() as connection:
            rows = connection.execute(table.select().order_by(table.c.user, table.c.created_at)).all()
        return [(User(row.user, row.admin), row.created_at) for row in rows]

    def who(self, token: str) -> User:
        """The user of a token. Raises NotAuthenticated."""
        asked = _digest(token)
        with self._database.read() as connection:
            row = connection.execute(table.select().where(table.c.hash == asked)).one_or_none()
        if row is None or not hmac.compare_digest(row.hash, asked):
            raise NotAuthenticated("The token is not known here.", hint="It may have been revoked; ask for a new one.")
        return User(row.user, row.admin)

    def ensure_file(self, path: Path, user: str) -> None:
        """Sees to it that ``path`` (readable by its owner only) holds an admin token of ``user`` that this store
        knows.
        """
        token = _read_private(path)
        if token is None:
            token = f"ph_{secrets.token_urlsafe(32)}"
            path.unlink(missing_ok=True)  # it may be there and empty
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(token + "\n")
        try:
            self.who(token)
        except NotAuthenticated:
            self._insert(token, user, admin=True)

    def _insert(self, token: str, user: str, admin: bool) -> None:
        if not user.strip() or len(user) > 200 or not user.isprintable():
            raise InvalidRequest("A user's name has 1 to 200 printable characters.")
        values = {"hash": _digest(token), "user": user, "admin": admin, "created_at": time.time()}
        with self._database.write() as connection:
            connection.execute(table.insert().values(values))


def current_user(request: Request) -> User:
    """The user who sent a request. Every endpoint but ``/health`` depends on this."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotAuthenticated("This request needs a token.", hint=_HINT)
    tokens: TokenChecker = request.app.state.tokens
    user = tokens.who(token.strip())
    request.state.user = user.name
    return user


CurrentUser = Annotated[User, Depends(current_user)]


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _read_private(path: Path) -> str | None:
    """The token in a file that nobody else may read; None when there is none yet."""
    try:
        if path.stat().st_mode & 0o077:
            raise InvalidRequest(f"Others may read the token in {path}.", hint=f"Remove it, or: chmod 600 {path}")
        return path.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None
