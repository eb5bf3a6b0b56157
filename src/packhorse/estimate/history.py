"""The last attempts of one kind of task, as rows of numbers: what is kept, and how much of it."""

from __future__ import annotations

from array import array
from collections import deque
from math import inf, isfinite, nan
from typing import Any
from zlib import crc32

from packhorse.domain.failures import FailureClass
from packhorse.estimate.records import Features, Record

WINDOW = 300
"""Attempts kept of each kind. More change no decision that was measured, and cost time in each."""

MEMORY, MEMORY_AT_LEAST, WALL, WALL_AT_LEAST, DISK, DISK_AT_LEAST, CPU, GRANTED_MEMORY, GRANTED_CORES, PRESET, NODE = (
    range(11)
)
"""Columns of a row. Memory and disk in MB, times in seconds; NaN: not known. ``NODE`` is the checksum of a node
type.
"""
FIXED = 11

_SIZES = 16
"""Numbers and inputs of a task that are looked at; those beyond are passed over, whatever an app brings."""
_CHOICES = 8
_MB = 1e6
_LEAST, _MOST = 1e-3, 1e15
"""What was used or asked for counts as no less and no more (MB, seconds, cores), whatever a record says."""
_LARGEST = 1e18
"""The same for sizes and numbers of tasks: their squares can still be added up."""
_INTERRUPTED = {
    FailureClass.NODE_LOST,
    FailureClass.PREEMPTED,
    FailureClass.CANCELED,
    FailureClass.OUT_OF_MEMORY,
    FailureClass.OUT_OF_TIME,
}
"""Ends that say of everything that was used 'at least this'. An app that failed by itself says nothing of its need."""


def code_of(text: str) -> float:
    """A number for a text of which only equality counts."""
    return float(crc32(text.encode()))


class History:
    """Rows of one kind, the oldest first."""

    def __init__(self, columns: dict[str, int] | None = None) -> None:
        self.rows: deque[array[float]] = deque(maxlen=WINDOW)
        self.columns: dict[str, int] = columns or {}
        """Where a feature stands in a row: 'size:NAME' for numbers and inputs, 'choice:NAME' for choices."""
        self.version = 0
        """How many were observed, ever."""

    def add(self, record: Record) -> bool:
        """Keeps a record; False where it says nothing of what such tasks need."""
        if record.failure is not None and record.failure not in _INTERRUPTED:
            return False
        cut = record.failure is not None
        row = array("d", [nan] * FIXED)
        row[MEMORY] = _positive(record.peak_memory_bytes, _MB)
        row[MEMORY_AT_LEAST] = record.memory_censored or cut
        row[WALL] = _positive(record.wall_s)
        row[WALL_AT_LEAST] = record.walltime_censored or cut
        row[DISK] = 0.0 if record.disk_bytes == 0 else _positive(record.disk_bytes, _MB)
        row[DISK_AT_LEAST] = record.disk_censored or cut
        row[CPU] = _positive(record.cpu_s)
        row[GRANTED_MEMORY] = _positive(record.granted.memory_mb)
        row[GRANTED_CORES] = _positive(record.granted.cores)
        row[PRESET] = _positive(record.requested.memory_mb)
        row[NODE] = code_of(record.node_type)
        row.extend(self.values(record.features, learn=True))
        if not cut:
            self._settle(row)
        self.rows.append(row)
        self.version += 1
        return True

    def values(self, features: Features, learn: bool = False) -> list[float]:
        """The columns of features beyond the fixed ones; with ``learn`` names are added that were not known."""
        named: dict[str, float] = {}
        for name, number in [*features.numeric.items(), *features.inputs.items()]:
            if isfinite(size := _float(number)):
                named[f"size:{name}"] = min(max(size, -_LARGEST), _LARGEST)
        if len(features.inputs) > 1:
            named["size:"] = min(max(_float(sum(features.inputs.values())), 0.0), _LARGEST)
        for name, text in features.categorical.items():
            named[f"choice:{name}"] = code_of(text)
        if learn:
            for name in sorted(named.keys() - self.columns.keys()):
                prefix, most = ("size:", _SIZES) if name.startswith("size:") else ("choice:", _CHOICES)
                if sum(each.startswith(prefix) for each in self.columns) < most:
                    self.columns[name] = len(self.columns)
        values = [nan] * len(self.columns)
        for name, number in named.items():
            if name in self.columns:
                values[self.columns[name]] = number
        return values

    def _settle(self, row: array[float]) -> None:
        """Drops what was cut off of a task like this, which has now run to its end and needed as much."""
        for old in reversed(self.rows):
            if (
                old[MEMORY_AT_LEAST]
                and _same(old[FIXED:], row[FIXED:])
                and old[MEMORY] <= row[MEMORY]
                and old[WALL] <= row[WALL]
            ):
                self.rows.remove(old)
                return

    def state(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "columns": list(self.columns),
            "rows": [[None if value != value else value for value in row] for row in self.rows],
            "version": self.version,
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> History:
        """The one whose ``state()`` this is."""
        history = cls({str(name): index for index, name in enumerate(state["columns"])})
        for row in state["rows"][-WINDOW:]:
            history.rows.append(array("d", [nan if value is None else float(value) for value in row]))
        history.version = int(state["version"])
        return history


def _positive(value: float | None, unit: float = 1.0) -> float:
    """In units of ``unit``, within bounds; NaN for what is no amount."""
    amount = nan if value is None else _float(value)
    return min(max(amount / unit, _LEAST), _MOST) if isfinite(amount) and amount > 0 else nan


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return inf if value > 0 else -inf


def _same(one: array[float], other: array[float]) -> bool:
    return len(one) == len(other) and all(a == b or (a != a and b != b) for a, b in zip(one, other, strict=True))
