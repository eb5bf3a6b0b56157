"""``packhorse token``: tokens of the store at hand, for its operator."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from packhorse.cli.output import moment, print_json, print_table, say
from packhorse.cli.requests import parse_duration
from packhorse.domain.config import load_config
from packhorse.domain.errors import InvalidRequest, NotFound
from packhorse.domain.ourselves import make_own_folder, user_name
from packhorse.domain.users import Scope
from packhorse.identity.tokens import NewToken, Tokens
from packhorse.store.database import Database
from packhorse.store.migrate import ensure_schema


def add_token(
    user: str,
    database: str | None,
    *,
    admin: bool,
    read_only_admin: bool,
    name: str,
    scopes: Sequence[str],
    expires: str | None,
) -> None:
    """``packhorse token add``."""
    if admin and read_only_admin:
        raise InvalidRequest("A token is an admin's or a read-only admin's.", hint="Give one of the two options.")
    chosen = [_scope(word) for word in scopes] or ([Scope.READ] if read_only_admin else list(Scope))
    expires_at = None if expires is None else time.time() + parse_duration(expires)
    new = NewToken(user, admin, read_only_admin, chosen, name, expires_at)
    with _tokens(database) as tokens:
        say(tokens.make(new, _by()).token)


def list_tokens(user: str | None, database: str | None, *, as_json: bool) -> None:
    """``packhorse token list``."""
    with _tokens(database) as tokens:
        views = tokens.views(user)
    if as_json:
        print_json(views)
        return
    rows = [
        (
            view.id,
            view.user,
            view.name,
            "admin" if view.admin else "read-only admin" if view.sees_all else "user",
            " ".join(view.scopes),
            moment(view.created_at),
            "never" if view.expires_at is None else moment(view.expires_at),
        )
        for view in views
    ]
    print_table(["token", "user", "name", "role", "scopes", "made", "expires"], rows)


def revoke_tokens(which: str, database: str | None) -> None:
    """``packhorse token revoke``."""
    with _tokens(database) as tokens:
        if which.startswith("t-") and not tokens.views(which):
            tokens.revoke_one(which, None, _by())
            say(f"Forgot {which}.")
            return
        number = tokens.revoke(which, _by())
    if not number:
        raise NotFound(f"There is no token of '{which}'.", hint="'packhorse token list' lists them.")
    say(f"Forgot {number} {'token' if number == 1 else 'tokens'} of {which}.")


@contextmanager
def _tokens(database: str | None) -> Iterator[Tokens]:
    """Those of the database that the configuration names, or the option."""
    config = load_config()
    home = config.home_folder().absolute()
    make_own_folder(home)
    store = Database(database or config.database or f"sqlite:///{home}/packhorse.db")
    try:
        ensure_schema(store)
        yield Tokens(store)
    finally:
        store.close()


def _scope(word: str) -> Scope:
    try:
        return Scope(word)
    except ValueError:
        raise InvalidRequest(f"'{word[:60]}' is no scope.", hint=f"Scopes are {', '.join(Scope)}.") from None


def _by() -> str:
    return user_name()
