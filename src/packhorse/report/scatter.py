"""What attempts were granted, or predicted to use, against what they used, each a point."""

from __future__ import annotations

import math
from collections.abc import Callable

from packhorse.report.charts import colour
from packhorse.report.facts import Pairs
from packhorse.report.markup import Markup, el
from packhorse.report.units import log_ticks, some

_WIDTH, _HEIGHT = 300, 220
_LEFT, _BOTTOM, _TOP, _RIGHT = 62, 30, 8, 10
_LEAST = 1e-9  # bytes, seconds


def draw_scatter(pairs: Pairs, step: int, show: Callable[[float], str], what: str, upwards: str = "granted") -> Markup:
    """Both axes are logarithmic and the same; on the line an attempt was granted what it used, above it more.

    ``upwards`` says what stands against what was used, the first of each pair.
    """
    points = [one for one in pairs.kept if min(one[:2]) > _LEAST]
    values = [value for one in points for value in one[:2]]
    if not values:
        return el("p", "Nothing was measured, or there was no limit.", class_="note")
    low, high = math.log10(min(values)) - 0.1, math.log10(max(values)) + 0.1
    wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x_of(value: float) -> float:
        return _LEFT + wide * (math.log10(value) - low) / (high - low)

    def y_of(value: float) -> float:
        return _TOP + tall - tall * (math.log10(value) - low) / (high - low)

    drawn: list[Markup] = []
    for tick in log_ticks(10.0**low, 10.0**high, show):
        x, y = x_of(tick), y_of(tick)
        drawn.append(el("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        drawn.append(el("line", x1=x, x2=x, y1=_TOP, y2=_TOP + tall, class_="grid"))
        drawn.append(el("text", show(tick), x=_LEFT - 5, y=y + 4, text_anchor="end", class_="small"))
        drawn.append(el("text", show(tick), x=x, y=_TOP + tall + 13, text_anchor="middle", class_="small"))
    drawn.append(el("line", x1=_LEFT, y1=_TOP + tall, x2=_WIDTH - _RIGHT, y2=_TOP, class_="granted"))
    for above, used, failed in points:
        kind = f"{colour(step)} point" + (" failed" if failed else "")
        drawn.append(el("circle", cx=x_of(used), cy=y_of(above), r="2.4", class_=kind))
    drawn.append(el("text", "used", x=_LEFT + wide / 2, y=_HEIGHT - 3, text_anchor="middle", class_="small"))
    name = f"{what}: {upwards}, upwards, against used; the dashed line is where they are the same"
    picture = el("svg", drawn, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", class_="dist", role="img", aria_label=name)
    left_out = "" if pairs.each == 1 else f" One point stands for {some(pairs.each, 'attempt')}."
    return el("div", el("h4", f"{what}: {upwards} against used"), picture, el("p", left_out.strip(), class_="note"))
