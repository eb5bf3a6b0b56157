"""Gathers a run: one table of all its tasks and one picture of their growth rates.

    python3 gather.py --results results.jsonl --table table.csv --plot growth.png

The table is written as the results are read; for the picture 8 to 24 bytes a task are kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fba import parse_genes

COLUMNS = ("index", "task", "state", "model", "genes", "medium", "growth_per_h", "status", "reactions_off", "reason")
NO_GROWTH = 0.01
"""Below this part of the wild type's growth rate (of the largest one seen, if there is no wild type) a cell does not
grow.
"""
MEDIA_SHOWN = 40
MAP_GENES = 100
NAMED_GENES = 50
"""A larger map names only the genes of synthetic lethal pairs."""
ANAEROBIC = "anaerobic"


class Growth:
    """The growth rates (h⁻¹) of one model, by what was changed. No optimum counts as no growth."""

    def __init__(self) -> None:
        self.wild_type: float | None = None
        self.single: dict[str, float] = {}
        self.pair_growth = array("d")
        self._gene_number: dict[str, int] = {}
        self._pair_genes = array("l")
        self.media: dict[str, float] = {}
        self.tasks = 0

    def add(self, genes: list[str], medium: str, growth: float) -> None:
        """One task's result. Those of more than two genes, or of genes and a medium, are in the table only."""
        self.tasks += 1
        if not genes and not medium:
            self.wild_type = growth
        elif medium and not genes:
            self.media[medium] = growth
        elif len(genes) == 1 and not medium:
            self.single[genes[0]] = growth
        elif len(genes) == 2 and not medium:
            self.pair_growth.append(growth)
            self._pair_genes.extend(self._gene_number.setdefault(gene, len(self._gene_number)) for gene in genes)

    def pairs(self) -> Iterator[tuple[str, str, float]]:
        """The double deletions: gene, gene, growth rate."""
        names = list(self._gene_number)
        for k, growth in enumerate(self.pair_growth):
            yield names[self._pair_genes[2 * k]], names[self._pair_genes[2 * k + 1]], growth

    @property
    def threshold(self) -> float:
        """The growth rate (h⁻¹) below which a cell does not grow."""
        top = self.wild_type
        if top is None:
            top = max([*self.single.values(), *self.pair_growth, *self.media.values()], default=0.0)
        return NO_GROWTH * top

    def lethal_pairs(self) -> list[tuple[str, str]]:
        """Synthetic lethals: pairs that do not grow although both genes can be done without one at a time."""
        least = self.threshold
        viable = {gene for gene, growth in self.single.items() if growth >= least}
        return [(a, b) for a, b, growth in self.pairs() if growth < least and a in viable and b in viable]


def gather(results: Path, table: Path) -> tuple[dict[str, Growth], Counter[str]]:
    """Writes the table; returns the growth rates by model, and how many tasks ended in which state."""
    models: dict[str, Growth] = {}
    states: Counter[str] = Counter()
    with open(results, encoding="utf-8") as lines, open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for line in lines:
            task: dict[str, Any] = json.loads(line)
            params, result = task.get("params") or {}, task.get("result") or {}
            model, genes, medium = (
                params.get("model") or "iJO1366",
                params.get("genes") or "",
                params.get("medium") or "",
            )
            states[task["state"]] += 1
            if result:
                rate = max(0.0, result.get("growth") or 0.0)  # a solver's zero may be -1e-15
                models.setdefault(model, Growth()).add(parse_genes(genes), medium, rate)
            writer.writerow([
                task["index"], task["task"], task["state"], model, genes, medium,
                result.get("growth"), result.get("status"), result.get("reactions_off"), task.get("reason"),
            ])  # fmt: skip
    return models, states


