"""How much work goes into which block, and whose. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

AHEAD_S = 2.0  # unclaimed work that an allocation is kept supplied with; what a newcomer waits behind
BLOCK_S = 0.5  # work in one block
MAX_BLOCK_TASKS = 500
UNKNOWN_S = 0.5  # a task of which nothing is known yet


@dataclass(frozen=True, slots=True)
class Demand:
    """Tasks of one run that could start now. ``core_s`` is the predicted core-seconds of one of them."""

    user: str
    run_seq: int
    tasks: int
    core_s: float


def quota(cores: int, unclaimed_core_s: float) -> float:
    """Core-seconds of work that an allocation may be given now."""
    return max(0.0, AHEAD_S * cores - unclaimed_core_s)


def share(core_s: float, demands: Sequence[Demand]) -> dict[int, int]:
    """Divides ``core_s`` of work among users in equal parts, then among each user's runs, oldest first: run → number of tasks.

    What a user cannot use goes to the others. While there is any quota, every user with a task gets at least one, so that nobody
    waits behind another's thousands.
    """
    given: dict[int, int] = {}
    if core_s <= 0:
        return given
    by_user: dict[str, list[Demand]] = {}
    for demand in sorted(demands, key=lambda demand: demand.run_seq):
        if demand.tasks > 0:
            by_user.setdefault(demand.user, []).append(demand)
    # who wants least is served first, so that what they leave is divided among the rest
    wants = {user: sum(demand.tasks * demand.core_s for demand in mine) for user, mine in by_user.items()}
    left = core_s
    for position, user in enumerate(sorted(wants, key=lambda user: (wants[user], user))):
        part = left / (len(wants) - position)
        left -= _serve(part, by_user[user], given)
        left = max(left, 0.0)
    return given


def _serve(part: float, demands: Sequence[Demand], given: dict[int, int]) -> float:
    """Gives ``part`` core-seconds to one user's runs in order; returns what was really given."""
    spent = 0.0
    for demand in demands:
        room = part - spent
        number = demand.tasks if demand.tasks * demand.core_s <= room else int(room / demand.core_s)
        if number == 0 and not spent:
            number = 1
        if number <= 0:
            break
        given[demand.run_seq] = number
        spent += number * demand.core_s
    return spent


def split(items: Sequence[Item], core_s: float, cores: int) -> list[Sequence[Item]]:
    """``items`` of ``core_s`` core-seconds each, in blocks of about ``BLOCK_S`` on ``cores``; never fewer than one to a block."""
    work = BLOCK_S * cores
    size = MAX_BLOCK_TASKS if MAX_BLOCK_TASKS * core_s <= work else max(1, int(work / core_s))
    return [items[start : start + size] for start in range(0, len(items), size)]
