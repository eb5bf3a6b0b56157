"""How large an allocation is, and how much work goes into which block. Pure; whose it is: share.py."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from packhorse.domain.resources import Resources
from packhorse.sites.base import Limits, Shape
from packhorse.sites.site import fitting

Item = TypeVar("Item")

AHEAD_S = 1.5  # unclaimed work that an allocation is kept supplied with; what a newcomer waits behind
BLOCK_S = 0.5  # work in one block
MAX_BLOCK_TASKS = 500
MAX_TASKS_AT_ONCE = (
    2 * MAX_BLOCK_TASKS
)  # of one demand in one tick, so that an agent has the first ones while we plan the next
UNKNOWN_S = 0.5  # a task of which nothing is known yet
SPREAD_S = 30.0  # work that a node is worth being asked for
MIN_WALLTIME_S = 900.0
SPARE_S = 120.0  # of an allocation's walltime: until its agents run, and for their drain
_MARGIN = 2.0  # predictions may be wrong by that factor


@dataclass(frozen=True, slots=True)
class Demand:
    """Tasks of one user that could start now and are alike: a row of the store's demands.

    ``core_s`` is the predicted core-seconds of one of them.
    """

    user: str
    seq: int
    tasks: int
    core_s: float
    resources: Resources = field(default_factory=Resources)
    is_known: bool = False
    """Whether ``core_s`` comes from tasks like these, and is not a guess."""
    rank: int = 0
    """Of its first step: minus the priority of that step's run."""
    step_seq: int = 0
    """Its first step: of those with the lowest rank, the oldest."""
    high_s: float | None = None
    """The wall time that nearly all of its tasks are expected to need; None: not estimated."""

    @property
    def order(self) -> tuple[int, int, int]:
        """Its place among those of its user."""
        return self.rank, self.step_seq, self.seq


def nodes_wanted(demand: Demand, limits: Limits) -> int:
    """How many nodes the tasks of ``demand`` are worth: such that each has some work, and no more than have a task to
    run.
    """
    at_once = _at_once(demand.resources, limits)
    worth = demand.tasks * demand.core_s / (SPREAD_S * at_once * demand.resources.cpu_cores)
    return max(1, min(limits.nodes, math.ceil(worth), math.ceil(demand.tasks / at_once)))


def nodes_missing(demand: Demand, limits: Limits, shapes: Sequence[Shape]) -> int:
    """How many of the nodes that ``demand`` is worth the allocations of ``shapes``, which suit it, are not.

    An allocation that one task of a step has left idle is a part of a node, and only that. Another is opened beside it
    where it would take long over all of them; where nobody knows how long, where it is half of what they could use.
    """
    at_once = _at_once(demand.resources, limits)
    there = sum(one.nodes * _at_once(demand.resources, _limits_of(one)) for one in shapes)
    missing = min(demand.tasks, nodes_wanted(demand, limits) * at_once) - there
    if there:
        each_s = demand.core_s / demand.resources.cpu_cores
        takes_long = demand.tasks * each_s > SPREAD_S * there
        if not takes_long and (demand.is_known or missing < there):
            return 0
    return max(0, math.ceil(missing / at_once))


def _limits_of(shape: Shape) -> Limits:
    memory_mb = sys.maxsize if shape.memory_mb is None else shape.memory_mb
    return Limits(shape.cores, memory_mb, shape.nodes, shape.gpus)


def shape(demand: Demand, limits: Sequence[Limits], nodes: int) -> Shape | None:
    """An allocation for ``demand`` with at most ``nodes`` nodes, within the first limits that its resources fit; None
    when they fit none.

    A task that spans nodes gets an allocation for itself, of exactly what it asks for.
    """
    suiting = fitting(limits, demand.resources)
    if not suiting:
        return None
    within, asked = suiting[0], demand.resources
    # the site's usual queue goes without saying: some sites choose it by other options
    queue = within.queue if asked.queue or within.queue != limits[0].queue else None
    if asked.nodes > 1:
        cores = within.cores if within.whole_nodes else math.ceil(asked.cpu_cores)
        memory_mb = asked.memory_mb if asked.memory_mb is not None else _part(within, cores)
        return Shape(
            cores, memory_mb, _walltime_s(demand, within, 1.0), asked.nodes, asked.gpus, queue, for_one_task=True
        )
    at_once = _at_once(asked, within)
    slots = min(at_once, demand.tasks)
    number = max(1, min(nodes, within.nodes, math.ceil(demand.tasks / at_once)))
    if within.whole_nodes or slots == at_once:
        cores, memory_mb, gpus = within.cores, within.memory_mb, within.gpus if asked.gpus else 0
    else:
        cores, gpus = math.ceil(slots * asked.cpu_cores), slots * asked.gpus
        memory_mb = _part(within, cores) if asked.memory_mb is None else slots * asked.memory_mb
    rounds = math.ceil(demand.tasks / (slots * number))
    return Shape(cores, memory_mb, _walltime_s(demand, within, rounds), number, gpus, queue)