def draw(models: dict[str, Growth], states: Counter[str], plot: Path) -> None:
    """The picture: distribution of growth rates, double deletions as a map, media.

    Of several models that with most tasks.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    name, growth = max(models.items(), key=lambda item: item[1].tasks, default=("no results", Growth()))
    figure = plt.figure(figsize=(15, 11), layout="constrained")
    areas = figure.add_gridspec(2, 2, width_ratios=(1.15, 1), height_ratios=(1, 2.1))
    _distribution(figure.add_subplot(areas[0, 0]), growth)
    _map(figure, figure.add_subplot(areas[1, 0]), growth)
    _media(figure.add_subplot(areas[:, 1]), growth)
    counts = ", ".join(f"{number:,} {state.lower().replace('_', ' ')}" for state, number in states.most_common())
    others = f" (shown: {growth.tasks:,} of {name})" if len(models) > 1 else ""
    figure.suptitle(
        f"{name}: growth predicted by flux balance analysis · tasks: {counts or 'none'}{others}", fontsize=13
    )
    figure.savefig(plot, dpi=110)
    plt.close(figure)


def _distribution(axes: Any, growth: Growth) -> None:
    kinds = {
        "single deletions": list(growth.single.values()),
        "double deletions": growth.pair_growth,
        "media": list(growth.media.values()),
    }
    top = max((max(values) for values in kinds.values() if values), default=1.0) or 1.0
    edges = [top * k / 50 for k in range(51)]
    for (kind, values), colour in zip(kinds.items(), ("#1b6ca8", "#d1495b", "#3a7d44"), strict=True):
        if values:
            none = sum(value < growth.threshold for value in values)
            label = f"{kind}: {len(values):,}, {none:,} without growth"
            axes.hist(values, bins=edges, histtype="step", linewidth=1.8, color=colour, label=label)
    if growth.wild_type is not None:
        axes.axvline(growth.wild_type, color="0.35", linestyle=":", label=f"wild type: {growth.wild_type:.3f} h⁻¹")
    axes.set(xlabel="growth rate (h⁻¹)", ylabel="models", title="Growth rates", yscale="log")
    if axes.get_legend_handles_labels()[0]:
        axes.set_ylim(top=axes.get_ylim()[1] * 30)  # room for the legend
        axes.legend(fontsize=9, loc="upper left", ncols=2)


def _map(figure: Any, axes: Any, growth: Growth) -> None:
    """Genes that are in most pairs, ordered by what their own deletion costs; synthetic lethals are circled."""
    uses = Counter(gene for a, b, _ in growth.pairs() for gene in (a, b))
    often = [gene for gene, count in uses.most_common(MAP_GENES) if count > 0.25 * max(uses.values())]
    genes = sorted(often, key=lambda gene: (growth.single.get(gene, 0.0), gene))
    place = {gene: k for k, gene in enumerate(genes)}
    grid = [[float("nan")] * len(genes) for _ in genes]
    for a, b, rate in growth.pairs():
        if a in place and b in place:
            grid[place[a]][place[b]] = grid[place[b]][place[a]] = rate
    for gene, k in place.items():
        grid[k][k] = growth.single.get(gene, float("nan"))
    lethal = growth.lethal_pairs()
    title = f"Double deletions · synthetic lethal pairs: {len(lethal):,} in all"
    if not genes:
        axes.set(title="Double deletions: none in this run", xticks=[], yticks=[])
        return
    image = axes.imshow(grid, origin="lower", cmap="viridis", vmin=0, interpolation="nearest")
    figure.colorbar(image, ax=axes, label="growth rate (h⁻¹)", shrink=0.85)
    marks = [(place[x], place[y]) for a, b in lethal if a in place and b in place for x, y in ((a, b), (b, a))]
    if marks:
        label = f"synthetic lethal: {len(marks) // 2} pairs here"
        axes.scatter(
            *zip(*marks, strict=True), s=26, facecolors="none", edgecolors="#ff3b30", linewidths=1.3, label=label
        )
        axes.legend(loc="upper left", fontsize=9, framealpha=0.9)
    named = genes if len(genes) <= NAMED_GENES else sorted({genes[x] for x, _ in marks}, key=place.__getitem__)
    axes.set_xticks([place[gene] for gene in named], named, rotation=90, fontsize=7)
    axes.set_yticks([place[gene] for gene in named], named, fontsize=7)
    axes.set(
        title=title, xlabel=f"{len(genes)} genes by growth without each alone (the diagonal)", ylabel="second gene"
    )


def _media(axes: Any, growth: Growth) -> None:
    """Growth by medium, an anaerobic one beside its aerobic twin."""
    pairs: dict[str, dict[bool, float]] = {}
    for medium, rate in growth.media.items():
        rest = [part for part in medium.split(",") if part != ANAEROBIC]
        label = (
            ", ".join(part.removeprefix("EX_").replace("_e=", " ") for part in rest if not part.endswith("=0"))
            or "default"
        )
        pairs.setdefault(label, {})[ANAEROBIC in medium.split(",")] = rate
    if growth.wild_type is not None and pairs:
        pairs.setdefault("default", {})[False] = growth.wild_type
    order = sorted(pairs, key=lambda label: max(pairs[label].values()))
    more = len(order) - MEDIA_SHOWN
    order = order[-MEDIA_SHOWN:]
    for shift, anaerobic, colour, label in (
        (0.2, False, "#3a7d44", "as oxygen is in the medium"),
        (-0.2, True, "#8d6a9f", ANAEROBIC),
    ):
        bars = [(k + shift, pairs[medium][anaerobic]) for k, medium in enumerate(order) if anaerobic in pairs[medium]]
        if bars:
            axes.barh(*zip(*bars, strict=True), height=0.4, color=colour, label=label)
    axes.set_yticks(range(len(order)), order, fontsize=8)
    axes.margins(y=0.01)
    hidden = f" (the {more} with least growth are in the table)" if more > 0 else ""
    axes.set(title=f"Media{hidden}" if order else "Media: none in this run", xlabel="growth rate (h⁻¹)")
    if order:
        axes.set_ylabel("uptake bound (mmol gDW⁻¹ h⁻¹)")
        axes.legend(fontsize=9, loc="lower right")


def main() -> int:
    """Writes table and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name in ("results", "table", "plot"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    models, states = gather(given.results, given.table)
    draw(models, states, given.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
