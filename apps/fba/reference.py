"""The same growth rates by COBRApy's own functions, in one process: what the app has to agree with to 1e-6.

COBRApy starts each problem where the one before it ended, and goes through deletions in the order of a set, which
differs from process to process. So its answers are not quite a function of the question. In one of five passes over
5000 rows of iJO1366 a single row (b0875+b2283) came out 2.4e-6 below its optimum, which exact arithmetic
(``glp_exact``) puts where the app has it; in the other four passes all rows were within 6e-8 of the app's. A tolerance
of 1e-9 is no cure: three such passes differed from each other by up to 3e-7. ``alone`` asks for one row with nothing
before it.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterable
from typing import Any

import lp
from cobra.flux_analysis import double_gene_deletion, single_gene_deletion
from cobra.io import load_model
from cobra.io.web.cobrapy_repository import Cobrapy
from fba import parse_genes, parse_medium

Row = tuple[str, str, str]

SOLVE_S = 20
"""Seconds after which one solution is given up (no optimum).

GLPK was seen to go round in circles in one of them, for minutes.
"""


def reference(rows: Iterable[Row]) -> dict[Row, float | None]:
    """Growth rate (h⁻¹; None where COBRApy finds no optimum) of each (model, genes, medium)."""
    wanted = list(rows)
    growth: dict[Row, float | None] = {}
    for name in dict.fromkeys(row[0] for row in wanted):
        model = load_model(name, repositories=[Cobrapy()])
        model.solver.configuration.timeout = SOLVE_S
        growth.update(_of_one_model(model, name, [row for row in wanted if row[0] == name]))
    return growth


def alone(row: Row) -> float | None:
    """The growth rate of one row, by a model that has solved nothing before."""
    return reference([row])[row]


def _of_one_model(model: Any, name: str, rows: list[Row]) -> dict[Row, float | None]:
    """By number of genes: one call of ``single_gene_deletion``; ``double_gene_deletion``; a with-block for all else."""
    growth: dict[Row, float | None] = {}
    genes = {row: parse_genes(row[1]) for row in rows}
    singles = {genes[row][0]: row for row in rows if len(genes[row]) == 1 and not row[2]}
    doubles = {frozenset(genes[row]): row for row in rows if len(genes[row]) == 2 and not row[2]}
    if singles:
        table = single_gene_deletion(model, list(singles), processes=1)
        growth.update(
            (singles[min(ids)], _number(rate)) for ids, rate in zip(table["ids"], table["growth"], strict=True)
        )
    partners: dict[str, list[str]] = {}
    for first, second in map(sorted, doubles):
        partners.setdefault(first, []).append(second)
    for first, seconds in partners.items():
        table = double_gene_deletion(model, [first], seconds, processes=1)
        growth.update(
            (doubles[frozenset(ids)], _number(rate)) for ids, rate in zip(table["ids"], table["growth"], strict=True)
        )
    for row in rows:
        if row not in growth:
            with model:
                model.medium = {**model.medium, **parse_medium(row[2])}
                for gene in genes[row]:
                    model.genes.get_by_id(gene).knock_out()
                growth[row] = _number(model.slim_optimize())
    return growth


def _number(rate: float) -> float | None:
    return None if math.isnan(rate) else float(rate)


def main() -> None:
    """Reads a table (model, genes, medium) and prints it with a column ``growth``."""
    with open(sys.argv[1], newline="", encoding="utf-8") as file:
        rows = [
            (row.get("model") or lp.MODELS[0], row.get("genes") or "", row.get("medium") or "")
            for row in csv.DictReader(file)
        ]
    growth = reference(rows)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("model", "genes", "medium", "growth"))
    writer.writerows((*row, growth[row]) for row in rows)


if __name__ == "__main__":
    main()
