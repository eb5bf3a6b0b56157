"""Whether this agent stops, why, and by when."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Optional


class Drain:
    """`why` is empty as long as the agent does not drain. Times are monotonic."""

    def __init__(self, started: float, allocation: "Mapping[str, Any]") -> None:
        self.why = ""
        self.end_at = float("inf")  # when what still runs must be over
        self.signals = 0
        self.closed = False  # the engine sends no more work
        self.kill_grace_s = float(allocation["kill_grace_s"])
        self.signal_grace_s = float(allocation.get("signal_grace_s", allocation["grace_s"]))
        walltime = allocation["walltime_s"]
        self.walltime_at = float("inf") if walltime is None else started + float(walltime)
        self.at: "Optional[float]" = None  # when it drains for its walltime
        if walltime is not None:
            self.at = started + max(0.0, float(walltime) - float(allocation["grace_s"]))

    def must_begin(self, now: float) -> "Optional[str]":
        """Why it has to begin now, or None."""
        if self.why:
            return None
        if self.signals:
            return "signal"
        return "walltime" if self.at is not None and now >= self.at else None

    def begin(self, why: str, now: float) -> None:
        """From now on nothing starts; by `end_at` what runs is over."""
        self.why = why
        self.end_at = now + self.signal_grace_s if why == "signal" else self.walltime_at

    def must_terminate(self, now: float) -> bool:
        """Whether what still runs must be told to end."""
        return bool(self.why) and now >= self.end_at - self.kill_grace_s or self.signals > 1

    def is_of_job(self) -> bool:
        """Whether the batch system is ending the job, and so perhaps its programs too."""
        return bool(self.signals) or self.why == "signal"
