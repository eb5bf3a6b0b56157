"""A history as arrays: what was used, and how tasks differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from packhorse.estimate.history import FIXED, History
from packhorse.estimate.points import Floats
from packhorse.estimate.records import Features

FEW = 10
"""Attempts from which on a version stands for itself."""
_OF_OTHERS = 60
_OTHERS_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class Window:
    """Attempts, the oldest first; those of other versions before its own, while its own are few."""

    rows: Floats
    """(n, columns), as ``history`` names the first of them."""
    weight: Floats
    """(n): what each counts for."""
    sizes: Floats
    """(n, s)."""
    choices: Floats
    """(n, c)."""
    names: tuple[str, ...]
    """Of the columns after the fixed ones."""
    own: int
    """How many, of the last, are of this version."""

    @classmethod
    def of(cls, history: History, versions: Sequence[History]) -> Window:
        """The window of a history, after those of other ``versions``, the latest last."""
        borrowed = [each for each in versions if each.rows]
        names = list(history.columns)
        for version in borrowed:
            names += [name for name in version.columns if name not in names]
        parts = [_aligned(version, names) for version in borrowed]
        older = np.concatenate(parts)[-_OF_OTHERS:] if parts else np.empty((0, FIXED + len(names)))
        rows = np.concatenate([older, _aligned(history, names)])
        weight = np.ones(len(rows))
        weight[: len(older)] = _OTHERS_WEIGHT
        is_size = np.array([name.startswith("size:") for name in names], dtype=bool)
        features = rows[:, FIXED:]
        return cls(rows, weight, features[:, is_size], features[:, ~is_size], tuple(names), len(history.rows))

    def task(self, features: Features) -> tuple[Floats, Floats]:
        """Sizes (s) and choices (c) of a task, as the columns of this window."""
        values = History(dict(zip(self.names, range(len(self.names)), strict=True))).values(features)
        pairs = list(zip(self.names, values, strict=True))
        return (
            np.array([value for name, value in pairs if name.startswith("size:")]),
            np.array([value for name, value in pairs if not name.startswith("size:")]),
        )


def _aligned(history: History, names: Sequence[str]) -> Floats:
    """The rows of a history with the columns ``names`` after the fixed ones."""
    width = FIXED + len(history.columns)
    if all(len(row) == width for row in history.rows):
        found = np.frombuffer(b"".join(history.rows), dtype=np.float64).reshape(-1, width)
    else:  # features came to be known after the first attempts
        found = np.full((len(history.rows), width), np.nan)
        for index, row in enumerate(history.rows):
            found[index, : len(row)] = row
    if list(history.columns) == list(names):
        return found
    aligned = np.full((len(found), FIXED + len(names)), np.nan)
    aligned[:, :FIXED] = found[:, :FIXED]
    for target, name in enumerate(names):
        if name in history.columns:
            aligned[:, FIXED + target] = found[:, FIXED + history.columns[name]]
    return aligned
