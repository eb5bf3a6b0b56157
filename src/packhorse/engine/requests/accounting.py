"""Who used what was paid for: shares an allocation's cost out among those who used it. Pure.

Costs are whole core-microseconds, so that sums hold exactly, in whatever order they are taken.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any

from packhorse.domain.views import Account, AccountBy, AccountLine
from packhorse.sites.base import Shape

_US = 1_000_000
_NO_APP = "(tasks)"
_PLACES = {AccountBy.SITE: 0, AccountBy.USER: 1, AccountBy.APP: 2}


def share_out(paid: int, granted: Sequence[int]) -> tuple[list[int], int]:
    """What each part of ``paid`` comes to, and the rest that was idle; together they are exactly ``paid``.

    None is negative.

    Each gets what it was ``granted``, or, where that is more than was paid for (clocks of several machines), in
    proportion to it. Then what rounding leaves, less than one unit for each, counts as idle.
    """
    total = sum(granted)
    shares = list(granted) if total <= paid else [one * paid // total for one in granted]
    return shares, paid - sum(shares)


def paid_for(allocation: Any, now: float) -> int:
    """What an allocation cost, in core-microseconds: all cores of all its nodes, from its start to its end, or until
    now.
    """
    if allocation.started_at is None:
        return 0
    ended_at = now if allocation.ended_at is None else allocation.ended_at
    return _shape(allocation.shape).all_cores * _us(ended_at - allocation.started_at)


@dataclass(slots=True)
class _Line:
    """Sums of one line, in whole microseconds."""

    tasks: int = 0
    attempts: int = 0
    failed: int = 0
    granted: int = 0
    used: int = 0
    used_node: int = 0
    lost: int = 0
    cpu: int = 0
    paid: int = 0
    paid_node: int = 0
    idle: int = 0
    unsettled: int = 0

    def add(self, more: _Line) -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(more, name))

    def view(self, name: str, *, whole: bool) -> AccountLine:
        return AccountLine(
            name=name,
            tasks=self.tasks,
            attempts=self.attempts,
            failed=self.failed,
            granted_core_s=self.granted / _US,
            used_core_s=self.used / _US,
            used_node_s=self.used_node / _US,
            failed_core_s=self.lost / _US,
            cpu_s=self.cpu / _US,
            paid_core_s=self.paid / _US if whole else None,
            paid_node_s=self.paid_node / _US if whole else None,
            idle_core_s=self.idle / _US if whole else None,
            unsettled_core_s=self.unsettled / _US if whole else None,
        )


_SUMS = tuple(field.name for field in fields(_Line))


class _Lines:
    """The account as it is added up.

    ``whole``: the rows tell all that allocations were used for, so that the rest was idle.
    """

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._uses: defaultdict[tuple[str, str, str], _Line] = defaultdict(_Line)  # by site, user and app
        self._sites: defaultdict[str, _Line] = defaultdict(_Line)

    def add(self, rows: Sequence[Any], now: float) -> None:
        """One allocation: the rows of those who used it."""
        allocation = rows[0]
        cores = _shape(allocation.shape).cores
        paid = paid_for(allocation, now)
        granted = [_us(row.core_s) for row in rows]
        others = 0 if self._whole else max(0, _us(allocation.all_core_s or 0.0) - sum(granted))
        shares, rest = share_out(paid, [*granted, others])
        for row, mine, share in zip(rows, granted, shares, strict=False):
            if row.user is not None:
                line = self._uses[row.site, row.user, row.app or _NO_APP]
                line.tasks += row.tasks
                line.attempts += row.attempts
                line.failed += row.failed
                line.granted += mine
                line.used += share
                line.used_node += share // cores
                line.cpu += _us(row.cpu_s)
                if mine:
                    line.lost += min(share, share * _us(row.failed_core_s) // mine)
        site = self._sites[allocation.site]
        site.paid += paid
        site.paid_node += paid // cores
        if allocation.ended_at is None:
            site.unsettled += rest
        else:
            site.idle += rest

    def account(self, by: Collection[AccountBy], since: float | None, until: float) -> Account:
        """The sums, the largest first."""
        total = _Line()
        groups: dict[AccountBy, defaultdict[str, _Line]] = {one: defaultdict(_Line) for one in by}
        for names, line in self._uses.items():
            total.add(line)
            for one in by:
                groups[one][names[_PLACES[one]]].add(line)
        if self._whole:
            for name, line in self._sites.items():
                total.add(line)
                if AccountBy.SITE in groups:
                    groups[AccountBy.SITE][name].add(line)
        views = {
            one: [
                line.view(name, whole=self._whole and one is AccountBy.SITE)
                for name, line in sorted(lines.items(), key=lambda named: (-named[1].used, named[0]))
            ]
            for one, lines in groups.items()
        }
        return Account(since=since, until=until, total=total.view("total", whole=self._whole), by=views)


def account(
    rows: Iterable[Any], by: Collection[AccountBy], now: float, *, since: float | None = None, whole: bool
) -> Account:
    """The account of the rows of ``store.shares.iter_shares``, in constant memory.

    ``whole``: they are everybody's. Only then is it known what was idle; to one user the others' part and the idle part
    are not told.
    """
    lines = _Lines(whole=whole)
    for _, used in groupby(rows, key=attrgetter("seq")):
        lines.add(list(used), now)
    return lines.account(by, since, now)


@lru_cache(maxsize=1024)
def _shape(text: str) -> Shape:
    """Allocations of a site are much alike."""
    return Shape(**json.loads(text))


def _us(seconds: float) -> int:
    return round(max(0.0, seconds) * _US)
