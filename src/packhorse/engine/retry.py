"""Should a failed task be tried again, when, and with what? The answer is a value; the collector carries it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packhorse.domain.backoff import wait_after
from packhorse.domain.failures import FailureClass
from packhorse.domain.resources import Resources

MAX_BACKOFF_S = 600.0
_FIRST_BACKOFF_S = 1.0
_ESCALATION = 2.0
_MAX_ATTEMPTS = 20

_RETRIES: dict[FailureClass, int] = {
    FailureClass.APP: 0,  # the same program on the same input fails again
    FailureClass.OUT_OF_MEMORY: 2,  # with twice the memory
    FailureClass.OUT_OF_TIME: 1,  # with twice the walltime
    FailureClass.NODE_LOST: 3,
    FailureClass.PREEMPTED: 10,
    FailureClass.IMAGE: 3,
    FailureClass.STAGING: 3,
    FailureClass.SCHEDULER: 5,
    FailureClass.UPSTREAM: 0,
    FailureClass.NO_SITE: 0,
    FailureClass.CANCELED: 0,
}
_AT_ONCE = frozenset(
    {FailureClass.OUT_OF_MEMORY, FailureClass.OUT_OF_TIME, FailureClass.PREEMPTED}
)  # waiting would not help


#: What a resumable task that got on is started again after, without end: its time was up, and nothing is wrong with it.
GOES_ON = frozenset({FailureClass.OUT_OF_TIME, FailureClass.PREEMPTED, FailureClass.NODE_LOST})


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """``again`` with ``overrides`` laid over the resources, not before ``delay_s``; or not. ``why`` is for the user."""

    again: bool
    why: str
    delay_s: float = 0.0
    overrides: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Raised:
    """What is asked for after a failure for want of it: ``overrides`` of the resources, or the ``problem`` that there
    is no more of it.
    """

    overrides: dict[str, Any] | None = None
    problem: str | None = None
    counts: bool = True
    """Whether the failure uses up a retry: one of less than was asked for does not."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How many retries each failure class gets."""

    retries: Mapping[FailureClass, int]

    @classmethod
    def default(cls) -> RetryPolicy:
        return cls(_RETRIES)

    def override(self, changes: Mapping[FailureClass, int]) -> RetryPolicy:
        """This policy with other numbers for some classes."""
        return RetryPolicy({**self.retries, **changes})

    def decide(self, failure: FailureClass, earlier: Sequence[str], raised: Raised) -> RetryDecision:
        """What to do after an attempt that failed with ``failure``: ``raised`` is what the next one would ask for.

        ``earlier`` are the classes of the attempts before it, as far as they count.
        """
        used = Counter(earlier)[failure]
        allowed = self.retries[failure]
        if (used >= allowed and raised.counts) or len(earlier) + 1 >= _MAX_ATTEMPTS:
            spent = f"all {allowed} retries for '{failure}' are used" if allowed else f"'{failure}' is not retried"
            return RetryDecision(False, spent)
        overrides = raised.overrides
        if raised.problem is not None:
            return RetryDecision(False, raised.problem)
        delay_s = 0.0 if failure in _AT_ONCE else wait_after(used + 1, _FIRST_BACKOFF_S, MAX_BACKOFF_S)
        told = f" with {' and '.join(f'{name} {value:g}' for name, value in overrides.items())}" if overrides else ""
        how = f"retry {used + 1} of {allowed} for '{failure}'"
        if not raised.counts:
            how = "it had less than was asked for, so that it is tried again"
        return RetryDecision(True, f"{how}{told}", delay_s, overrides)


def raise_plainly(failure: FailureClass, granted: Resources, fits: Callable[[Resources], bool]) -> Raised:
    """Twice of what was not enough; ``fits`` says whether a site can give that."""
    overrides = escalate(failure, granted)
    if overrides is None:
        return Raised()
    if granted.hard:
        return Raised(problem="what was asked for is marked as a hard limit")
    return Raised(overrides) if fits(granted.override(overrides)) else Raised(problem="no site can give it more")


def escalate(failure: FailureClass, granted: Resources) -> dict[str, Any] | None:
    """The resources to raise after a failure for want of them; None when nothing is to be raised."""
    if failure is FailureClass.OUT_OF_MEMORY and granted.nodes > 1:
        return {"nodes": int(granted.nodes * _ESCALATION)}  # what does not fit in memory is spread over more of it
    if failure is FailureClass.OUT_OF_MEMORY and granted.ram_gb is not None:
        return {"ram_gb": granted.ram_gb * _ESCALATION}
    if failure is FailureClass.OUT_OF_TIME and granted.walltime_s is not None:
        return {"walltime_s": granted.walltime_s * _ESCALATION}
    return None
