"""Writes the app's input table: the wild type, changes of medium, all single gene deletions, then double deletions.

    python3 make_table.py --rows 5000 --output table.csv

The same arguments give the same table. The double deletions are first all pairs of a sample of genes of the central
carbon metabolism (where the model has them), as a block that can be read as a map, then random pairs of all genes.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from collections.abc import Iterator
from itertools import combinations, islice
from math import comb

import lp

GLUCOSE = "EX_glc__D_e"

#: Carbon sources, BiGG ids of the metabolites. A model gets those that it has an exchange reaction for.
CARBON_SOURCES = (
    "ac",
    "acald",
    "acgam",
    "akg",
    "ala__L",
    "arab__L",
    "asp__L",
    "cit",
    "etoh",
    "fru",
    "fuc__L",
    "fum",
    "gal",
    "galt",
    "glcn",
    "gln__L",
    "glu__L",
    "gly",
    "glyc",
    "idon__L",
    "lac__D",
    "lac__L",
    "lcts",
    "mal__L",
    "malt",
    "man",
    "melib",
    "mnl",
    "pro__L",
    "pyr",
    "rib__D",
    "rmn",
    "sbt__D",
    "ser__L",
    "succ",
    "thr__L",
    "thymd",
    "tre",
    "xyl__D",
)
GLUCOSE_UPTAKES = (1, 2, 4, 6, 8, 12, 15, 20)
OXYGEN_UPTAKES = (1, 2, 5, 10, 15, 20)

#: 84 genes have 3486 pairs, which with the rest of iJO1366's rows is a little less than 5000.
BLOCK_GENES = 84


def rows(model: str, count: int, seed: int) -> Iterator[tuple[str, str]]:
    """``count`` different pairs (genes, medium), or as many as there are."""
    return islice(_all_rows(lp.load(model), seed), count)


def _all_rows(model: lp.Model, seed: int) -> Iterator[tuple[str, str]]:
    genes = sorted(model.genes)
    yield "", ""
    for medium in _media(model):
        yield "", medium
    for gene in genes:
        yield gene, ""
    done = set()
    pick = random.Random(seed)
    for pair in _block(genes, pick):
        done.add(pair)
        yield "+".join(pair), ""
    while len(done) < comb(len(genes), 2):
        first, second = sorted(pick.sample(genes, 2))
        if (first, second) not in done:
            done.add((first, second))
            yield f"{first}+{second}", ""


def _media(model: lp.Model) -> Iterator[str]:
    if GLUCOSE in model.exchanges:
        yield "anaerobic"
        for uptake in GLUCOSE_UPTAKES:
            yield f"{GLUCOSE}={uptake}"
        for uptake in OXYGEN_UPTAKES:
            yield f"EX_o2_e={uptake}"
    for source in (f"EX_{metabolite}_e" for metabolite in CARBON_SOURCES):
        if source in model.exchanges:
            yield f"{GLUCOSE}=0,{source}=10"
            yield f"anaerobic,{GLUCOSE}=0,{source}=10"


def _block(genes: list[str], pick: random.Random) -> list[tuple[str, str]]:
    """All pairs of a sample of genes."""
    core = sorted(set(lp.load("textbook").genes) & set(genes))
    if len(core) < BLOCK_GENES:
        core = genes
    sample = sorted(pick.sample(core, min(BLOCK_GENES, len(core))))
    return list(combinations(sample, 2))


def main() -> int:
    """Writes the table; exit code 1 with a sentence if it cannot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", choices=lp.MODELS, default=lp.MODELS[0])
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", default="-", help="a file; '-' is the standard output")
    given = parser.parse_args()
    try:
        table = [(given.model, *row) for row in rows(given.model, given.rows, given.seed)]
    except lp.FbaError as error:
        print(error, file=sys.stderr)
        return 1
    with open(sys.stdout.fileno() if given.output == "-" else given.output, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("model", "genes", "medium"))
        writer.writerows(table)
    if len(table) < given.rows:
        print(f"{given.model} has only {len(table)} different rows.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
