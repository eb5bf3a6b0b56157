"""Records of tasks that ended, and a predictor that has seen them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from packhorse.estimate.decisions import Decision
from packhorse.estimate.predictor import Predictor
from packhorse.estimate.records import Amounts, Features, Kind, Record

KIND = Kind("aligner", "1.0", "align")
PRESET = Amounts(memory_mb=32_000, walltime_s=36_000, cores=8, disk_mb=50_000)
GB = 10**9


def task(reads: float) -> Features:
    return Features(inputs={"reads": int(reads)})


def ended(reads: float, memory_mb: float, kind: Kind = KIND, **given_: object) -> Record:
    record = Record(
        kind=kind,
        features=task(reads),
        requested=PRESET,
        granted=PRESET,
        peak_memory_bytes=int(memory_mb * 1e6),
        cpu_s=700,
        wall_s=100,
        disk_bytes=2 * GB,
    )
    return replace(record, **given_)


def linear(count: int, seed: int = 1, kind: Kind = KIND, factor: float = 1.0) -> list[Record]:
    """Tasks that need 1 GB and twice the size of their reads, to 5 %."""
    draw = random.Random(seed)
    records = []
    for _ in range(count):
        reads = draw.uniform(0.5, 10) * GB
        memory_mb = factor * (1000 + 2 * reads / 1e6) * draw.uniform(0.95, 1.05)
        wall_s = reads / 1e7 * draw.uniform(0.9, 1.1)
        records.append(ended(reads, memory_mb, kind, wall_s=wall_s, cpu_s=3 * wall_s))
    return records


def after(records: Iterable[Record]) -> Predictor:
    predictor = Predictor()
    for record in records:
        predictor.observe(record)
    return predictor


def memory(decision: Decision) -> float:
    assert decision.memory_mb is not None
    return decision.memory_mb.request
