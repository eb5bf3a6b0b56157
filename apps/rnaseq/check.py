"""Compares an expression matrix with the levels that reads were simulated at.

    python3 check.py --matrix genes_tpm.tsv --truth samples/truth_tpm.tsv

Prints for each sample Spearman's rank correlation over the genes that are expressed there, and ends with 1 where one is
below ``--least``.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

LEAST = 0.95

Table = dict[str, dict[str, float]]


def ranks(values: Sequence[float]) -> list[float]:
    """From 1; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            found[place] = (start + 1 + end) / 2
        start = end
    return found


def pearson(first: Sequence[float], second: Sequence[float]) -> float:
    """The correlation of two series of one length; 0 where one of them does not vary."""
    mean1, mean2 = sum(first) / len(first), sum(second) / len(second)
    both = sum((a - mean1) * (b - mean2) for a, b in zip(first, second, strict=True))
    own = sum((a - mean1) ** 2 for a in first) * sum((b - mean2) ** 2 for b in second)
    return both / own**0.5 if own > 0 else 0.0


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """The correlation of their ranks."""
    return pearson(ranks(first), ranks(second))


def read_table(path: Path, key: str) -> Table:
    """Values by sample and then by what column ``key`` names; lines of one name are added up."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        columns = [name for name in reader.fieldnames or () if name not in ("transcript", "gene", "length_bp")]
        table: Table = {column: {} for column in columns}
        for line in reader:
            for column in columns:
                table[column][line[key]] = table[column].get(line[key], 0.0) + float(line[column])
    return table


def agreement(measured: Table, truth: Table) -> dict[str, float]:
    """Spearman's correlation by sample, over the genes whose true level is above 0; one that is not in the matrix was
    measured as 0.
    """
    found = {}
    for sample, values in measured.items():
        expressed = [gene for gene, level in truth[sample].items() if level > 0]
        found[sample] = spearman([values.get(gene, 0.0) for gene in expressed],
                                 [truth[sample][gene] for gene in expressed])  # fmt: skip
    return found


def main() -> int:
    """Compares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--matrix", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--of", choices=("gene", "transcript"), default="gene")
    parser.add_argument("--least", type=float, default=LEAST)
    given = parser.parse_args()
    found = agreement(read_table(given.matrix, given.of), read_table(given.truth, given.of))
    values = sorted(found.values())
    print(json.dumps({
        "samples": len(values), "least": round(values[0], 4), "median": round(values[len(values) // 2], 4),
        "below": [sample for sample, value in found.items() if value < given.least],
    }))  # fmt: skip
    return int(values[0] < given.least)


if __name__ == "__main__":
    sys.exit(main())
