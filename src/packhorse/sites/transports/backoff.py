"""When to try again what failed. Pure arithmetic over a monotonic clock that the caller reads."""

from __future__ import annotations


class BackOff:
    """Each failure in a row doubles the wait, from ``first_s`` up to ``last_s``."""

    def __init__(self, first_s: float = 1.0, last_s: float = 60.0) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._failures = 0
        self._due_at = float("-inf")

    def failed(self, monotonic: float, *, patience: float = 1.0) -> None:
        """It failed.

        ``patience`` stretches the waits: where each try costs the other side, or is counted against us.
        """
        self._due_at = monotonic + patience * min(self._last_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1

    def succeeded(self) -> None:
        """It worked; the next failure is a first one again."""
        self._failures = 0
        self._due_at = float("-inf")

    def wait_s(self, monotonic: float) -> float:
        """How long to leave it alone; 0 when it may be tried."""
        return max(0.0, self._due_at - monotonic)