def suits(shape: Shape, demand: Demand, left_s: float | None) -> bool:
    """Whether an allocation of ``shape`` with ``left_s`` of its walltime left (None: no limit) can run the tasks of
    ``demand``.
    """
    resources = demand.resources
    needed_s = resources.walltime_s or demand.high_s or _MARGIN * demand.core_s / resources.cpu_cores
    return fits(shape, resources) and (left_s is None or left_s > needed_s)


def fits(shape: Shape, resources: Resources) -> bool:
    """Whether a task that asks for this finds it in an allocation of ``shape``, however long it takes."""
    return (
        not shape.for_one_task
        and resources.nodes == 1
        and resources.queue in (None, shape.queue)
        and resources.cpu_cores <= shape.cores
        and resources.gpus <= shape.gpus
        and (resources.memory_mb is None or shape.memory_mb is None or resources.memory_mb <= shape.memory_mb)
    )


def left_s(shape: Shape, started_at: float | None, now: float) -> float | None:
    """What of an allocation's walltime tasks may still use; None: no limit."""
    return None if shape.walltime_s is None else shape.walltime_s - SPARE_S / 2 - (now - (started_at or now))


def _at_once(resources: Resources, limits: Limits) -> int:
    """How many such tasks run on one node at the same time."""
    by_cores = int(limits.cores / resources.cpu_cores + 1e-9)
    by_memory = by_cores if resources.memory_mb is None else limits.memory_mb // resources.memory_mb
    by_gpus = limits.gpus // resources.gpus if resources.gpus else by_cores
    return max(1, min(by_cores, by_memory, by_gpus))


def _part(limits: Limits, cores: int) -> int:
    """The memory (MB) that goes with some of a node's cores."""
    return limits.memory_mb * cores // limits.cores


def _walltime_s(demand: Demand, limits: Limits, rounds: float) -> float | None:
    """What to ask for when each slot runs ``rounds`` tasks; more than enough, since what is not used is not paid.

    Where tasks have a walltime, they start only while all of it is left (``suits``): the time in which they start comes
    before it.
    """
    if limits.usual_walltime_s is None:
        return None
    each_s = demand.core_s / demand.resources.cpu_cores
    last_s = demand.resources.walltime_s
    if last_s is None:
        enough_s = SPARE_S + _MARGIN * rounds * each_s if demand.is_known else limits.usual_walltime_s
    elif demand.resources.nodes > 1:  # a job for itself
        enough_s = SPARE_S + last_s
    else:
        before_s = (rounds - 1) * (_MARGIN * each_s if demand.is_known else last_s)
        starts_s = max(MIN_WALLTIME_S, before_s if demand.is_known else min(limits.usual_walltime_s, before_s))
        enough_s = SPARE_S + last_s + starts_s
    return min(limits.walltime_s or math.inf, max(MIN_WALLTIME_S, enough_s))


def quota(cores: int, unclaimed_core_s: float) -> float:
    """Core-seconds of work that an allocation may be given now: none until a whole block has been claimed.

    Nobody waits longer for that, since blocks are claimed in order; and a long run is not planned in tiny blocks.
    """
    room = AHEAD_S * cores - unclaimed_core_s
    return room if room >= BLOCK_S * cores else 0.0


def split(items: Sequence[Item], core_s: float, cores: int) -> list[Sequence[Item]]:
    """``items`` of ``core_s`` core-seconds each, in blocks of about ``BLOCK_S`` on ``cores``; never fewer than one to a
    block.
    """
    work = BLOCK_S * cores
    size = MAX_BLOCK_TASKS if MAX_BLOCK_TASKS * core_s <= work else max(1, int(work / core_s))
    return [items[start : start + size] for start in range(0, len(items), size)]
