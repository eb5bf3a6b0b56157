"""What tasks will need, from those that ran before. Importing this is cheap: numpy comes with the first decision."""

from __future__ import annotations

from typing import Any

from packhorse.domain.failures import FailureClass
from packhorse.estimate.decisions import Decision, Limits, Policy
from packhorse.estimate.records import Amounts, Features, Kind, Record

_POLICY = Policy()
_LIMITS = Limits()


class Predictor:
    """Online: each attempt that ends is observed, and each task that is dispatched is decided by all before it.

    Not thread-safe: one for each site loop, or a lock around it. What it holds is bounded: the last attempts of each kind,
    and the kinds of which something ended last.
    """

    def observe(self, record: Record) -> None:
        """An attempt ended. Microseconds: what follows from it is worked out when a decision needs it."""
        raise NotImplementedError

    def decide(self, kind: Kind, features: Features, preset: Amounts, policy: Policy = _POLICY,
               limits: Limits = _LIMITS, node_type: str = "") -> Decision:  # fmt: skip
        """What to ask for a task that is dispatched now.

        ``preset`` is what its manifest or its user asks for: a hint, asked for as it is while nothing is known. What a user
        marked as hard is in ``limits``. Without a preset nor any history, a quantity is None.
        """
        raise NotImplementedError

    def retry(self, kind: Kind, features: Features, failed: Amounts, failure: FailureClass, preset: Amounts,
              policy: Policy = _POLICY, limits: Limits = _LIMITS, node_type: str = "") -> Decision:  # fmt: skip
        """What to ask for after an attempt that was granted ``failed`` ended with ``failure``.

        Of what failed (memory, time) more than before, unless ``exhausted`` says that it is at its limit; everything else is
        decided anew. It needs no earlier ``Decision``: an engine that was restarted gives the same.
        """
        raise NotImplementedError

    def history(self, kind: Kind) -> int:
        """How many attempts of a kind are held."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """All that it holds, ready for JSON."""
        raise NotImplementedError

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Predictor:
        """One that decides as the one did whose ``state()`` this is. ValueError where it is not one's state."""
        raise NotImplementedError


def ladder(amount: float) -> int:
    """The least step of a short ladder (four to each doubling) that is not below ``amount``.

    Tasks of similar size then share blocks and allocations.
    """
    raise NotImplementedError
