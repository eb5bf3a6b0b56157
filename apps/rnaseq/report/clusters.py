"""Which columns of a matrix are like each other: clusters, and principal components. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from operator import mul

Vector = list[float]


@dataclass(frozen=True, slots=True)
class Merge:
    """Two clusters become one, at this distance. Numbers below that of the items are items; n + i is merge i."""

    left: int
    right: int
    distance: float


def centred(values: Sequence[float]) -> Vector:
    """Less their mean."""
    mean = sum(values) / len(values)
    return [value - mean for value in values]


def standardised(values: Sequence[float]) -> Vector:
    """With mean 0 and standard deviation 1; zeros where they are all alike."""
    own = centred(values)
    deviation = sqrt(sum(map(mul, own, own)) / len(own))
    return [value / deviation for value in own] if deviation > 1e-12 else [0.0] * len(own)


def distances(vectors: Sequence[Sequence[float]]) -> list[Vector]:
    """1 − Pearson's correlation of each two, 0 to 2."""
    known = [standardised(vector) for vector in vectors]
    number = len(known)
    found = [[0.0] * number for _ in known]
    for one in range(number):
        for other in range(one):
            correlation = sum(map(mul, known[one], known[other])) / len(known[one])
            found[one][other] = found[other][one] = max(0.0, 1 - correlation)
    return found


def average_linkage(between: Sequence[Sequence[float]]) -> list[Merge]:
    """Clusters of items by the mean distance of their members (UPGMA), nearest first.

    By chains of nearest neighbours (Murtagh 1983, doi:10.1093/comjnl/26.4.354): time grows with the square of the
    number of items.
    """
    number = len(between)
    rows = {one: {other: between[one][other] for other in range(number) if other != one} for one in range(number)}
    sizes = dict.fromkeys(range(number), 1)
    found: list[tuple[float, int, int]] = []  # with clusters by one of their items
    chain: list[int] = []
    while len(rows) > 1:
        if not chain:
            chain = [min(rows)]
        last = chain[-1]
        before = chain[-2] if len(chain) > 1 else None
        near = min(rows[last], key=lambda other: (rows[last][other], other != before, other))
        if near != before:
            chain.append(near)
            continue
        chain = chain[:-2]
        keep, gone = sorted((last, near))
        found.append((rows[keep][gone], keep, gone))
        for other in rows:
            if other not in (keep, gone):
                both = sizes[keep] * rows[keep][other] + sizes[gone] * rows[gone][other]
                rows[keep][other] = rows[other][keep] = both / (sizes[keep] + sizes[gone])
                del rows[other][gone]
        del rows[gone], rows[keep][gone]
        sizes[keep] += sizes.pop(gone)
    return _numbered(sorted(found, key=lambda merge: merge[0]), number)


def _numbered(merges: Sequence[tuple[float, int, int]], number: int) -> list[Merge]:
    """Merges that name items instead of clusters, nearest first, with the clusters' numbers."""
    cluster_of = list(range(number))
    current = {item: item for item in range(number)}  # by the item at a cluster's root
    found = []

    def root(item: int) -> int:
        while cluster_of[item] != item:
            item = cluster_of[item]
        return item

    for place, (distance, one, other) in enumerate(merges):
        first, second = root(one), root(other)
        found.append(Merge(current[first], current[second], distance))
        cluster_of[second] = first
        current[first] = number + place
    return found


def leaf_order(merges: Sequence[Merge], number: int) -> list[int]:
    """The items as they stand under their tree, from left to right."""
    order: list[int] = []
    pending = [number + len(merges) - 1] if number else []
    while pending:
        cluster = pending.pop()
        if cluster < number:
            order.append(cluster)
        else:
            merge = merges[cluster - number]
            pending += [merge.right, merge.left]
    return order


def principal_components(vectors: Sequence[Sequence[float]], wanted: int = 2) -> list[tuple[Vector, float]]:
    """(coordinate of each vector, part of the variance, 0 to 1) along the directions in which they differ most."""
    number = len(vectors)
    columns = [centred(column) for column in zip(*vectors, strict=True)]
    rows = [list(row) for row in zip(*columns, strict=True)]
    gram = [[sum(map(mul, one, other)) for other in rows] for one in rows]
    total = sum(gram[place][place] for place in range(number))
    found = []
    for turn in range(min(wanted, number)):
        direction, value = _largest(gram, turn)
        found.append(([part * sqrt(max(0.0, value)) for part in direction], value / total if total > 0 else 0.0))
        gram = [[gram[i][j] - value * direction[i] * direction[j] for j in range(number)] for i in range(number)]
    return found


def _largest(matrix: Sequence[Sequence[float]], turn: int) -> tuple[Vector, float]:
    """The largest eigenvalue of a symmetric matrix, and its vector, by powers; the sign is that of its largest part."""
    vector = [1.0 + ((place + turn) * 7919 % 101) / 101 for place in range(len(matrix))]
    value = 0.0
    for _ in range(1000):
        image = [sum(map(mul, row, vector)) for row in matrix]
        length = sqrt(sum(map(mul, image, image)))
        if length < 1e-12:
            return [0.0] * len(matrix), 0.0
        vector, before, value = [part / length for part in image], value, length
        if abs(value - before) <= 1e-12 * value:
            break
    sign = 1.0 if max(vector, key=abs) >= 0 else -1.0
    return [part * sign for part in vector], value
