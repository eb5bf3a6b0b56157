"""What a run's tasks are given that nobody else sees, opened only where it is written for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from packhorse.domain.errors import PackhorseError
from packhorse.engine.sealing import Seal
from packhorse.engine.steps.base import Step

_log = structlog.get_logger("packhorse.dispatch")


@dataclass(frozen=True, slots=True)
class Sealed:
    """What is kept with a run (``own``), and secrets of its ``user``, by name; all of it sealed."""

    own: bytes | None
    user: str = ""
    secrets: Mapping[str, bytes] = field(default_factory=dict)

    def opened(self, seal: Seal) -> dict[str, Any]:
        """As an agent reads it (docs/spool.md). A secret that does not open, or is another's, is left out: its task
        fails, and says by name what it has not.
        """
        found: dict[str, Any] = {} if self.own is None else dict(seal.open(self.own))
        values = {name: self._value(seal, name, data) for name, data in self.secrets.items()}
        if given := {name: value for name, value in values.items() if value is not None}:
            found["values"] = given
        return found

    def _value(self, seal: Seal, name: str, data: bytes) -> str | None:
        try:
            kept = seal.open(data)
        except PackhorseError as error:
            _log.warning("secret_not_opened", user=self.user, secret=name, reason=str(error))
            return None
        is_it = kept["user"] == self.user and kept["name"] == name  # rows may have been moved about in the database
        return str(kept["value"]) if is_it else None


def names_of(steps: Iterable[Step], run_id: str) -> set[str]:
    """The user's secrets that the tasks of a run's steps are given."""
    return {name for step in steps if step.row.run_id == run_id for name in step.user_secrets}
