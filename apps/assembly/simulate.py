"""Makes samples of reads with known genomes, and the table to run the app over.

    python3 simulate.py --samples 100 --part-bp 100000 --folder samples
    packhorse run apps/assembly --over samples/table.csv

Sample after sample takes the next real genome, species by turns: the whole of it, or with ``--part-bp`` a piece that no
other sample has. When there is nothing new left, copies follow with random substitutions at ``--mutation``, and their
names say so (``_mut``). The same arguments give the same files.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from genomes import GENOMES, Genome, find_genomes, simulate_reads, write_fasta

MAX_UNKNOWN = 0.001
"""Pieces with more bases than this part of them unknown (N) are not taken: no reads come from there."""


def mutate(genome: Genome, rate: float, seed: int) -> Genome:
    """A copy in which each base is another one with probability ``rate``."""
    chance = random.Random(f"{genome.name} {seed}")  # noqa: S311
    bases = list(genome.sequence)
    for place, base in enumerate(bases):
        if chance.random() < rate:
            bases[place] = chance.choice([other for other in "ACGT" if other != base])
    return Genome(f"{genome.name}_mut{seed}", "".join(bases))


def plan_samples(genomes: Sequence[Genome], part_bp: int | None, mutation: float) -> Iterator[Genome]:
    """What sample after sample is made of, without end."""
    copy = 0
    while True:
        turn = 0
        while fresh := [piece for genome in genomes if (piece := _piece(genome, turn, part_bp)) is not None]:
            for piece in fresh:
                if piece.sequence.count("N") <= MAX_UNKNOWN * len(piece.sequence):
                    yield mutate(piece, mutation, copy) if copy else piece
            turn += 1
        copy += 1


def _piece(genome: Genome, turn: int, part_bp: int | None) -> Genome | None:
    if part_bp is None:
        return None if turn else genome
    start = turn * part_bp
    return genome.part(start, part_bp) if start + part_bp <= len(genome.sequence) else None


def make_samples(folder: Path, plan: Iterator[Genome], count: int, coverage: float, seed: int) -> Path:
    """Writes genome and reads of ``count`` samples, and the table, whose path is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "table.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("sample", "reads1", "reads2", "genome"))
        for number, genome in zip(range(count), plan, strict=False):
            paths = [folder.resolve() / f"{genome.name}{end}" for end in ("_1.fq", "_2.fq", ".fasta")]
            write_fasta(paths[2], [genome])
            simulate_reads([(paths[2], coverage)], paths[0], paths[1], seed + number)
            writer.writerow((genome.name, *paths))
    return table


def main() -> int:
    """Makes the samples."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--folder", type=Path, required=True, help="where genomes, reads and table.csv go")
    parser.add_argument("--part-bp", type=int, help="take pieces of this length (bp) in place of whole genomes")
    parser.add_argument("--coverage", type=float, default=40)
    parser.add_argument("--mutation", type=float, default=0.01, help="substitutions a base, in copies")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--genomes", type=Path, default=GENOMES, help="folder with FASTA files")
    given = parser.parse_args()
    try:
        found = find_genomes(given.genomes)
    except FileNotFoundError as error:
        parser.error(str(error))
    if given.part_bp is not None and all(len(genome.sequence) < given.part_bp for genome in found):
        parser.error(f"no genome is as long as {given.part_bp} bp")
    table = make_samples(
        given.folder, plan_samples(found, given.part_bp, given.mutation), given.samples, given.coverage, given.seed
    )
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
