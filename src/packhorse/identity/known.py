"""Users of tokens that were looked at a moment ago, so that requests that follow each other cost neither a query nor a
thread.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from packhorse.domain.users import User

LIFE_S = 2.0
"""A token that another process revokes, or that expires, opens doors here for at most so long."""
MAX_KNOWN = 10_000
"""Tokens; those that were used longest ago leave."""

_revocations = 0


def forget_all() -> None:
    """A token was revoked in this process: whatever was known is looked up again."""
    global _revocations  # noqa: PLW0603 (it is one count for all)
    _revocations += 1


class KnownTokens:
    """For one thread, which is that of a server's event loop. It holds digests, not tokens."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._known: OrderedDict[bytes, tuple[User, float, int]] = OrderedDict()

    def get(self, token: str) -> User | None:
        """The user of a token that was known a moment ago."""
        digest = _digest(token)
        found = self._known.get(digest)
        if found is None:
            return None
        user, until, revocations = found
        if self._monotonic() >= until or revocations != _revocations:
            del self._known[digest]
            return None
        self._known.move_to_end(digest)
        return user

    def revocations(self) -> int:
        """To be read before a token is looked up, and given to ``put``: what is revoked meanwhile is not kept."""
        return _revocations

    def put(self, token: str, user: User, revocations: int) -> None:
        """Keeps what was looked up just now."""
        self._known[_digest(token)] = (user, self._monotonic() + LIFE_S, revocations)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
