"""How long a decision takes where a lot is remembered."""

from __future__ import annotations

import random
from time import process_time

from packhorse.estimate.predictor import Predictor
from packhorse.estimate.records import Amounts, Features, Kind, Record

_RECORDS = 100_000
_KINDS = 500
_DECISIONS = 1000
_ASKED = Amounts(memory_mb=16_000, walltime_s=7200, cores=8, disk_mb=10_000)
_NODES = ("old", "new")
"""Types of nodes: two thirds of all kinds have run on both, the others on one of them."""


def at_size() -> float:
    """Mean milliseconds (of a processor) of a decision with what it has to learn first, with 100,000 attempts of 500
    kinds remembered.

    Between any two decisions an attempt of the same kind ends, so that none finds its models up to date.
    """
    draw = random.Random(1)
    predictor = Predictor()
    for number in range(_RECORDS):
        predictor.observe(_attempt(draw, number % _KINDS))
    for kind in range(_KINDS):  # the first decision of each kind learns all of its history
        predictor.decide(_kind(kind), _features(draw), _ASKED, on=_NODES)
    took = 0.0
    for _ in range(_DECISIONS):
        kind = draw.randrange(_KINDS)
        predictor.observe(_attempt(draw, kind))
        features = _features(draw)
        begun = process_time()
        predictor.decide(_kind(kind), features, _ASKED, on=_NODES)
        took += process_time() - begun
    return 1000 * took / _DECISIONS


def _kind(number: int) -> Kind:
    return Kind(f"app{number // 10}", "1", f"step{number % 10}")


def _features(draw: random.Random) -> Features:
    return Features(
        numeric={"threads": draw.choice((1, 2, 4)), "k": draw.randrange(15, 64)},
        categorical={"mode": draw.choice(("fast", "slow"))},
        inputs={"reads": int(draw.lognormvariate(21, 1)), "reference": int(draw.lognormvariate(20, 0.2))},
    )


def _attempt(draw: random.Random, kind: int) -> Record:
    features = _features(draw)
    size = features.inputs["reads"]
    wall_s = size / 1e7 * draw.lognormvariate(0, 0.2)
    return Record(
        kind=_kind(kind),
        features=features,
        requested=_ASKED,
        granted=_ASKED,
        peak_memory_bytes=int((kind + 1) * 1e6 + size * draw.lognormvariate(0, 0.1)),
        cpu_s=3 * wall_s,
        wall_s=wall_s,
        disk_bytes=2 * size,
        node_type=draw.choice(_NODES) if kind % 3 else _NODES[kind % 2],
    )
