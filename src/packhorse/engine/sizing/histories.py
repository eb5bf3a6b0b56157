"""What tasks used before, read from the store into a predictor: of each user by themselves, and of all together.

A user with enough history of their own is judged by that alone. For others there is the history of all, in which no
user has more than half of what was taken in last: so nobody can ruin the estimates of another.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, deque
from typing import Any

import sqlalchemy as sa

from packhorse.domain.failures import FailureClass
from packhorse.domain.history import Features as StoredFeatures
from packhorse.engine.sizing.rules import of_owner
from packhorse.estimate.predictor import Predictor
from packhorse.estimate.records import Amounts, Features, Kind, Record
from packhorse.store.records import history_since, last_history, newest_history

OWN = 20  # attempts from which on a user's own history is enough
_OF_APP, _TOGETHER = 2000, 20_000  # rows that are read at first
_PAGE = 5000
_WINDOW = 200  # of what was taken in last of a kind
_FEW = 20  # of which anybody may have all
_KINDS = 2000
_NODES, _NODE_TYPES = 200, 4  # attempts that ended last at a site, and node types of it


class Histories:
    """For one thread at a time."""

    def __init__(self) -> None:
        self.predictor = Predictor()
        self._after: int | None = None
        self._shares: OrderedDict[Kind, _Shares] = OrderedDict()
        self._nodes: dict[str, deque[str]] = {}

    def refresh(self, connection: sa.Connection) -> None:
        """Takes in what has ended since the last time: one query, where that is little."""
        if self._after is None:
            self._after = last_history(connection)
            for row in newest_history(connection, _OF_APP, _TOGETHER):
                self._take(row)
        while rows := history_since(connection, self._after, _PAGE):
            for row in rows:
                self._take(row)
            self._after = rows[-1].seq
            if len(rows) < _PAGE:
                return

    def best(self, kind: Kind, owner: str) -> tuple[Kind, bool]:
        """The history by which a user's tasks are judged, and whether that is others'."""
        own = of_owner(kind, owner)
        return (own, False) if self.predictor.history(own) >= OWN else (kind, not self._is_only(kind, owner))

    def nodes_of(self, site: str) -> list[str]:
        """The types of nodes on which attempts ended last at a site, those of most of them first."""
        return [node for node, _ in Counter(self._nodes.get(site, ())).most_common(_NODE_TYPES)]

    def _is_only(self, kind: Kind, owner: str) -> bool:
        shares = self._shares.get(kind)
        return shares is not None and set(shares.numbers) <= {owner}

    def _take(self, row: Any) -> None:
        kind = Kind(row.app, row.version, row.part)
        if row.node_type and row.task_id is not None:
            self._nodes.setdefault(row.site, deque(maxlen=_NODES)).append(row.node_type)
        if row.owner:
            self.predictor.observe(_record(row, of_owner(kind, row.owner)))
        shares = self._shares.get(kind)
        if shares is None:
            shares = self._shares[kind] = _Shares()
            if len(self._shares) > _KINDS:
                self._shares.popitem(last=False)
        if shares.admit(row.owner):
            self.predictor.observe(_record(row, kind))


class _Shares:
    """Whose attempts were taken in last of a kind."""

    def __init__(self) -> None:
        self.owners: deque[str] = deque(maxlen=_WINDOW)
        self.numbers: Counter[str] = Counter()

    def admit(self, owner: str) -> bool:
        """Whether one more of this user is taken in: while there are few, or they are alone, or have less than half."""
        is_alone = set(self.numbers) <= {owner}
        if not is_alone and len(self.owners) >= _FEW and 2 * self.numbers[owner] >= len(self.owners):
            return False
        if len(self.owners) == _WINDOW:
            self.numbers[self.owners[0]] -= 1
            self.numbers += Counter()  # forgets those who have none left
        self.owners.append(owner)
        self.numbers[owner] += 1
        return True


def features_of(stored: StoredFeatures) -> Features:
    """As the predictor takes them: a compressed input is another than one that is not."""
    packed = set(stored.compressed)
    inputs = {f"{name} compressed" if name in packed else name: size for name, size in stored.inputs.items()}
    return Features(stored.numbers, stored.categories, inputs)


def _record(row: Any, kind: Kind) -> Record:
    said = json.loads(row.features)
    stored = StoredFeatures.model_construct(**{**_NO_FEATURES, **said})
    return Record(
        kind,
        features_of(stored),
        Amounts(row.asked_memory_mb, row.asked_walltime_s, row.asked_cores),
        Amounts(row.memory_mb, row.walltime_s, row.cores),
        row.peak_memory,
        row.cpu_s,
        row.wall_s or None,  # of what was too short, nothing was measured
        row.disk_bytes,
        row.node_type,
        FailureClass(row.failure) if row.failure else None,
        row.memory_censored,
        row.time_censored,
    )


_NO_FEATURES: dict[str, Any] = {"numbers": {}, "categories": {}, "inputs": {}, "compressed": []}
