"""Who asks, and what they may do with the token at hand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from packhorse.domain.text import holdable


class Scope(StrEnum):
    """What a token opens."""

    READ = "read"
    """To see what its user may see."""
    SUBMIT = "submit"
    """To submit, change and share what is its user's."""
    ADMIN = "admin"
    """To act as an admin, where its user is one."""


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, with the rights that the token at hand gives."""

    name: str
    admin: bool = False
    """May see and change everybody's runs, and bring what the server does not know."""
    sees_all: bool = False
    """May see everybody's runs, and change nothing of them: a read-only admin."""
    scopes: frozenset[Scope] = frozenset(Scope)
    groups: frozenset[str] = frozenset()
    """Groups that runs may be shared with."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", holdable(self.name)[:200])

    @property
    def grantees(self) -> list[str]:
        """As whom runs may be shared with this user: 'user:NAME', 'group:NAME'."""
        return [f"user:{self.name}", *(f"group:{name}" for name in sorted(self.groups))]
