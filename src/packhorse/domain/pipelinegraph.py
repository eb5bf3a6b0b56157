"""Draws the steps of a pipeline as text: a line for each, and rails from those that it waits for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from packhorse.domain.pipeline import PipelineManifest, how

MAX_RAILS = 12
_GAP = "  "
#: How a rail passes a line, by where it goes on to: up, down, left, right.
_SIGNS = {
    "ud": "│", "udr": "├", "udl": "┤", "udlr": "┼", "ur": "└", "ul": "┘", "ulr": "┴", "dr": "┌", "dl": "┐", "dlr": "┬",
    "lr": "─", "": " ",
}  # fmt: skip
_ASCII = str.maketrans({"○": "o", "│": "|", "─": "-", "…": "~", **dict.fromkeys("├┤┼└┘┴┌┐┬", "+")})


def draw(manifest: PipelineManifest, width: int = 80, *, ascii_only: bool = False) -> list[str]:
    """Lines of at most ``width`` columns. The steps have no circle, and wait for each other only.

    Where there would be more than MAX_RAILS rails, each step says in words what it waits for.
    """
    needs = {name: step.needs for name, step in manifest.steps.items()}
    rails = _Rails(needs, _order(needs))
    drawn = rails.lines()
    words = {name: (name, how(step), step.app) for name, step in manifest.steps.items()}
    if rails.most > MAX_RAILS:
        drawn = [("", name) for _, name in drawn if name is not None]
        after = {name: f"after {', '.join(needs[name])}" if needs[name] else "" for name in needs}
        words = {name: (name, said[1], after[name]) for name, said in words.items()}
    room = max((len(line) + len(_GAP) for line, name in drawn if line and name is not None), default=0)
    lines = []
    for line, name in drawn:
        if name is None:
            lines.append(line)
        else:
            lines.append(_cut(f"{line:<{room}}{_columns(words[name], list(words.values()), width - room)}", width))
    return [line.translate(_ASCII) for line in lines] if ascii_only else lines


def _columns(own: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> str:
    """What is said of a step, below what is said of others."""
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    first, second = min(widths[0], room // 3), min(widths[1], room // 2)
    return f"{_cut(own[0], first):<{first}}{_GAP}{_cut(own[1], second):<{second}}{_GAP}{own[2]}"


def _cut(text: str, width: int) -> str:
    text = text.rstrip()
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _order(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Each step after those that it waits for, else as they stand in the manifest."""
    names = list(needs)
    place = {name: number for number, name in enumerate(names)}
    waiting = {name: len(set(needs[name])) for name in names}
    after: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        for need in set(needs[name]):
            after[need].append(name)
    ready = [place[name] for name in names if not waiting[name]]
    heapify(ready)
    order = []
    while ready:
        order.append(names[heappop(ready)])
        for name in after[order[-1]]:
            waiting[name] -= 1
            if not waiting[name]:
                heappush(ready, place[name])
    return order


@dataclass
class _Rails:
    """A rail for each step that others wait for, from its line to that of the last of them."""

    needs: Mapping[str, Sequence[str]]
    order: Sequence[str]
    most: int = 0
    _columns: list[str | None] = field(default_factory=list)

    def lines(self) -> list[tuple[str, str | None]]:
        """(rails, the step that has this line; None for a line between steps)."""
        last = {need: name for name in self.order for need in self.needs[name]}
        lines: list[tuple[str, str | None]] = []
        for name in self.order:
            above = list(self._columns)
            sources = [above.index(need) for need in dict.fromkeys(self.needs[name])]
            ends = [column for column in sources if last[above[column] or ""] == name]
            for column in ends:
                self._columns[column] = None
            own = min(ends) if ends else self._free()
            self._columns[own] = name
            self.most = max(self.most, len(self._columns))
            if sources:
                lines.append((self._between(above, sources, ends, own).rstrip(), None))
            signs = ["○" if column == own else "│" if one else " " for column, one in enumerate(self._columns)]
            lines.append((" ".join(signs).rstrip(), name))
            if name not in last:
                self._columns[own] = None
            while self._columns and self._columns[-1] is None:
                self._columns.pop()
        return lines

    def _free(self) -> int:
        if None not in self._columns:
            self._columns.append(None)
        return self._columns.index(None)

    def _between(self, above: Sequence[str | None], sources: Sequence[int], ends: Sequence[int], own: int) -> str:
        """The line where the rails of ``sources`` turn to a step's own column."""
        left, right = min([*sources, own]), max([*sources, own])
        text = ""
        for column in range(max(len(self._columns), len(above))):
            goes_on = column < len(above) and above[column] is not None
            if column in sources or column == own:
                up = "u" if goes_on and column in sources else ""
                down = "d" if column == own or column not in ends else ""
                sides = ("l" if column > left else "") + ("r" if column < right else "")
                text += _SIGNS[up + down + sides]
            else:
                text += "│" if goes_on else "─" if left < column < right else " "
            text += "─" if left <= column < right else " "
        return text
