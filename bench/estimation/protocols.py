"""The two protocols: what a way to size tasks wastes, and how often it fails, on a trace.

A is that of the Sizey paper: for each type with 34 tasks or more, 30 % of them, drawn at random, are known, and the
others come one by one. B is as it would have been: tasks are sized when they start and learnt when they have ended.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from bench.estimation.peers import Peer, Presets
from bench.estimation.traces import GB, Task, by_process

_HOUR = 3600
_LEAST_TASKS = 34
_TESTED = 0.7
_COLD = 3
LEAST, MOST = 64e6, 128e9
"""What may be asked for in protocol B."""
_MOST_ATTEMPTS = 60

Sizers = Callable[[str], Peer]


@dataclass
class Outcome:
    """Waste (GBh) and failed attempts, in all and by type."""

    tasks: int = 0
    waste: float = 0.0
    failed: int = 0
    by_type: dict[str, tuple[int, float, int]] = field(default_factory=dict)

    def add(self, process: str, waste: float, failed: int) -> None:
        """One task."""
        self.tasks, self.waste, self.failed = self.tasks + 1, self.waste + waste, self.failed + failed
        tasks, before, fails = self.by_type.get(process, (0, 0.0, 0))
        self.by_type[process] = tasks + 1, before + waste, fails + failed


def run(first: float, again: Callable[[float], float], need: float, runtime_s: float) -> tuple[float, int]:
    """Waste (GBh) and failed attempts of one task; a failed attempt costs all that it was given, for the whole
    runtime.
    """
    hours, waste, failed, asked = runtime_s / _HOUR, 0.0, 0, first
    while asked < need:
        waste += max(asked, 0) / GB * hours
        failed += 1
        assert failed < _MOST_ATTEMPTS, "it never asks for enough"
        asked = again(asked)
    return waste + (asked - need) / GB * hours, failed


def protocol_a(tasks: Sequence[Task], seed: int, sizers: Sizers) -> Outcome:
    """Need is ``rss``. Types with a runtime of 0 are left out, as they are there."""
    outcome = Outcome()
    for process, of_type in by_process([task for task in tasks if task.rss > 0]).items():
        if len(of_type) < _LEAST_TASKS or any(task.runtime_s == 0 for task in of_type):
            continue
        tested = ceil(_TESTED * len(of_type))
        order = np.random.RandomState(seed).permutation(len(of_type))  # as scikit-learn's train_test_split draws
        peer = sizers(process)
        for index in order[tested:]:
            task = of_type[index]
            peer.learn(task.size, task.preset, task.rss, task.runtime_s)
        for index in order[:tested]:
            task = of_type[index]
            first = peer.first(task.size, task.preset)
            waste, failed = run(first, _again(peer, task, bounded=False), task.rss, task.runtime_s)
            outcome.add(process, waste, failed)
            peer.learn(task.size, task.preset, task.rss, task.runtime_s)
    return outcome


def protocol_b(tasks: Iterable[Task], sizers: Sizers, known: Sequence[Task] = (), cold: bool = True) -> Outcome:
    """Need is ``peak_rss``. With ``cold`` the preset is asked for until three of a type have ended.

    ``known`` are tasks of before, for the warm variant.
    """
    outcome, peers, ended = Outcome(), dict[str, Peer](), dict[str, int]()

    def learn(task: Task) -> None:
        peer = peers.setdefault(task.process, sizers(task.process))
        peer.learn(task.size, task.preset, task.peak_rss, task.runtime_s)
        ended[task.process] = ended.get(task.process, 0) + 1

    for task in sorted(known, key=lambda task: task.complete):
        learn(task)
    running: list[tuple[float, int, Task]] = []
    for number, task in enumerate(sorted(tasks, key=lambda task: task.start)):
        while running and running[0][0] <= task.start:
            learn(heapq.heappop(running)[2])
        peer: Peer = peers.setdefault(task.process, sizers(task.process))
        if cold and ended.get(task.process, 0) < _COLD:
            peer = Presets()
        first = peer.first(task.size, task.preset)
        waste, failed = run(_bounded(first), _again(peer, task), task.peak_rss, task.runtime_s)
        outcome.add(task.process, waste, failed)
        heapq.heappush(running, (task.complete, number, task))
    return outcome


def _again(peer: Peer, task: Task, bounded: bool = True) -> Callable[[float], float]:
    def again(failed: float) -> float:
        asked = peer.again(task.size, task.preset, failed)
        return _bounded(asked) if bounded else asked

    return again


def _bounded(amount: float) -> float:
    return min(max(amount, LEAST), MOST)
