"""How long a batch scheduler takes to answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from packhorse.sites.base import Scheduler

_COMMANDS = ("submit", "find", "poll", "cancel", "describe")

#: Site, command, seconds, and whether it failed.
Told = Callable[[str, str, float, bool], None]


class TimedScheduler:
    """A scheduler that tells how long each of its commands took."""

    def __init__(self, scheduler: Scheduler, site: str, tell: Told) -> None:
        self._scheduler, self._site, self._tell = scheduler, site, tell

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._scheduler, name)
        if name not in _COMMANDS:
            return found

        def timed(*args: Any) -> Any:
            began, failed = time.monotonic(), True
            try:
                answer = found(*args)
                failed = False
                return answer
            finally:
                self._tell(self._site, name, time.monotonic() - began, failed)

        return timed
