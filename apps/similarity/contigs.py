"""Cuts contigs from real genomes, and puts real proteins beside them to search.

    python3 contigs.py --contigs 2000 --folder samples
    packhorse run apps/similarity --set queries=samples/contigs.fasta --set proteins=samples/proteins.fasta

Genomes are complete bacterial chromosomes of Debian's package ``ragout-examples``; where they are cut, and on which
strand, is drawn, with lengths as assemblies have them. Proteins are 20,000 of UniProt, of all kinds of life, from
``mmseqs2-examples``. The same arguments give the same files.
"""

from __future__ import annotations

import argparse
import gzip
import random
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

GENOMES = Path("/usr/share/doc/ragout/examples")
PROTEINS = Path("/usr/share/doc/mmseqs2/example-data/DB.fasta.gz")
MEDIAN_BP, SIGMA = 900, 0.7
"""Of the lengths: their median, and the standard deviation of their natural logarithm."""
SHORTEST_BP, LONGEST_BP = 300, 8000
_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")

Genome = tuple[str, str]


def read_longest(path: Path) -> Genome:
    """(strain, bases) of the longest sequence of a FASTA file, in capitals: the main chromosome."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        sequences = ("".join(part.split("\n")[1:]).upper() for part in file.read().split(">")[1:])
        return path.name.split(".fa")[0], max(sequences, key=len)


def cut(genomes: Sequence[Genome], number: int, seed: int) -> Iterator[tuple[str, str]]:
    """(name, bases) of contigs from the genomes by turns. A name says strain, place and strand."""
    chance = random.Random(seed)  # noqa: S311
    for turn in range(number):
        strain, bases = genomes[turn % len(genomes)]
        drawn = round(MEDIAN_BP * 2.718281828459045 ** chance.gauss(0, SIGMA))
        length = min(max(SHORTEST_BP, drawn), LONGEST_BP, len(bases))
        start = chance.randrange(len(bases) - length + 1)
        piece, strand = bases[start : start + length], chance.choice("fr")
        name = f"{strain}_{start + 1}-{start + length}{strand}_{turn + 1}"
        yield name, piece if strand == "f" else piece.translate(_COMPLEMENT)[::-1]


def write_samples(folder: Path, number: int, proteins: int | None, seed: int) -> tuple[int, int]:
    """Writes contigs.fasta and proteins.fasta; returns bases and proteins. Raises FileNotFoundError."""
    paths = sorted(GENOMES.glob("*/references/*.fasta*"))
    if not paths:
        raise FileNotFoundError(f"There are no genomes in {GENOMES}. Debian's package ragout-examples brings them.")
    if not PROTEINS.exists():
        raise FileNotFoundError(f"{PROTEINS} is not here. Debian's package mmseqs2-examples brings it.")
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    with (folder / "contigs.fasta").open("w") as file:
        for name, bases in cut([read_longest(path) for path in paths[:number]], number, seed):
            lines = "\n".join(bases[start : start + 80] for start in range(0, len(bases), 80))
            file.write(f">{name}\n{lines}\n")
            total += len(bases)
    with gzip.open(PROTEINS, "rt") as all_of_them, (folder / "proteins.fasta").open("w") as file:
        lines_each = 2  # as that file has them
        there = 0
        for line in islice(all_of_them, None if proteins is None else lines_each * proteins):
            there += line.startswith(">")
            file.write(line)
    return total, there


def main() -> int:
    """Makes both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--contigs", type=int, default=2000)
    parser.add_argument("--proteins", type=int, help="take this many of them only")
    parser.add_argument("--folder", type=Path, required=True, help="where contigs.fasta and proteins.fasta go")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    try:
        bases, proteins = write_samples(given.folder, given.contigs, given.proteins, given.seed)
    except FileNotFoundError as error:
        parser.error(str(error))
    print(f"{given.contigs} contigs of {bases} bases, {proteins} proteins, in {given.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
