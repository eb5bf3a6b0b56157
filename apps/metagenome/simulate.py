"""Makes the reads of a community of known genomes at different abundances.

    python3 simulate.py --folder community --part-bp 40000 --coverages 60,30,15

Writes ``reads_1.fq``, ``reads_2.fq``, ``genomes.fasta`` and ``abundances.csv``. The community has as many members as
there are coverages: the first real genomes there are, species by turns, whole or (``--part-bp``) their first bases. The
same arguments give the same files.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from genomes import GENOMES, Genome, find_genomes, simulate_reads, write_fasta


def make_community(folder: Path, genomes: Sequence[Genome], coverages: Sequence[float], seed: int) -> int:
    """Writes the community's files for genomes at these coverages, and returns the number of pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for genome, coverage in zip(genomes, coverages, strict=True):
        path = folder / f"{genome.name}.fasta"
        write_fasta(path, [genome])
        sources.append((path, coverage))
    write_fasta(folder / "genomes.fasta", genomes)
    total = sum(coverages)
    with (folder / "abundances.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("genome", "length_bp", "coverage", "abundance"))
        for genome, coverage in zip(genomes, coverages, strict=True):
            writer.writerow((genome.name, len(genome.sequence), f"{coverage:g}", f"{coverage / total:.4f}"))
    return simulate_reads(sources, folder / "reads_1.fq", folder / "reads_2.fq", seed)


def main() -> int:
    """Makes the community."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument(
        "--coverages", default="80,40,20,10", help="of member after member: how often reads cover each base"
    )
    parser.add_argument("--part-bp", type=int, help="take the first bases of each genome, not all of it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--genomes", type=Path, default=GENOMES, help="folder with FASTA files")
    given = parser.parse_args()
    try:
        coverages = [float(coverage) for coverage in given.coverages.split(",")]
        found = find_genomes(given.genomes)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    if len(coverages) > len(found) or min(coverages) <= 0:
        parser.error(f"give up to {len(found)} coverages, all above 0: there are that many genomes")
    members = [
        genome.part(0, min(given.part_bp or len(genome.sequence), len(genome.sequence)))
        for genome in found[: len(coverages)]
    ]
    print(make_community(given.folder, members, coverages, given.seed), "pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
