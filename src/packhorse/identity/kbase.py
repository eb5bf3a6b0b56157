"""Tokens of KBase: its auth2 service is asked whose a token is, and which roles that user has."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from packhorse.domain.accessconfig import KBaseAuthConfig
from packhorse.domain.errors import NotAuthenticated, Unavailable
from packhorse.domain.users import User
from packhorse.http.client import Http, only_at
from packhorse.http.errors import NotReached
from packhorse.identity.tokens import digest_of

KEEP_S = 300.0
"""An answer counts for at most so long: a role that is taken away, or a token that is revoked, is heeded after it."""
MAX_KNOWN = 10_000
_TIMEOUT_S = 10.0
_AWAY_S = 2.0
_MAX_TOKEN = 1000  # characters
_INVALID = 10020  # auth2's code for a token that it does not know


class KBaseTokens:
    """Asks ``{url}/api/V2/token`` and ``{url}/api/V2/me``. May be used by several threads."""

    def __init__(
        self,
        config: KBaseAuthConfig,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._now, self._monotonic = config, now, monotonic
        self._url = config.url.rstrip("/")
        self._http = Http(timeout_s=_TIMEOUT_S, check=only_at(config.url))
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[User, float]] = OrderedDict()
        self._away_why, self._away_at = "", float("-inf")

    def who(self, token: str) -> User:
        """The user of a token. Raises NotAuthenticated; Unavailable where the service does not answer."""
        if not token.isascii() or not token.isprintable() or " " in token or len(token) > _MAX_TOKEN:
            raise NotAuthenticated("The token is none that KBase gives.")
        digest = digest_of(token)
        with self._lock:
            known = self._known.get(digest)
            if known is not None and self._monotonic() < known[1]:
                self._known.move_to_end(digest)
                return known[0]
        self._refuse_while_away()
        user, keep_s = self._ask(token)
        with self._lock:
            self._known[digest] = (user, self._monotonic() + keep_s)
            self._known.move_to_end(digest)
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return user

    def _refuse_while_away(self) -> None:
        """Who comes just after it did not answer is not made to wait as well."""
        if self._away_why and self._monotonic() - self._away_at < _AWAY_S:
            raise self._refusal(self._away_why)

    def _ask(self, token: str) -> tuple[User, float]:
        """The user, and for how many seconds that counts."""
        about = self._get("token", token)
        roles = self._get("me", token).get("customroles") or []
        name, expires_ms = about.get("user"), about.get("expires")
        if (
            not isinstance(name, str)
            or not name
            or not isinstance(expires_ms, int | float)
            or not isinstance(roles, list)
        ):
            raise self._away("its answer says no user")
        left_s = expires_ms / 1000 - self._now()
        if left_s <= 0:
            raise NotAuthenticated("Token validation failed: the token has expired.", hint="Sign in to KBase again.")
        cache_ms = about.get("cachefor")
        keep_s = min(KEEP_S, left_s, cache_ms / 1000 if isinstance(cache_ms, int | float) else KEEP_S)
        config = self._config
        admin = not set(config.admin_roles).isdisjoint(map(str, roles))
        sees_all = not set(config.read_only_admin_roles).isdisjoint(map(str, roles))
        return User(config.user_prefix + name, admin=admin, sees_all=sees_all), keep_s

    def _get(self, what: str, token: str) -> dict[str, Any]:
        try:
            answer = self._http.ask(
                "GET", f"{self._url}/api/V2/{what}", headers={"Authorization": token}, total_s=_TIMEOUT_S, limit=1 << 20
            )
        except NotReached as error:
            raise self._away(error.what) from None
        try:
            document = json.loads(answer.content)
        except (ValueError, RecursionError):
            document = None
        if answer.status_code == 200 and isinstance(document, dict):
            return document
        said = document.get("error") if isinstance(document, dict) else None
        about = said if isinstance(said, dict) else {}
        if answer.status_code == 401 or about.get("appcode") == _INVALID:
            why = str(about.get("message") or "Invalid token")[:200]
            raise NotAuthenticated(f"Token validation failed: {why}.", hint="Sign in to KBase again.")
        raise self._away(f"it answers {answer.status_code}")

    def _away(self, why: str) -> Unavailable:
        self._away_why, self._away_at = why, self._monotonic()
        return self._refusal(why)

    def _refusal(self, why: str) -> Unavailable:
        return Unavailable(
            f"The token cannot be checked: KBase's authentication service at {self._url} does not answer: {why}.",
            hint="Try again later; what was accepted goes on.",
        )
