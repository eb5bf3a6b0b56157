"""What tasks will need, from those that ran before. Importing this is cheap: numpy comes with the first decision."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from packhorse.domain.failures import FailureClass
from packhorse.estimate.decisions import Decision, Estimate, Limits, Policy
from packhorse.estimate.history import History
from packhorse.estimate.records import Amounts, Features, Kind, Record

if TYPE_CHECKING:
    from packhorse.estimate.kinds import KindModels

_POLICY = Policy()
_LIMITS = Limits()
_STATE = 1
_KINDS = 1000
_ROWS = 100_000
_OTHERS = 48
"""Other kinds that a cold start is decided by; those of the same app first."""


class Predictor:
    """Online: each attempt that ends is observed, and each task that is dispatched is decided by all before it.

    Not thread-safe: one for each site loop, or a lock around it. What it holds is bounded: the last attempts of each
    kind, and the kinds of which something ended last.
    """

    def __init__(self) -> None:
        self._histories: OrderedDict[Kind, History] = OrderedDict()  # those of which nothing ended for longest leave
        self._models: dict[Kind, KindModels] = {}
        self._kept: dict[Kind, dict[str, Any]] = {}  # restored, and of no use yet
        self._rows = 0

    def observe(self, record: Record) -> None:
        """An attempt ended. Microseconds: what follows from it is worked out when a decision needs it."""
        history = self._histories.get(record.kind) or History()
        before = len(history.rows)
        if not history.add(record):
            return
        self._histories[record.kind] = history
        self._histories.move_to_end(record.kind)
        self._rows += len(history.rows) - before
        while len(self._histories) > _KINDS or self._rows > _ROWS:
            kind, gone = self._histories.popitem(last=False)
            self._rows -= len(gone.rows)
            self._models.pop(kind, None)
            self._kept.pop(kind, None)

    def decide(self, kind: Kind, features: Features, preset: Amounts, policy: Policy = _POLICY,
               limits: Limits = _LIMITS, on: Sequence[str] = ()) -> Decision:  # fmt: skip
        """What to ask for a task that is dispatched now.

        ``preset`` is what its manifest or its user asks for: a hint, asked for as it is while nothing is known. What
        a user marked as hard is in ``limits``. Without a preset nor any history, a quantity is None. ``on`` are the
        node types that it may be placed on, the most likely first: that one is planned with, and the limit for its
        time is enough on the slowest.
        """
        return self._of(kind).decide(features, preset, policy, limits, on)

    def retry(self, kind: Kind, features: Features, failed: Amounts, failure: FailureClass, preset: Amounts,
              policy: Policy = _POLICY, limits: Limits = _LIMITS, on: Sequence[str] = ()) -> Decision:  # fmt: skip
        """What to ask for after an attempt that was granted ``failed`` ended with ``failure``.

        Of what failed (memory, time) more than before, unless ``exhausted`` says that it is at its limit; everything
        else is decided anew. It needs no earlier ``Decision``: an engine that was restarted gives the same.
        """
        return self._of(kind).retry(features, failed, failure, preset, policy, limits, on)

    def expect(self, kind: Kind, features: Features, node_type: str = "", ran_s: float = 0.0) -> Estimate | None:
        """The wall time of a task in all, given that it has run for ``ran_s`` seconds; None where too little is
        known.
        """
        return self._of(kind).expect(features, node_type, ran_s)

    def history(self, kind: Kind) -> int:
        """How many attempts of a kind are held."""
        found = self._histories.get(kind)
        return len(found.rows) if found else 0

    def state(self) -> dict[str, Any]:
        """All that it holds, ready for JSON."""
        return {
            "version": _STATE,
            "kinds": [
                {
                    "kind": [kind.app, kind.version, kind.step],
                    "history": history.state(),
                    "models": self._models[kind].state() if kind in self._models else self._kept.get(kind),
                }
                for kind, history in self._histories.items()
            ],
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Predictor:
        """One that decides as the one did whose ``state()`` this is. ValueError where it is not one's state."""
        if state.get("version") != _STATE:
            raise ValueError("The estimates were kept by another version of Packhorse; they are learnt anew.")
        predictor = cls()
        try:
            for each in state["kinds"][-_KINDS:]:
                kind = Kind(*(str(part) for part in each["kind"]))
                history = predictor._histories[kind] = History.restored(each["history"])
                predictor._rows += len(history.rows)
                if each["models"] is not None:
                    predictor._kept[kind] = dict(each["models"])
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(f"The kept estimates cannot be read: {error!r}. They are learnt anew.") from error
        return predictor

    def _of(self, kind: Kind) -> KindModels:
        """The models of a kind."""
        from packhorse.estimate.kinds import KindModels  # numpy: only where something is decided

        models = self._models.get(kind)
        if models is None:
            history = self._histories.get(kind)
            models = KindModels(history or History(), lambda: self._other_versions(kind), lambda: self._others(kind))
            if history is not None:
                self._models[kind] = models
                if kind in self._kept:
                    models.restore(self._kept.pop(kind))
        return models

    def _other_versions(self, kind: Kind) -> list[History]:
        """Histories of other versions, the one of which something ended last at the end."""
        return [history for each, history in self._histories.items() if each.lineage == kind.lineage and each != kind]

    def _others(self, kind: Kind) -> list[KindModels]:
        """Other kinds that say something of this one: steps of its app first; in an order that does not go by time."""
        known = sorted(
            (each for each in self._histories if each != kind),
            key=lambda each: (each.app != kind.app, each.app, each.version, each.step),
        )
        return [self._of(each) for each in known[:_OTHERS]]
