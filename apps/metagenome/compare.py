"""Compares contigs with the genomes they came from.

The same file lies in each app that needs it: an app's folder is copied alone.

    python3 compare.py contigs.fasta genomes.fasta > report.json

Contigs are aligned by minimap2 (Li 2018, doi:10.1093/bioinformatics/bty191). Genome fraction and misassemblies are
meant as QUAST defines them (Gurevich et al. 2013, doi:10.1093/bioinformatics/btt086), with one difference: each piece
of a contig counts at one place only, so the further copies of a repeat that was assembled once are missing from the
fraction.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from genomes import read_fasta

MIN_ALIGNED_BP = 200
"""Shorter alignments are left out: they may be chance."""
MIN_IDENTITY = 0.95
SHIFT_BP = 1000
"""Pieces of a contig that are further apart in the genome than in the contig by more than this make it misassembled."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """A piece of a contig on a genome; positions in bp, from 0, ends excluded."""

    contig: str
    contig_start: int
    contig_end: int
    forward: bool
    genome: str
    start: int
    end: int
    matches: int
    block: int
    differences: int

    @property
    def identity(self) -> float:
        """Matching bases as part of the alignment's columns."""
        return self.matches / self.block if self.block else 0.0


def parse_paf(text: str) -> list[Alignment]:
    """The alignments in minimap2's PAF that are long and alike enough to count."""
    found = []
    for line in text.splitlines():
        field = line.split("\t")
        differences = next(
            (int(tag[5:]) for tag in field[12:] if tag.startswith("NM:i:")), int(field[10]) - int(field[9])
        )
        alignment = Alignment(
            field[0], int(field[2]), int(field[3]), field[4] == "+", field[5], int(field[7]), int(field[8]),
            int(field[9]), int(field[10]), differences,
        )  # fmt: skip
        if alignment.block >= MIN_ALIGNED_BP and alignment.identity >= MIN_IDENTITY:
            found.append(alignment)
    return found


def nx50(lengths: Iterable[int], size: int | None = None) -> int:
    """N50 in bp: contigs of this length or longer hold half of all bases, or half of ``size`` (NG50); 0 if they never
    do.
    """
    descending = sorted(lengths, reverse=True)
    half = (sum(descending) if size is None else size) / 2
    held = 0
    for length in descending:
        held += length
        if held >= half:
            return length
    return 0


def covered(intervals: Iterable[tuple[int, int]]) -> int:
    """How many positions (start, end excluded) the intervals hold, each counted once."""
    total, reached = 0, 0
    for start, end in sorted(intervals):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total


def misassembled(alignments: Sequence[Alignment]) -> bool:
    """Whether the pieces of one contig, in its own order, do not follow each other in one genome (relocation,
    inversion, other genome).
    """
    for left, right in pairwise(sorted(alignments, key=lambda piece: (piece.contig_start, piece.contig_end))):
        if right.contig_end <= left.contig_end:  # a piece within another one is a repeat, not a join
            continue
        if left.genome != right.genome or left.forward != right.forward:
            return True
        in_contig = right.contig_start - left.contig_end
        in_genome = right.start - left.end if left.forward else left.start - right.end
        if abs(in_genome - in_contig) > SHIFT_BP:
            return True
    return False


def summarise(contigs: dict[str, int], genomes: dict[str, int], alignments: Sequence[Alignment]) -> dict[str, Any]:
    """The report: lengths in bp by name, and alignments, to what a reader of assemblies asks for.

    Fractions are 0 to 1.
    """
    by_contig: dict[str, list[Alignment]] = {}
    by_genome: dict[str, list[tuple[int, int]]] = {name: [] for name in genomes}
    for alignment in alignments:
        by_contig.setdefault(alignment.contig, []).append(alignment)
        by_genome[alignment.genome].append((alignment.start, alignment.end))
    bases = {name: covered(intervals) for name, intervals in by_genome.items()}
    aligned = sum(alignment.matches for alignment in alignments)
    return {
        **contig_statistics(contigs.values()),
        "genome_fraction": round(sum(bases.values()) / max(1, sum(genomes.values())), 5),
        "misassembled": sum(misassembled(pieces) for pieces in by_contig.values()),
        "unaligned": sum(name not in by_contig for name in contigs),
        "differences_per_100kbp": round(
            1e5 * sum(alignment.differences for alignment in alignments) / max(1, aligned), 2
        ),
        "genomes": {
            name: {"length_bp": genomes[name], "fraction": round(bases[name] / genomes[name], 5)} for name in genomes
        },
    }


def contig_statistics(lengths: Iterable[int]) -> dict[str, int]:
    """What is known without the genomes."""
    known = list(lengths)
    return {"contigs": len(known), "total_bp": sum(known), "n50_bp": nx50(known), "largest_bp": max(known, default=0)}


def minimap2_command(contigs: Path, genomes: Path, threads: int) -> list[str]:
    """Contigs onto genomes with base-level alignment, each piece at its best place only; a gap that is a misassembly
    ends a piece.

    Else a contig that leaves out a repeat would be one alignment with a long gap, of too little identity to count at
    all.
    """
    bandwidth = f"{SHIFT_BP},{SHIFT_BP}"
    return [
        "minimap2",
        "-c",
        "-x",
        "asm5",
        "-r",
        bandwidth,
        "--secondary=no",
        "-t",
        str(threads),
        str(genomes),
        str(contigs),
    ]


def compare(contigs: Path, genomes: Path, threads: int = 1) -> dict[str, Any]:
    """The report for two FASTA files. Raises CalledProcessError if minimap2 fails."""
    lengths = {contig.name: len(contig.sequence) for contig in read_fasta(contigs)}
    known = {genome.name: len(genome.sequence) for genome in read_fasta(genomes)}
    paf = ""
    if lengths:
        paf = subprocess.run(
            minimap2_command(contigs, genomes, threads), check=True, capture_output=True, text=True
        ).stdout
    return summarise(lengths, known, parse_paf(paf))


def main() -> int:
    """Prints the report as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("contigs", type=Path)
    parser.add_argument("genomes", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    json.dump(compare(given.contigs, given.genomes, given.threads), sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
