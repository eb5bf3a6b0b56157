"""The peers, from their papers, each in a few lines: what they ask for first, what after it was too little, what
they learn.

Bytes and seconds. All are for tasks of one type.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Protocol

import numpy as np

NODE = 128e9
"""What a node has, which Tovar et al. ask for at last."""


class Peer(Protocol):
    """One way to size tasks of one type."""

    def first(self, size: float, preset: float) -> float:
        """What to ask for."""

    def again(self, size: float, preset: float, failed: float) -> float:
        """What to ask for after ``failed`` was too little."""

    def learn(self, size: float, preset: float, need: float, runtime_s: float) -> None:
        """A task ended."""


class Doubling:
    """What many do after a failure."""

    def again(self, size: float, preset: float, failed: float) -> float:
        """Twice as much."""
        return 2 * failed


class Presets(Doubling):
    """What the workflow asks for."""

    def first(self, size: float, preset: float) -> float:
        """The preset."""
        return preset

    def learn(self, size: float, preset: float, need: float, runtime_s: float) -> None:
        """Nothing."""


class Most(Doubling):
    """The most that was ever needed, and a tenth."""

    def __init__(self) -> None:
        self._most = 0.0

    def first(self, size: float, preset: float) -> float:
        """1.1 times the most."""
        return 1.1 * self._most

    def learn(self, size: float, preset: float, need: float, runtime_s: float) -> None:
        """Keeps the most."""
        self._most = max(self._most, need)


class Percentile(Doubling):
    """Witt et al., Feedback-Based Resource Allocation for Batch Scheduling of Scientific Workflows (HPCS 2019):
    percentile 95.
    """

    def __init__(self) -> None:
        self._needs: list[float] = []

    def first(self, size: float, preset: float) -> float:
        """The percentile, interpolated linearly."""
        return float(np.percentile(self._needs, 95))

    def learn(self, size: float, preset: float, need: float, runtime_s: float) -> None:
        """Keeps it."""
        self._needs.append(need)


class WittRegression:
    """Witt et al. (HPCS 2019): a line over the input's size, raised by the deviation of the relative errors of the
    lines so far.

    With ``under`` only by that of the errors in which too little was predicted. ``errors`` are shared by all types
    of a workflow, as they are in the program of the Sizey paper: with its own for each type it wastes several times
    as much on these traces.
    """

    def __init__(self, under: bool, errors: list[float]) -> None:
        self._under, self._errors = under, errors
        self._asked = False
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        self._most = 0.0

    def first(self, size: float, preset: float) -> float:
        """The line and the offset."""
        self._asked = True
        errors = [error for error in self._errors if error > 0] if self._under else self._errors
        return self._line(size) * (1 + (float(np.std(errors)) if errors else 0.0))

    def again(self, size: float, preset: float, failed: float) -> float:
        """Twice as much, or the most that was needed where the line was below nothing."""
        return 2 * failed if failed > 0 else self._most

    def learn(self, size: float, preset: float, need: float, runtime_s: float) -> None:
        """The error of the line, once it is used, and then the line."""
        if self._asked:
            self._errors.append((need - self._line(size)) / need)
        self._n += 1
        self._x, self._y = self._x + size, self._y + need
        self._xx, self._xy = self._xx + size * size, self._xy + size * need
        self._most = max(self._most, need)

    def _line(self, size: float) -> float:
        spread = self._xx - self._x * self._x / self._n
        mean_x, mean_y = self._x / self._n, self._y / self._n
        if spread <= 1e-9 * self._xx:
            return mean_y
        return mean_y + (self._xy - self._x * mean_y) / spread * (size - mean_x)


class Tovar:
    """Tovar et al., A Job Sizing Strategy for High-Throughput Scientific Workflows (TPDS 2018), which wastes least;
    then the most that was seen, then a whole node.
    """

    def __init__(self, to_node: bool) -> None:
        self._to_node = to_node
        self._seen: list[tuple[float, float]] = []

    def first(self, size: float, preset: float) -> float:
        """The first allocation of least expected waste."""
        needs, times = (np.array(column) for column in zip(*self._seen, strict=True))
        above = times.sum() - np.cumsum(times)
        return float(needs[np.argmin(needs * times.sum() + needs[-1] * above)])

    def again(self, size: float, preset: float, failed: float) -> float:
        """The most that was seen, then a node, or twice as much where that is kinder."""
        most = self._seen[-1][0]
        if failed < most:
            return most
        return NODE if self._to_node else 2 * failed

    def learn(self, size: float, preset: float, need: float, runtime_s: float) -> None:
        """Keeps it."""
        insort(self._seen, (need, runtime_s))


def _witt(under: bool) -> Callable[[], Peer]:
    errors: list[float] = []
    return lambda: WittRegression(under, errors)


#: What makes a maker of peers, one for each type, for one run over one trace.
PEERS: dict[str, Callable[[], Callable[[], Peer]]] = {
    "presets": lambda: Presets,
    "max × 1.1": lambda: Most,
    "percentile 95": lambda: Percentile,
    "Witt-LR std": lambda: _witt(under=False),
    "Witt-LR stdUnder": lambda: _witt(under=True),
    "Witt-LR std, by type": lambda: lambda: WittRegression(False, []),
    "Tovar": lambda: lambda: Tovar(to_node=True),
    "Tovar, doubling": lambda: lambda: Tovar(to_node=False),
}
