"""Pictures of when tasks ran, and of what they used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from packhorse.report.facts import Spent
from packhorse.report.markup import Markup, el
from packhorse.report.sketch import Sketch
from packhorse.report.timeline import BINS, COLOURS, Bar, Lane, Timeline, rows_of
from packhorse.report.units import duration, number, ticks, time_ticks, value_ticks

_WIDTH = 1040
_LEFT, _RIGHT = 172, 12
_PLOT = _WIDTH - _LEFT - _RIGHT
_LABEL = 26  # letters beside a lane
_JOB = 12  # letters of a job's id; longer ones are no names for people
_TOO_NARROW = 0.6  # pixels


def colour(step: int) -> str:
    """The class that gives a step its colour."""
    return f"s{step % COLOURS}"


def _svg(height: float, name: str, *children: object) -> Markup:
    picture = el(
        "svg", children, viewBox=f"0 0 {_WIDTH} {height:.0f}", width=_WIDTH, height=round(height), role="img",
        aria_label=name, class_="wide",
    )  # fmt: skip
    return el("div", picture, class_="scroll")


def _time_axis(length_s: float, top: float, bottom: float) -> list[Markup]:
    drawn: list[Markup] = []
    for tick in time_ticks(length_s):
        x = _LEFT + _PLOT * tick / length_s
        drawn.append(el("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid"))
        drawn.append(el("text", duration(tick), x=x, y=bottom + 14, text_anchor="middle", class_="small"))
    return drawn


def draw_cores(timeline: Timeline) -> Markup:
    """Cores granted to the run's tasks over time, a layer for each colour, and those of its allocations as a line."""
    held = timeline.held()
    layers = {one: [cores / timeline.bin_s for cores in timeline.total[one]] for one in sorted(timeline.total)}
    upper: float = max([1.0, *held, *(sum(at) for at in zip(*layers.values(), strict=True))])
    top, height = 10.0, 150.0
    bottom = top + height

    def y_of(cores: float) -> float:
        return bottom - height * cores / upper

    drawn = _time_axis(timeline.end - timeline.start, top, bottom)
    for tick in value_ticks(upper):
        y = y_of(tick)
        drawn.append(el("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        drawn.append(el("text", number(tick), x=_LEFT - 6, y=y + 4, text_anchor="end", class_="small"))
    drawn.append(el("text", "cores", x=_LEFT - 48, y=top + height / 2, text_anchor="end", class_="small"))
    drawn += _layers(layers, y_of)
    drawn.append(el("path", d=_outline(held, y_of), class_="held"))
    return _svg(bottom + 22, "Cores over time", drawn)


def _layers(layers: Mapping[int, Sequence[float]], y_of: Callable[[float], float]) -> list[Markup]:
    """Areas on top of each other."""
    below = [0.0] * BINS
    drawn = []
    for step, values in layers.items():
        above = [low + value for low, value in zip(below, values, strict=True)]
        path = _outline(above, y_of) + _outline(below, y_of, back=True) + "Z"
        drawn.append(el("path", d=path, class_=f"{colour(step)} area"))
        below = above
    return drawn


def _outline(values: Sequence[float], y_of: Callable[[float], float], *, back: bool = False) -> str:
    """A line of stairs along the time, or back; a stair only where the value changes."""
    wide = _PLOT / BINS
    path: list[str] = []
    order = range(BINS - 1, -1, -1) if back else range(BINS)
    before = None
    for index in order:
        y = f"{y_of(values[index]):.1f}"
        if y != before:
            x = _LEFT + wide * (index + 1 if back else index)
            path.append(f"{'L' if back or path else 'M'}{x:.1f} {y}" if before is None else f"H{x:.1f}V{y}")
        before = y
    path.append(f"H{_LEFT if back else _LEFT + _PLOT}")
    return "".join(path)


def draw_lanes(timeline: Timeline) -> Markup:
    """What ran on each node of each allocation: one bar for each attempt, or, where they are many, busy cores."""
    y = 8.0
    drawn: list[Markup] = []
    for lane in timeline.lanes:
        rows = rows_of(lane.bars)
        height = max(22.0, len(rows) * _row(len(rows))) if timeline.has_bars else 30.0
        drawn.append(_frame(lane, timeline, y, height))
        drawn.append(_lane_label(lane, y, height))
        drawn += _bars(rows, timeline, y, height) if timeline.has_bars else _busy(lane, timeline, y, height)
        y += height + 7
    axis = _time_axis(timeline.end - timeline.start, 4, y)
    return _svg(y + 20, "Timeline by allocation and node", axis, drawn)


def _row(rows: int) -> float:
    """How high one row of a lane is: less where there are many."""
    return 13.0 if rows <= 8 else 7.0 if rows <= 32 else 4.0


def _lane_label(lane: Lane, y: float, height: float) -> Markup:
    middle = y + height / 2
    if lane.allocation is None:
        return el("text", "all others", x=_LEFT - 8, y=middle + 4, text_anchor="end", class_="small")
    of = lane.allocation
    node = lane.node or of.site
    job = f"{of.site}, job {of.job_id}" if of.job_id and len(of.job_id) <= _JOB else of.site
    return el(
        "g",
        el("title", f"node {node}, allocation {of.id}, {job}, {of.cores} cores on each of {of.nodes} nodes"),
        el("text", node[-_LABEL:], x=_LEFT - 8, y=middle - 1, text_anchor="end", class_="lane"),
        el("text", job[-_LABEL:], x=_LEFT - 8, y=middle + 11, text_anchor="end", class_="small"),
    )


def _x_of(at: float, timeline: Timeline) -> float:
    part = (at - timeline.start) / (timeline.end - timeline.start)
    return _LEFT + _PLOT * min(1.0, max(0.0, part))


def _frame(lane: Lane, timeline: Timeline, y: float, height: float) -> Markup:
    """From the start of the allocation to its end."""
    start, end = timeline.start, timeline.end
    if lane.allocation is not None and lane.allocation.started_at is not None:
        start = lane.allocation.started_at
        end = timeline.end if lane.allocation.ended_at is None else lane.allocation.ended_at
    left, right = _x_of(start, timeline), _x_of(end, timeline)
    return el("rect", x=left, y=y, width=max(1.0, right - left), height=height, rx="2", class_="frame")


def _bars(rows: Sequence[Sequence[Bar]], timeline: Timeline, y: float, height: float) -> list[Markup]:
    each = height / max(1, len(rows))
    drawn = []
    for place, row in enumerate(rows):
        for bar in row:
            left, right = _x_of(bar.start, timeline), _x_of(bar.end, timeline)
            shown = el("title", bar.label)
            wide = max(_TOO_NARROW, right - left - 0.4)
            kind = f"{colour(bar.step)} bar" + (" failed" if bar.failed else "")
            top = y + place * each + 0.5
            drawn.append(el("rect", shown, x=left, y=top, width=wide, height=max(1.0, each - 1), class_=kind))
    return drawn


def _busy(lane: Lane, timeline: Timeline, y: float, height: float) -> list[Markup]:
    """Busy cores as areas, as high as the node has cores."""
    layers = {one: [cores / timeline.bin_s for cores in lane.busy[one]] for one in sorted(lane.busy)}
    most = max(sum(at) for at in zip(*layers.values(), strict=True))
    upper = max(most, float(lane.allocation.cores) if lane.allocation else 0.0, 1e-9)
    return _layers(layers, lambda cores: y + height - height * cores / upper)


def draw_distribution(
    used: Sketch, granted: Sketch, step: int, show: Callable[[float], str], *, width: int = 300, bins: int = 40
) -> Markup:
    """How many attempts used how much; a line where what was granted ends (where that differs, the most)."""
    upper = max(used.maximum, granted.maximum if granted.count else 0.0) * 1.04
    if not used.count or upper <= 0:
        return el("p", "Nothing was measured.", class_="note")
    counts = used.histogram(upper, bins)
    height, most = 54, max(counts)
    wide = width / bins
    drawn = [
        el("rect", x=index * wide + 0.5, y=height - tall, width=wide - 1, height=tall, class_=colour(step))
        for index, number_ in enumerate(counts)
        if (tall := max(1.5, (height - 6) * number_ / most) if number_ else 0)
    ]
    drawn.append(el("line", x1=0, x2=width, y1=height, y2=height, class_="axis"))
    for tick in ticks(upper, show, 3):
        x = width * tick / upper
        anchor = "start" if tick == 0 else "middle" if x < width - 24 else "end"
        drawn.append(el("text", show(tick), x=x, y=height + 13, text_anchor=anchor, class_="small"))
    if granted.count:
        x = width * granted.maximum / upper
        drawn.append(el("line", x1=x, x2=x, y1=2, y2=height, class_="granted"))
    name = "Distribution of what was used, and what was granted"
    return el("svg", drawn, viewBox=f"0 0 {width} {height + 18}", class_="dist", role="img", aria_label=name)


def draw_spent(spent: Spent, unit: str) -> Markup:
    """One bar: used, left unused, and granted to attempts that failed."""
    width, height, left = 300.0, 10, 0.0
    drawn = [el("rect", x=0, y=0, width=width, height=height, rx="2", class_="empty")]
    for part, kind in ((spent.used, "used"), (spent.unused, "unused"), (spent.failed, "lost")):
        if part > 0:
            wide = width * part / spent.granted
            drawn.append(el("rect", x=left, y=0, width=wide, height=height, class_=f"spent-{kind}"))
            left += wide
    name = f"What became of the {unit} that were granted"
    return el("svg", drawn, viewBox=f"0 0 {width:.0f} {height}", class_="spent", role="img", aria_label=name)
