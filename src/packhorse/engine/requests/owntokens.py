"""A user's tokens: made, listed, and revoked one by one."""

from __future__ import annotations

import time
from collections.abc import Collection

from packhorse.domain.access import POLICY, Action
from packhorse.domain.accessviews import NewTokenView, TokenView
from packhorse.domain.errors import NotAllowed
from packhorse.domain.users import Scope, User
from packhorse.identity.tokens import NewToken, Tokens
from packhorse.store.database import Database


class OwnTokens:
    """What one user may ask for about tokens; an admin also about those of others."""

    def __init__(self, database: Database, user: User) -> None:
        self._tokens = Tokens(database)
        self._user = user

    def make(
        self,
        *,
        name: str = "",
        user: str | None = None,
        admin: bool = False,
        sees_all: bool = False,
        scopes: Collection[Scope] | None = None,
        expires_in_s: float | None = None,
    ) -> NewTokenView:
        """Makes a token, for oneself unless ``user`` is another; it opens no more than the one that asks. Raises
        NotAllowed, InvalidRequest.
        """
        whose = self._user.name if user is None else user
        POLICY.require(self._user, Action.KEEP)
        if whose != self._user.name or admin or sees_all:
            POLICY.require(self._user, Action.MANAGE)
        chosen = self._user.scopes if scopes is None else frozenset(scopes)
        if not chosen <= self._user.scopes:
            more = ", ".join(f"'{scope}'" for scope in sorted(chosen - self._user.scopes))
            raise NotAllowed(f"The new token would have a scope that yours has not: {more}.", hint="Leave it out.")
        expires_at = None if expires_in_s is None else time.time() + expires_in_s
        return self._tokens.make(NewToken(whose, admin, sees_all, chosen, name, expires_at), self._user.name)

    def views(self) -> list[TokenView]:
        """One's own; an admin's answer has everybody's."""
        POLICY.require(self._user, Action.LOOK)
        everybodys = POLICY.allows(self._user, Action.MANAGE)
        return list(self._tokens.views(None if everybodys else self._user.name))

    def revoke(self, token_id: str) -> None:
        """Forgets one. Raises NotFound, also for another user's where an admin does not ask."""
        POLICY.require(self._user, Action.KEEP)
        anybodys = POLICY.allows(self._user, Action.MANAGE)
        self._tokens.revoke_one(token_id, None if anybodys else self._user.name, self._user.name)
