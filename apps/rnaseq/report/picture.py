"""Draws in SVG: a heat map under a tree, and points in a plane. Pure; only the standard library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from clusters import Merge

LOW, MIDDLE, HIGH = (33, 102, 172), (247, 247, 247), (178, 24, 43)
"""Of the scale: blue, nearly white and red, which people who do not see red and green can tell."""
PALETTE = ("#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d", "#666666")
SHADES = 40
LIMIT = 2.5
"""Where the scale ends, in standard deviations."""

Box = tuple[float, float, float, float]
"""Left, top, width, height."""


def colour_of(value: float) -> str:
    """The colour of a value, in standard deviations from the mean."""
    share = round(max(-1.0, min(1.0, value / LIMIT)) * SHADES) / SHADES
    end = HIGH if share > 0 else LOW
    mixed = (round(middle + (last - middle) * abs(share)) for middle, last in zip(MIDDLE, end, strict=True))
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def text(x: float, y: float, words: str, size: float = 12, anchor: str = "start", more: str = "") -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:.1f}" text-anchor="{anchor}" {more}>{escape(words)}</text>'


def heat_map(box: Box, rows: Sequence[Sequence[float]]) -> list[str]:
    """A cell for each value; those of one colour are one path."""
    left, top, width, height = box
    cell_width, cell_height = width / len(rows[0]), height / len(rows)
    paths: dict[str, list[str]] = {}
    for down, row in enumerate(rows):
        for across, value in enumerate(row):
            corner = f"M{left + across * cell_width:.2f} {top + down * cell_height:.2f}"
            cell = f"{corner}h{cell_width:.2f}v{cell_height:.2f}h-{cell_width:.2f}z"
            paths.setdefault(colour_of(value), []).append(cell)
    drawn = (f'<path fill="{colour}" d="{"".join(cells)}"/>' for colour, cells in sorted(paths.items()))
    return ['<g shape-rendering="crispEdges">', *drawn, "</g>"]


def tree(box: Box, merges: Sequence[Merge], order: Sequence[int], *, sideways: bool = False) -> list[str]:
    """The tree of clusters, with its leaves along the lower edge of the box, or along the right one."""
    left, top, width, height = box
    along, across = (height, width) if sideways else (width, height)
    step, tallest = along / len(order), max((merge.distance for merge in merges), default=0) or 1
    places = {item: ((place + 0.5) * step, 0.0) for place, item in enumerate(order)}
    lines = []
    for number, merge in enumerate(merges, len(order)):
        (first, low), (second, other) = places[merge.left], places[merge.right]
        up = merge.distance / tallest * across
        places[number] = ((first + second) / 2, up)
        corners = [(first, low), (first, up), (second, up), (second, other)]
        if sideways:
            points = [f"{left + width - high:.1f} {top + place:.1f}" for place, high in corners]
        else:
            points = [f"{left + place:.1f} {top + height - high:.1f}" for place, high in corners]
        lines.append("M" + "L".join(points))
    return [f'<path fill="none" stroke="#555" stroke-width="0.8" d="{"".join(lines)}"/>']


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name, in order of the alphabet."""
    return {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(sorted(set(names)))}


def strip(box: Box, names: Sequence[str], colour: Mapping[str, str]) -> list[str]:
    """A cell for each name, side by side."""
    left, top, width, height = box
    cell = width / len(names)
    return [
        '<g shape-rendering="crispEdges">',
        *(
            f'<rect x="{left + place * cell:.2f}" y="{top:.1f}" width="{cell:.2f}" height="{height:.1f}" '
            f'fill="{colour[name]}"/>'
            for place, name in enumerate(names)
        ),
        "</g>",
    ]


def scale(box: Box) -> list[str]:
    """What the colours of the heat map mean."""
    left, top, width, height = box
    cells = heat_map(box, [[LIMIT * (2 * place / 80 - 1) for place in range(81)]])
    below = top + height + 13
    marks = ((0.0, f"−{LIMIT:g}"), (0.5, "0"), (1.0, f"+{LIMIT:g}"))
    return [*cells, *(text(left + place * width, below, words, 10, "middle") for place, words in marks)]


def points(
    box: Box,
    x: Sequence[float],
    y: Sequence[float],
    fill: Sequence[str],
    names: Sequence[str],
    labels: Sequence[str],
    radius: float = 4.5,
) -> list[str]:
    """Points in a frame, each with its name for those who point at it, and names of both axes."""
    left, top, width, height = box
    around = 0.06

    def place(value: float, values: Sequence[float]) -> float:
        low, high = min(values), max(values)
        return around + (1 - 2 * around) * ((value - low) / (high - low) if high > low else 0.5)

    drawn = [
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#999"/>',
        text(left + width / 2, top + height + 18, labels[0], 12, "middle"),
        text(left - 8, top + height / 2, labels[1], 12, "middle",
             f'transform="rotate(-90 {left - 8:.1f} {top + height / 2:.1f})"'),
    ]  # fmt: skip
    for one, other, colour, name in zip(x, y, fill, names, strict=True):
        right, down = left + width * place(one, x), top + height * (1 - place(other, y))
        drawn.append(
            f'<circle cx="{right:.1f}" cy="{down:.1f}" r="{radius}" fill="{colour}" fill-opacity="0.8" stroke="#fff" '
            f'stroke-width="{radius / 6:.1f}"><title>{escape(name)}</title></circle>'
        )
    return drawn


def document(width: float, height: float, parts: Sequence[str], title: str) -> str:
    """The whole picture, on white: it may lie on a page of any colour."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="Helvetica, Arial, sans-serif" fill="#222" role="img">'
    )
    ground = f'<rect width="{width:g}" height="{height:g}" fill="#fff"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", ground, *parts, "</svg>", ""])
