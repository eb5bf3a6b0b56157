"""What an allocation can have, as a batch scheduler's description tells. Pure, the same for every scheduler."""

from __future__ import annotations

from collections import Counter

from packhorse.sites.base import Limits
from packhorse.sites.schedulers.description import Description


def limits_of(description: Description, queue: str | None) -> tuple[Limits, ...]:
    """What an allocation can have: in ``queue`` (None: the default one), then in the others that are up; more nodes
    first.
    """
    own = description.queue(queue)
    others = [other for other in description.queues if other.is_up and other is not own]
    found = []
    for candidate in [*([own] if own else []), *others]:
        alike: Counter[tuple[int, int, int]] = Counter()
        for kind in candidate.kinds:  # features do not count: who wants one says so to the scheduler
            alike[kind.cores, kind.memory_mb, kind.gpus] += kind.count
        for (cores, memory_mb, gpus), count in alike.most_common():
            nodes = count if candidate.max_nodes is None else min(count, candidate.max_nodes)
            found.append(
                Limits(
                    cores,
                    memory_mb,
                    nodes,
                    gpus,
                    candidate.max_walltime_s,
                    description.usual_walltime_s,
                    candidate.whole_nodes,
                    candidate.name or None,
                )
            )
    return tuple(found)
