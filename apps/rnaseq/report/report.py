"""Writes one page about an expression matrix, with a picture: samples and genes clustered, and samples in a plane.

    python3 report.py --matrix genes_tpm.tsv --samples samples.tsv

Leaves ``expression.svg`` and ``report.html``, which has the picture in it and needs nothing else. Levels are
log2(TPM + 1). It says which genes differ most between the first two conditions, and tests nothing: whoever wants
significance takes the counts to DESeq2 or edgeR.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log2
from pathlib import Path

from clusters import average_linkage, distances, leaf_order, principal_components, standardised
from picture import Box, colours, document, heat_map, points, scale, strip, text, tree

MOST_GENES = 1000
"""Samples are compared by this many genes, those that differ most: time stays short for whole genomes."""
SHOWN_CHANGES = 20
FOLD = 1.0
"""Genes whose means differ by more than this many powers of two are coloured."""
HIGH, LOW = "#b2182b", "#2166ac"

STYLE = """
:root { color-scheme: light dark } body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1120px;
padding: 0 1rem } svg { max-width: 100%; height: auto } table { border-collapse: collapse; font-variant-numeric:
tabular-nums } td, th { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #8886 } td:first-child,
th:first-child { text-align: left } @media print { body { margin: 0; max-width: none } }
"""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Levels of genes in samples, as log2(TPM + 1): a row for each gene; and the condition of each sample."""

    samples: list[str]
    conditions: list[str]
    genes: list[str]
    rows: list[list[float]]

    def most_variable(self, number: int) -> list[int]:
        """The genes that differ most between samples, by variance, the most variable first.

        Of the half with the higher mean levels: what varies most among the others is chance, a read more or less.
        """
        means = [sum(row) for row in self.rows]
        half = sorted(range(len(self.rows)), key=lambda gene: (-means[gene], self.genes[gene]))
        half = half[: max(2, len(half) // 2)]
        return sorted(half, key=lambda gene: (-_variance(self.rows[gene]), self.genes[gene]))[:number]

    def columns(self, genes: Sequence[int]) -> list[list[float]]:
        """The levels of these genes in each sample."""
        return [list(column) for column in zip(*(self.rows[gene] for gene in genes), strict=True)]


def _variance(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values)


def read_samples(path: Path) -> list[dict[str, str]]:
    """The lines of the table of samples."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def read_matrix(path: Path, conditions: dict[str, str]) -> Matrix:
    """The matrix in a TSV file of TPM, whose first column names genes."""
    with path.open(newline="") as file:
        lines = csv.reader(file, delimiter="\t")
        samples = next(lines)[1:]
        rows = [(line[0], [log2(float(value) + 1) for value in line[1:]]) for line in lines]
    return Matrix(
        samples,
        [conditions.get(sample) or "not said" for sample in samples],
        [gene for gene, _ in rows],
        [values for _, values in rows],
    )


def changes(matrix: Matrix) -> tuple[list[str], list[tuple[str, float, float, float]]]:
    """The first two conditions by name, and (gene, mean level in each, difference) of all genes, most changed first."""
    names = sorted(set(matrix.conditions))[:2]
    if len(names) < 2:
        return names, []
    groups = [[place for place, own in enumerate(matrix.conditions) if own == name] for name in names]
    found = []
    for gene, row in zip(matrix.genes, matrix.rows, strict=True):
        first, second = (sum(row[place] for place in group) / len(group) for group in groups)
        found.append((gene, first, second, second - first))
    return names, sorted(found, key=lambda one: (-abs(one[3]), one[0]))


def draw(matrix: Matrix, shown: int) -> str:
    """The picture."""
    compared = matrix.most_variable(MOST_GENES)
    columns = matrix.columns(compared)
    sample_merges = average_linkage(distances(columns))
    order = leaf_order(sample_merges, len(matrix.samples))
    genes = matrix.most_variable(shown)
    levels = [standardised(matrix.rows[gene]) for gene in genes]
    gene_merges = average_linkage(distances([matrix.rows[gene] for gene in genes]))
    gene_order = leaf_order(gene_merges, len(genes))
    colour = colours(matrix.conditions)
    height = max(360.0, min(900.0, 12.0 * len(genes)))
    map_box: Box = (110, 150, 560, height)
    left, top, width, _ = map_box
    parts = [
        text(20, 32, f"{len(matrix.samples)} samples, {len(matrix.genes)} genes", 20, more='font-weight="bold"'),
        *tree((left, 62, width, 64), sample_merges, order),
        *strip((left, 130, width, 14), [matrix.conditions[place] for place in order], colour),
        *tree((20, top, 84, height), gene_merges, gene_order, sideways=True),
        *heat_map(map_box, [[levels[gene][place] for place in order] for gene in gene_order]),
        *_gene_names(map_box, [matrix.genes[genes[gene]] for gene in gene_order]),
        *_sample_names(map_box, [matrix.samples[place] for place in order]),
        *_legend(colour, 790, 60),
        text(790, 140, "Level of a gene: standard deviations from its mean", 12),
        *scale((790, 148, 310, 12)),
        *_plane(matrix, columns, [colour[name] for name in matrix.conditions]),
        *_both_conditions(matrix),
    ]
    return document(1120, max(map_box[1] + height + 50, 800), parts, f"Expression in {len(matrix.samples)} samples")


def _plane(matrix: Matrix, columns: Sequence[Sequence[float]], fill: Sequence[str]) -> list[str]:
    components = [*principal_components(columns), ([0.0] * len(columns), 0.0)][:2]
    labels = [f"component {number}, {part:.0%} of the variance" for number, (_, part) in enumerate(components, 1)]
    names = [f"{name}, {own}" for name, own in zip(matrix.samples, matrix.conditions, strict=True)]
    words = text(790, 208, "Samples by their main differences", 14, more='font-weight="bold"')
    return [words, *points((790, 220, 310, 240), *(one for one, _ in components), fill, names, labels)]


def _both_conditions(matrix: Matrix) -> list[str]:
    """The mean levels of genes in two conditions, those that differ most in colour."""
    conditions, changed = changes(matrix)
    if not changed:
        return []
    fill = [HIGH if change > FOLD else LOW if change < -FOLD else "#bbb" for *_, change in changed]
    names = [f"{gene}: {change:+.2f}" for gene, *_, change in changed]
    labels = [f"mean log2(TPM + 1) in {name[:24]}" for name in conditions]
    words = text(790, 506, f"Genes: changes above {2**FOLD:g}-fold in colour", 14, more='font-weight="bold"')
    levels = [[line[column] for line in changed] for column in (1, 2)]
    return [words, *points((790, 518, 310, 240), *levels, fill, names, labels, radius=2.5)]


def _legend(colour: dict[str, str], left: float, top: float) -> list[str]:
    parts = [text(left, top, "Condition", 14, more='font-weight="bold"')]
    for place, (name, fill) in enumerate(list(colour.items())[:3]):
        down = top + 14 + 18 * place
        parts.append(f'<rect x="{left}" y="{down:.1f}" width="12" height="12" fill="{fill}"/>')
        parts.append(text(left + 18, down + 10.5, name[:30]))
    return parts


def _gene_names(box: Box, names: Sequence[str]) -> list[str]:
    left, top, width, height = box
    step = height / len(names)
    if step < 5:
        return []
    return [text(left + width + 5, top + (place + 0.5) * step + 3, name[:14], min(10.0, step * 0.85))
            for place, name in enumerate(names)]  # fmt: skip


def _sample_names(box: Box, names: Sequence[str]) -> list[str]:
    left, top, width, height = box
    step = width / len(names)
    size = min(11.0, step * 0.9)
    if size < 4:
        return [text(left + width / 2, top + height + 18, "samples", 12, "middle")]
    drawn = []
    for place, name in enumerate(names):
        x, y = left + (place + 0.5) * step + size / 3, top + height + 5
        drawn.append(text(x, y, name[:12], size, "end", f'transform="rotate(-90 {x:.1f} {y:.1f})"'))
    return drawn


def page(matrix: Matrix, picture: str, missing: Sequence[dict[str, str]]) -> str:
    """The page, in HTML."""
    names, changed = changes(matrix)
    parts = [
        f"<h1>Expression of {len(matrix.genes)} genes in {len(matrix.samples)} samples</h1>",
        picture,
        "<p>The map has the genes that vary most between samples, of the half with the higher levels: among the others"
        " most of it is chance. Samples and genes are clustered by correlation (average linkage) of log2(TPM + 1).</p>",
    ]
    if missing:
        rows = "".join(f"<tr><td>{escape(one['sample'])}<td>{escape(one['reason'] or one['state'])}" for one in missing)
        parts.append(f"<h2>Samples that are missing</h2><table><tr><th>sample<th>why{rows}</table>")
    if changed:
        one, other = map(escape, names)
        head = f"<tr><th>gene<th>{one}<th>{other}<th>{other} − {one}"
        rows = "".join(
            f"<tr><td>{escape(gene)}<td>{first:.2f}<td>{second:.2f}<td>{change:+.2f}"
            for gene, first, second, change in changed[:SHOWN_CHANGES]
        )
        parts.append(f"<h2>Genes that differ most</h2><p>Means of log2(TPM + 1). Nothing is tested here.</p>"
                     f"<table>{head}{rows}</table>")  # fmt: skip
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    return f"{head}<title>Expression</title><style>{STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n"


def main() -> int:
    """Writes picture and page; prints numbers as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--matrix", type=Path, required=True)
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--genes", type=int, default=50)
    given = parser.parse_args()
    told = read_samples(given.samples)
    matrix = read_matrix(given.matrix, {line["sample"]: line["condition"] for line in told})
    if not matrix.samples or len(matrix.genes) < 2:
        print("The matrix has no sample, or fewer than two genes: there is nothing to draw.", file=sys.stderr)
        return 1
    picture = draw(matrix, given.genes)
    Path("expression.svg").write_text(picture, encoding="utf-8")
    missing = [line for line in told if line["sample"] not in set(matrix.samples)]
    Path("report.html").write_text(page(matrix, picture, missing), encoding="utf-8")
    print(json.dumps({"samples": len(matrix.samples), "genes": len(matrix.genes), "missing": len(missing)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
