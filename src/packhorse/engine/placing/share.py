"""Whose tasks are next: users share an allocation equally, or by their weights, in the long run. Pure.

Each user has a level: the core-seconds that they were given while others waited, by their weight. Who is lowest is
served first, up to the others' level (start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996). Who comes anew
begins at the lowest level of those who wait, and so is served next, however many wait; who was served and comes again
is where they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from packhorse.engine.placing.pack import Demand

_NOBODY: Mapping[str, float] = {}
_LEAST_WEIGHT = 1e-9  # of the largest: who has less has next to nothing either way, and numbers have their limits
_STEPS = 100
_EPSILON = 1e-9


@dataclass(slots=True)
class Turns:
    """The levels of an allocation's users. ``floor`` is the lowest level of those who were left waiting: nobody's is
    less.
    """

    levels: dict[str, float] = field(default_factory=dict)
    floor: float = 0.0

    def share(
        self, core_s: float, demands: Sequence[Demand], weights: Mapping[str, float] = _NOBODY
    ) -> dict[Demand, int]:
        """``share`` by what everybody was given before, which is remembered."""
        levels = {user: max(level, self.floor) for user, level in self.levels.items()}
        given = share(core_s, demands, weights, levels, self.floor)
        weight = _weights(demands, weights)
        for demand, number in given.items():
            before = levels.get(demand.user, self.floor)
            levels[demand.user] = before + number * demand.core_s / weight[demand.user]
        waiting = {demand.user for demand in demands if demand.tasks > given.get(demand, 0)}
        if given:
            self.floor = min((levels.get(user, self.floor) for user in waiting), default=0.0)
            # where nobody waits there is nothing to be fair about
            kept = {user: level for user, level in levels.items() if user in waiting or level > self.floor}
            self.levels = kept if waiting else {}
        return given


def share(
    core_s: float,
    demands: Sequence[Demand],
    weights: Mapping[str, float] = _NOBODY,
    levels: Mapping[str, float] = _NOBODY,
    floor: float = 0.0,
) -> dict[Demand, int]:
    """Divides ``core_s`` of work among users by ``levels`` (``floor`` where there is none) and ``weights`` (1 where
    there is none), then among each user's demands by priority and age: demand → number of its tasks.

    What a user cannot use goes to the others. The last task may be larger than what is left for it.
    """
    by_user: dict[str, list[Demand]] = {}
    for demand in sorted(demands, key=lambda demand: demand.order):
        if demand.tasks > 0:
            by_user.setdefault(demand.user, []).append(demand)
    if core_s <= 0 or not by_user:
        return {}
    weight = _weights(demands, weights)
    start = {user: levels.get(user, floor) for user in by_user}
    wants = {user: sum(demand.tasks * demand.core_s for demand in mine) for user, mine in by_user.items()}
    level = _level(core_s, [(start[user], wants[user], weight[user]) for user in by_user])
    given: dict[Demand, int] = {}
    spent: dict[str, float] = {}
    for user, mine in by_user.items():
        part = min((level - start[user]) * weight[user], wants[user])
        spent[user] = _serve(part, mine, given)
    # of what is left, each in turn gets one task more: the lowest first, and of these who had none yet, by age
    left = core_s - sum(spent.values())
    ends = {user: start[user] + spent[user] / weight[user] for user in by_user}
    for user in sorted(by_user, key=lambda one: (ends[one], one in levels, min(d.step_seq for d in by_user[one]), one)):
        more = next((demand for demand in by_user[user] if demand.tasks > given.get(demand, 0)), None)
        if left > _EPSILON * core_s and more is not None:
            given[more] = given.get(more, 0) + 1
            left -= more.core_s
    return given


def _weights(demands: Sequence[Demand], weights: Mapping[str, float]) -> dict[str, float]:
    """Of those who have demands."""
    found = {demand.user: weights.get(demand.user, 1.0) for demand in demands}
    least = _LEAST_WEIGHT * max(found.values(), default=1.0)
    return {user: max(weight, least) for user, weight in found.items()}


def _level(core_s: float, users: Sequence[tuple[float, float, float]]) -> float:
    """The level up to which all are served when ``core_s`` are given.

    ``users`` are (level, core-seconds wanted, weight).
    """
    low = min(start for start, _, _ in users)
    high = max(start + min(wanted, core_s) / weight for start, wanted, weight in users)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if sum(min(max(0.0, middle - start) * weight, wanted) for start, wanted, weight in users) > core_s:
            high = middle
        else:
            low = middle
    return high


def _serve(part: float, demands: Sequence[Demand], given: dict[Demand, int]) -> float:
    """Gives up to ``part`` core-seconds to one user's demands, in order; returns what was given."""
    spent = 0.0
    for demand in demands:
        number = min(demand.tasks, int((part - spent) / demand.core_s + _EPSILON))
        if number > 0:
            given[demand] = number
            spent += number * demand.core_s
        if number < demand.tasks:
            break
    return spent
