"""Whose a token is, wherever it comes from: the store, an OpenID Connect issuer, KBase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from packhorse.domain.accessconfig import AuthConfig
from packhorse.domain.errors import NotAuthenticated
from packhorse.domain.users import User
from packhorse.identity.tokens import OURS, TokenChecker, Tokens


class Checkers:
    """Asks those that a token can be of, by how it looks, and adds the groups of the configuration."""

    def __init__(self, tokens: Tokens, config: AuthConfig, groups: Mapping[str, Sequence[str]]) -> None:
        self._tokens = tokens
        self._issuers: dict[str, TokenChecker] = {}
        self._kbase: TokenChecker | None = None
        if config.oidc:
            from packhorse.identity.oidc import OidcTokens  # slow to import, and many do without

            self._issuers = {one.issuer: OidcTokens(one) for one in config.oidc}
        if config.kbase is not None:
            from packhorse.identity.kbase import KBaseTokens

            self._kbase = KBaseTokens(config.kbase)
        self._groups: dict[str, frozenset[str]] = {}
        for group, users in groups.items():
            for user in users:
                self._groups[user] = self._groups.get(user, frozenset()) | {group}

    def who(self, token: str) -> User:
        """The user of a token. Raises NotAuthenticated; Unavailable where who knows does not answer now."""
        user = self._asked(token)
        own = self._groups.get(user.name)
        return user if own is None else replace(user, groups=user.groups | own)

    def _asked(self, token: str) -> User:
        if token.startswith(OURS):
            return self._tokens.who(token)
        if self._issuers:
            from packhorse.identity.oidc import says_issuer

            issuer = says_issuer(token)
            if issuer is not None:
                if (checker := self._issuers.get(issuer)) is None:
                    hint = "Ask for a token of an issuer that this server knows."
                    raise NotAuthenticated("The token is of an issuer that is not known here.", hint=hint)
                return checker.who(token)
        return self._tokens.who(token) if self._kbase is None else self._kbase.who(token)
