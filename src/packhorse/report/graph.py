"""The graph of steps as a picture: from left to right, each step behind those that it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from packhorse.domain.plain import plain
from packhorse.domain.states import FAILED, TaskState
from packhorse.report.facts import EdgeFacts, StepFacts
from packhorse.report.markup import Markup, el
from packhorse.report.timeline import COLOURS

#: A graph of more steps is no picture any more.
MAX_DRAWN = 150

_WIDTH, _HEIGHT = 148, 64  # of a box
_ACROSS, _DOWN = 42, 18  # between boxes
_LETTERS = 21  # that fit into a box
_BY_STATE = ("ok", "bad", "off", "now", "wait")


def layers_of(number: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The column of each of ``number`` steps: one more than the last of those that it waits for.

    What waits in a circle, which no run has, stays where it is.
    """
    layers = [0] * number
    for _ in range(number):
        moved = False
        for upstream, downstream in edges:
            if layers[downstream] <= layers[upstream] < number:
                layers[downstream] = layers[upstream] + 1
                moved = True
        if not moved:
            break
    return layers


def ordered(layers: Sequence[int], edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The boxes of each column from top to bottom: near the middle of what they are joined to, so that few lines
    cross.
    """
    columns: list[list[int]] = [[] for _ in range(max(layers, default=-1) + 1)]
    for box, layer in enumerate(layers):
        columns[layer].append(box)
    joined: dict[int, list[int]] = {box: [] for box in range(len(layers))}
    for upstream, downstream in edges:
        joined[upstream].append(downstream)
        joined[downstream].append(upstream)
    for sweep in range(4):
        order = range(1, len(columns)) if sweep % 2 == 0 else range(len(columns) - 2, -1, -1)
        for at in order:
            other = at - 1 if sweep % 2 == 0 else at + 1
            heights = {box: (place + 0.5) / len(columns[other]) for place, box in enumerate(columns[other])}
            own = {box: (place + 0.5) / len(columns[at]) for place, box in enumerate(columns[at])}
            columns[at].sort(key=lambda box, own=own, heights=heights: _mean(joined[box], heights, own[box]))  # type: ignore[misc]
    return columns


def _mean(boxes: Sequence[int], heights: Mapping[int, float], alone: float) -> float:
    found = [heights[box] for box in boxes if box in heights]
    return sum(found) / len(found) if found else alone


def with_bends(layers: list[int], edges: Sequence[EdgeFacts]) -> tuple[list[int], list[list[int]]]:
    """An edge over several columns bends in each of them, so that it passes between boxes.

    Returns the columns of boxes and bends, and for each edge what it goes through.
    """
    places, chains = list(layers), []
    for edge in edges:
        chain = [edge.upstream]
        for layer in range(layers[edge.upstream] + 1, layers[edge.downstream]):
            chain.append(len(places))
            places.append(layer)
        chains.append([*chain, edge.downstream])
    return places, chains


def draw_graph(steps: Sequence[StepFacts], edges: Sequence[EdgeFacts]) -> Markup:
    """Boxes with names and counts, lines with how tasks wait."""
    edges = [edge for edge in edges if edge.upstream != edge.downstream]
    layers = layers_of(len(steps), [(edge.upstream, edge.downstream) for edge in edges])
    places, chains = with_bends(layers, edges)
    pairs = [pair for chain in chains for pair in pairwise(chain)]
    columns = ordered(places, pairs)
    heights = [sum(_height(box, steps) for box in column) for column in columns]
    tallest = max(heights, default=0)
    at: dict[int, tuple[float, float]] = {}  # left, middle
    for number, column in enumerate(columns):
        y = (tallest - heights[number]) / 2
        for box in column:
            at[box] = (8 + number * (_WIDTH + _ACROSS), 8 + y + (_height(box, steps) - _DOWN) / 2)
            y += _height(box, steps)
    width = 16 + len(columns) * (_WIDTH + _ACROSS) - _ACROSS
    height = 16 + tallest - _DOWN
    ends = _ends(chains, at)
    drawn = [
        _line(chain, at, len(steps), edge.kind, *end) for chain, edge, end in zip(chains, edges, ends, strict=True)
    ]
    boxes = [_box(step, *at[number]) for number, step in enumerate(steps)]
    name = "Graph of the run's steps"
    picture = el(
        "svg", _arrow(), drawn, boxes,
        viewBox=f"0 0 {width} {height}", width=width, height=height, role="img", aria_label=name, class_="graph",
    )  # fmt: skip
    return el("div", picture, class_="scroll")


def _height(box: int, steps: Sequence[StepFacts]) -> float:
    return _HEIGHT + _DOWN if box < len(steps) else _DOWN


def _arrow() -> Markup:
    head = el("path", d="M0 0 8 4 0 8z", class_="arrowhead")
    marker = el("marker", head, id="arrow", viewBox="0 0 8 8", refX="7", refY="4", markerWidth="7", markerHeight="7",
                orient="auto")  # fmt: skip
    return el("defs", marker)


def _ends(chains: Sequence[Sequence[int]], at: Mapping[int, tuple[float, float]]) -> list[tuple[float, bool]]:
    """How far from the middle of its box each line ends, and whether there is room for words: those that end at one box
    do so below each other, in the order in which they come.
    """
    found = [(0.0, True)] * len(chains)
    into: dict[int, list[int]] = {}
    for number, chain in enumerate(chains):
        into.setdefault(chain[-1], []).append(number)
    for numbers in into.values():
        numbers.sort(key=lambda number: at[chains[number][-2]][1])
        apart = min(16.0, (_HEIGHT - 16) / len(numbers))
        for place, number in enumerate(numbers):
            found[number] = (apart * (place - (len(numbers) - 1) / 2), apart >= 10)
    return found


def _line(
    chain: Sequence[int], at: Mapping[int, tuple[float, float]], boxes: int, kind: str, off: float, is_named: bool
) -> Markup:
    x, y = at[chain[0]][0] + _WIDTH, at[chain[0]][1]
    path = f"M{x:.0f} {y:.1f}"
    for box in chain[1:]:
        left, middle = at[box]
        middle += off if box == chain[-1] else 0
        half = (left - x) / 2
        path += f"C{x + half:.0f} {y:.1f} {left - half:.0f} {middle:.1f} {left:.0f} {middle:.1f}"
        x, y = left, middle
        if box >= boxes:  # straight on through the column
            x = left + _WIDTH
            path += f"H{x:.0f}"
    label = {"gather": "all of", "each": "each", "items": "list", "tasks": "by task"}.get(kind, kind)
    said = [el("text", label, x=x - 9, y=y - 4, text_anchor="end", class_="edge")] if is_named and label else []
    return el("g", el("path", d=path, class_="wire", marker_end="url(#arrow)"), said)


def parts_of(counts: Mapping[TaskState, int]) -> dict[str, int]:
    """Tasks by how they are: ok, bad (failed), off (canceled), now (at a site), wait."""
    found = dict.fromkeys(_BY_STATE, 0)
    for state, number in counts.items():
        found[_kind(state)] += number
    return found


def _kind(state: TaskState) -> str:
    if state is TaskState.COMPLETE:
        return "ok"
    if state in FAILED:
        return "bad"
    if state in (TaskState.CANCELED, TaskState.CANCELING):
        return "off"
    return "wait" if state is TaskState.QUEUED else "now"


def state_bar(counts: Mapping[TaskState, int], width: float, height: float, x: float = 0, y: float = 0) -> list[Markup]:
    """A bar in parts by state, with what each is where one points at it."""
    total = sum(counts.values())
    drawn = [el("rect", x=x, y=y, width=width, height=height, rx="2", class_="empty")]
    left = x
    for kind, number in parts_of(counts).items():
        if number:
            wide = max(2.0, width * number / total) if number < total else width
            wide = min(wide, x + width - left)
            drawn.append(el("rect", x=left, y=y, width=wide, height=height, class_=f"state-{kind}"))
            left += width * number / total
    return drawn


def _box(step: StepFacts, left: float, middle: float) -> Markup:
    top = middle - _HEIGHT / 2
    parts = parts_of(step.counts)
    known = sum(step.counts.values())
    what = f"{step.app.name} {step.app.version}" if step.app else step.kind
    frame = "bad" if parts["bad"] else "ok" if known and parts["ok"] == known else "plain"
    told = f"{step.name}: {', '.join(f'{number:,} {state}' for state, number in step.counts.items()) or 'no tasks'}"
    return el(
        "g",
        el("title", told),
        el("rect", x=left, y=top, width=_WIDTH, height=_HEIGHT, rx="7", class_=f"box box-{frame}"),
        el("rect", x=left + 8, y=top + 11, width=9, height=9, rx="2", class_=f"s{step.number % COLOURS}"),
        el("text", short(step.name, _LETTERS - 2), x=left + 22, y=top + 20, class_="name"),
        el("text", short(what, _LETTERS + 3), x=left + 9, y=top + 35, class_="small"),
        el("text", _count(step), x=left + 9, y=top + 49, class_="small"),
        state_bar(step.counts, _WIDTH - 18, 4, left + 9, top + 54),
    )


def _count(step: StepFacts) -> str:
    known = sum(step.counts.values())
    if step.tasks is None:
        return "tasks not known yet"
    if known == 1:
        return next(state for state, number in step.counts.items() if number).lower().replace("_", " ")
    said = f"{step.complete:,} complete" if step.complete == known else f"{step.complete:,} of {known:,} complete"
    return said if len(said) <= _LETTERS + 3 else said.removesuffix(" complete")


def short(name: str, letters: int) -> str:
    """A name that fits, with what is left out marked."""
    name = plain(name)
    return name if len(name) <= letters else f"{name[: letters - 1]}…"
