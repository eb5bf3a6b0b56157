"""When to try again what failed: each failure in a row doubles the wait. Pure; the caller reads the clock."""

from __future__ import annotations


def wait_after(failures: int, first_s: float, last_s: float) -> float:
    """How many seconds to wait after so many failures in a row (one or more): from ``first_s`` up to ``last_s``."""
    return min(last_s, first_s * 2.0 ** min(failures - 1, 60))


class BackOff:
    """Counts failures in a row, and knows when the next try is due, by a monotonic clock."""

    def __init__(self, first_s: float = 1.0, last_s: float = 60.0) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._failures = 0
        self._due_at = float("-inf")

    def failed(self, monotonic: float, *, patience: float = 1.0) -> float:
        """It failed; how many seconds to leave it alone.

        ``patience`` stretches the waits: where each try costs the other side, or is counted against us.
        """
        self._failures += 1
        wait_s = patience * wait_after(self._failures, self._first_s, self._last_s)
        self._due_at = monotonic + wait_s
        return wait_s

    def succeeded(self) -> None:
        """It worked; the next failure is a first one again."""
        self._failures = 0
        self._due_at = float("-inf")

    def wait_s(self, monotonic: float) -> float:
        """How long to leave it alone still; 0 when it may be tried."""
        return max(0.0, self._due_at - monotonic)
