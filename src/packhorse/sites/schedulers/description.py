"""What a batch scheduler offers: its queues, their limits, and their nodes.

Plain values, the same for every scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeKind:
    """Nodes of a queue that are alike.

    ``memory_mb`` in MB of 1e6 bytes, as everywhere; ``usable`` are neither down nor draining.
    """

    count: int
    usable: int
    cores: int
    memory_mb: int
    gpus: int = 0
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Queue:
    """A partition, a queue. A limit that is None is none.

    ``name`` is empty where jobs cannot name one.
    """

    name: str
    is_default: bool
    is_up: bool
    max_walltime_s: float | None
    default_walltime_s: float | None
    max_nodes: int | None
    min_nodes: int
    whole_nodes: bool
    """Jobs get nodes for themselves, whatever they ask for."""
    preemptible: bool
    """Jobs here may be stopped for those of other queues."""
    priority: int
    accounts: tuple[str, ...] | None
    """Who may use it; None is everybody."""
    kinds: tuple[NodeKind, ...] = ()

    @property
    def nodes(self) -> int:
        """How many nodes it has."""
        return sum(kind.count for kind in self.kinds)


@dataclass(frozen=True, slots=True)
class Description:
    """One batch scheduler."""

    name: str
    version: str
    queues: tuple[Queue, ...]
    has_accounting: bool
    """Whether it remembers how jobs ended after they have left the queue."""
    remembers_s: float | None
    """How long it keeps ended jobs in the queue."""
    usual_walltime_s: float | None = 3600.0
    """What to ask for when nothing is known of a job's tasks; None where jobs have no walltime."""

    def queue(self, name: str | None) -> Queue | None:
        """The queue of that name, or the default one."""
        return next(
            (queue for queue in self.queues if (queue.is_default if name is None else queue.name == name)), None
        )
