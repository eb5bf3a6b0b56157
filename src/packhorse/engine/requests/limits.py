"""What each user may take of a server: submissions a second, tasks in flight, stored outputs, the size of a body.
Admins have no limit.

Each process counts for itself: of two, a user is given up to twice as much.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from packhorse.domain.access import POLICY, Action
from packhorse.domain.accessconfig import LimitsConfig, UserLimits
from packhorse.domain.errors import TooLarge, TooMany
from packhorse.domain.users import User
from packhorse.store.database import Database
from packhorse.store.runs import tasks_in_flight
from packhorse.store.shares import stored_bytes

_COUNT_AGAIN_S = 1.0  # in between, what is submitted is added to what was counted
_TASKS_AFTER_S = 10.0  # when to ask again, where too many tasks are in flight
_LOOK_AGAIN_S = 10.0  # what is stored is looked at so seldom: it is a sum over all runs of a user
_STORED_AFTER_S = 3600.0
_MOST_USERS = 10_000


@dataclass(slots=True)
class _Taken:
    """What a user has taken: ``tokens`` for submissions are left as of ``at``; tasks as of ``counted_at``."""

    tokens: float
    at: float
    tasks: int = 0
    counted_at: float = -math.inf
    stored: int = 0
    looked_at: float = -math.inf


class Limits:
    """Asked before something is accepted. May be used by several threads."""

    def __init__(
        self, database: Database, config: LimitsConfig | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database, self._config, self._monotonic = database, config, monotonic
        self._lock = threading.Lock()
        self._taken: OrderedDict[str, _Taken] = OrderedDict()

    def of(self, user: User) -> UserLimits | None:
        """The limits of a user; None where there are none."""
        if self._config is None or POLICY.allows(user, Action.MANAGE):
            return None
        return self._config.of(user.name)

    def body_bytes(self, user: User, most: int) -> int:
        """How large a body of this user may be, at most ``most``."""
        limits = self.of(user)
        return most if limits is None or limits.body_mb is None else min(most, int(limits.body_mb * 1e6))

    def submission(self, user: User) -> None:
        """One request that submits, however many runs it has. Raises TooMany."""
        self.stored(user)
        limits = self.of(user)
        if limits is None or limits.submissions_per_s is None:
            return
        rate = limits.submissions_per_s
        with self._lock:
            taken, now = self._of(user.name, rate), self._monotonic()
            taken.tokens = min(max(rate, 1.0), taken.tokens + (now - taken.at) * rate)
            taken.at = now
            if taken.tokens >= 1.0:
                taken.tokens -= 1.0
                return
            after_s = (1.0 - taken.tokens) / rate
        raise TooMany(
            f"You may submit {rate:g} times a second here, and did so more often.",
            hint="Submit many runs in one request: POST /api/v1/runs:batch.",
            after_s=after_s,
        )

    def tasks(self, user: User, more: int) -> None:
        """``more`` tasks are about to be accepted. Raises TooMany; TooLarge where they are too many by themselves."""
        limits = self.of(user)
        if limits is None or limits.tasks_in_flight is None:
            return
        most = limits.tasks_in_flight
        if more > most:
            raise TooLarge(
                f"{more:,} tasks are more than you may have in flight here, {most:,}.", hint="Submit them in parts."
            )
        with self._lock:
            taken = self._of(user.name, 1.0)
            is_old = self._monotonic() - taken.counted_at > _COUNT_AGAIN_S
        if is_old:
            with self._database.read() as connection:
                number = tasks_in_flight(connection, user.name)
            with self._lock:
                taken.tasks, taken.counted_at = number, self._monotonic()
        with self._lock:
            if taken.tasks + more <= most:
                taken.tasks += more
                return
            in_flight = taken.tasks
        raise TooMany(
            f"You may have {most:,} tasks in flight here: {in_flight:,} have not ended, and these are {more:,} more.",
            hint="Wait until some have ended, or cancel some.",
            after_s=_TASKS_AFTER_S,
        )

    def stored(self, user: User) -> None:
        """Something is about to be accepted, whose outputs will be kept. Raises TooMany."""
        limits = self.of(user)
        if limits is None or limits.stored_gb is None:
            return
        with self._lock:
            taken, now = self._of(user.name, 1.0), self._monotonic()
            is_old = now - taken.looked_at > _LOOK_AGAIN_S
        if is_old:
            with self._database.read() as connection:
                number = stored_bytes(connection, user.name)
            with self._lock:
                taken.stored, taken.looked_at = number, now
        if taken.stored >= limits.stored_gb * 1e9:
            raise TooMany(
                f"You may keep {limits.stored_gb:g} GB of outputs here, and have {taken.stored / 1e9:.3g} GB.",
                hint="Ask whoever runs the server for more.",
                after_s=_STORED_AFTER_S,
            )

    def _of(self, name: str, tokens: float) -> _Taken:
        taken = self._taken.get(name)
        if taken is None:
            taken = self._taken[name] = _Taken(max(tokens, 1.0), self._monotonic())
            while len(self._taken) > _MOST_USERS:
                self._taken.popitem(last=False)
        self._taken.move_to_end(name)
        return taken
