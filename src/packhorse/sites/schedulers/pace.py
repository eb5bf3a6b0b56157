"""How often to ask a batch scheduler. Pure arithmetic over a monotonic clock that the caller reads."""

from __future__ import annotations

_SLOWER = 1.15  # a question is then late by about a fifteenth of the time in which nothing was heard


class Pace:
    """Asks soon after something happened, then ever more rarely.

    ``first_s`` and ``last_s`` are the shortest and longest wait.
    """

    def __init__(self, first_s: float = 1.0, last_s: float = 60.0) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._wait_s = first_s
        self._asked_at = float("-inf")

    def is_due(self, monotonic: float) -> bool:
        """Whether to ask now."""
        return monotonic - self._asked_at >= self._wait_s

    def asked(self, monotonic: float, *, changed: bool) -> None:
        """We asked, and the answer was another than the last time, or not."""
        self._asked_at = monotonic
        self._wait_s = self._first_s if changed else min(self._last_s, self._wait_s * _SLOWER)

    def hurry(self) -> None:
        """Something happened that the scheduler will tell more about: a submission, a cancel, an agent that stopped."""
        self._wait_s = self._first_s
