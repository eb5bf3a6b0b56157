"""EASY backfilling (Lifka 1995) on a machine of alike processors, with predictions in place of requests where there
are some.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Protocol

from bench.estimation.swf import Job

_OVER, _SUBMIT, _END = range(3)
"""Kinds of events, in the order in which those of one time are taken."""


class Planner(Protocol):
    """Who says how long a job will run."""

    def predict(self, job: Job) -> float:
        """Seconds, at most what it asks for."""

    def exceeded(self, job: Job, ran_s: float) -> float:
        """Seconds in all, where it has run as long as predicted and goes on; more than ``ran_s``."""

    def ended(self, job: Job) -> None:
        """A job ended: predictions of its user's other jobs may change."""


class Easy:
    """One replay of a log. ``shortest_first``: backfilled by what is predicted (SJBF), and not in the order of
    submission.
    """

    def __init__(self, jobs: Sequence[Job], processors: int, planner: Planner, shortest_first: bool) -> None:
        self._free = processors
        self._planner, self._shortest_first = planner, shortest_first
        self._queue: list[Job] = []
        self._running: list[tuple[float, int, int]] = []  # (predicted end, number, processors), ascending
        self._predicted: dict[int, float] = {}
        self._ends: dict[int, float] = {}
        self._events = [(job.submit, _SUBMIT, index, job) for index, job in enumerate(jobs)]
        heapq.heapify(self._events)
        self._made = len(jobs)
        self.waits: dict[int, float] = {}
        """Seconds in the queue, by a job's number."""

    def run(self) -> dict[int, float]:
        """Until the last job has ended: waits by number."""
        while self._events:
            now, kind, _, job = heapq.heappop(self._events)
            if kind == _SUBMIT:
                self._predicted[job.number] = self._planner.predict(job)
                self._queue.append(job)
            elif kind == _END:
                self._end(job)
            elif job.number in self._ends:
                started = job.submit + self.waits[job.number]
                expected = self._planner.exceeded(job, now - started)
                self._move_end(job, started + expected)
                if expected < job.runtime:
                    self._push(started + expected, _OVER, job)
            if self._free and self._queue:
                self._schedule(now)
        return self.waits

    def _end(self, job: Job) -> None:
        self._drop(job)
        self._free += job.processors
        self._planner.ended(job)
        for waiting in self._queue:
            if waiting.user == job.user:
                self._predicted[waiting.number] = self._planner.predict(waiting)

    def _schedule(self, now: float) -> None:
        queue = self._queue
        while queue and queue[0].processors <= self._free:
            self._start(queue.pop(0), now)
        if len(queue) < 2 or not self._free:
            return
        shadow, spare = self._reserve(queue[0], now)
        others = queue[1:]
        if self._shortest_first:
            others.sort(key=lambda job: self._predicted[job.number])
        started = set()
        for job in others:
            if job.processors > self._free:
                continue
            crosses = now + self._predicted[job.number] > shadow
            if not crosses or job.processors <= spare:
                spare -= job.processors if crosses else 0
                started.add(job.number)
                self._start(job, now)
                if not self._free:
                    break
        if started:
            self._queue = [job for job in queue if job.number not in started]

    def _reserve(self, head: Job, now: float) -> tuple[float, int]:
        """When the first job of the queue can start by what is predicted, and how many processors it leaves then."""
        free, shadow = self._free, now
        for end, _, processors in self._running:
            if free >= head.processors and end > shadow:
                break
            free, shadow = free + processors, max(end, now)
        return shadow, free - head.processors

    def _start(self, job: Job, now: float) -> None:
        self._free -= job.processors
        self.waits[job.number] = now - job.submit
        predicted = self._predicted.pop(job.number)
        self._ends[job.number] = now + predicted
        insort(self._running, (now + predicted, job.number, job.processors))
        self._push(now + job.runtime, _END, job)
        if predicted < job.runtime:
            self._push(now + predicted, _OVER, job)

    def _move_end(self, job: Job, end: float) -> None:
        """It ran longer than predicted."""
        self._drop(job)
        self._ends[job.number] = end
        insort(self._running, (end, job.number, job.processors))

    def _drop(self, job: Job) -> None:
        entry = (self._ends.pop(job.number), job.number, job.processors)
        del self._running[bisect_left(self._running, entry)]

    def _push(self, time: float, kind: int, job: Job) -> None:
        self._made += 1
        heapq.heappush(self._events, (time, kind, self._made, job))


def bounded_slowdown(jobs: Sequence[Job], waits: dict[int, float], least_s: float = 10.0) -> float:
    """Mean over the jobs of (wait + runtime) / max(runtime, 10 s), at least 1 (Feitelson and Rudolph 1998)."""
    total = sum(max(1.0, (waits[job.number] + job.runtime) / max(job.runtime, least_s)) for job in jobs)
    return total / len(jobs)
