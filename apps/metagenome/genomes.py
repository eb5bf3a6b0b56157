"""Genomes, and reads simulated from them.

The same file lies in each app that needs it: an app's folder is copied alone.

The genomes are real: complete bacterial chromosomes that Debian's package ``ragout-examples`` ships (see the README).
Reads are simulated by ART (Huang et al. 2012, doi:10.1093/bioinformatics/btr708), from Debian's
``art-nextgen-simulation-tools``.
"""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

GENOMES = Path("/usr/share/doc/ragout/examples")
"""Where Debian's package puts them."""
PATTERN = "*/references/*.fasta*"
READ_BP = 100
FRAGMENT_BP = 250
FRAGMENT_SD_BP = 25


@dataclass(frozen=True, slots=True)
class Genome:
    """One sequence, in capitals."""

    name: str
    sequence: str

    def part(self, start: int, length: int) -> Genome:
        """``length`` bases from ``start`` (counted from 0), named so that it can be found again."""
        return Genome(f"{self.name}_{start + 1}-{start + length}", self.sequence[start : start + length])


def open_text(path: Path) -> IO[str]:
    """A text file, compressed or not."""
    return cast(IO[str], gzip.open(path, "rt")) if path.suffix == ".gz" else path.open()


def read_fasta(path: Path) -> Iterator[Genome]:
    """The sequences of a FASTA file, each named by the first word of its header."""
    name, lines = "", list[str]()
    with open_text(path) as file:
        for line in file:
            if line.startswith(">"):
                if name:
                    yield Genome(name, "".join(lines).upper())
                name, lines = (line[1:].split() or ["unnamed"])[0], []
            else:
                lines.append(line.strip())
    if name:
        yield Genome(name, "".join(lines).upper())


def write_fasta(path: Path, genomes: Iterable[Genome]) -> None:
    """Writes sequences, 80 bases a line."""
    with path.open("w") as file:
        for genome in genomes:
            file.write(f">{genome.name}\n")
            for start in range(0, len(genome.sequence), 80):
                file.write(genome.sequence[start : start + 80] + "\n")


def find_genomes(folder: Path = GENOMES) -> list[Genome]:
    """The longest sequence (the main chromosome) of each FASTA file, named ``species_strain``, species by turns.

    A folder that is not the package's own may hold its FASTA files directly. Raises FileNotFoundError where there are
    none.
    """
    by_species: dict[str, list[Path]] = {}
    for path in sorted([*folder.glob(PATTERN), *folder.glob("*.fa*"), *folder.glob("*.fna*")]):
        by_species.setdefault(path.parts[-3] if path.parent.name == "references" else "", []).append(path)
    if not by_species:
        raise FileNotFoundError(f"There are no genomes in {folder}. Debian's package ragout-examples brings them.")
    turns = [
        path
        for turn in range(max(map(len, by_species.values())))
        for paths in by_species.values()
        for path in paths[turn : turn + 1]
    ]
    return [_chromosome(path) for path in turns]


def _chromosome(path: Path) -> Genome:
    strain = path.name.split(".fa")[0].split(".fna")[0]
    species = f"{path.parts[-3].replace('.', '_')}_" if path.parent.name == "references" else ""
    longest = max(read_fasta(path), key=lambda genome: len(genome.sequence))
    return Genome(species + strain, longest.sequence)


def art_command(genome: Path, prefix: str, coverage: float, seed: int) -> list[str]:
    """ART's command for pairs as a HiSeq 2500 reads them: its error profile, its qualities.

    The same seed gives the same reads.
    """
    return [
        "art_illumina",
        "-q",
        "-na",
        "-ss",
        "HS25",
        "-p",
        "-l",
        str(READ_BP),
        "-m",
        str(FRAGMENT_BP),
        "-s",
        str(FRAGMENT_SD_BP),
        "-f",
        f"{coverage:g}",
        "-rs",
        str(seed),
        "-i",
        str(genome),
        "-o",
        prefix,
    ]


def simulate_reads(genomes: Sequence[tuple[Path, float]], reads1: Path, reads2: Path, seed: int) -> int:
    """Simulates pairs from (FASTA file, coverage) into two FASTQ files, one genome after the other.

    Returns the number of pairs.
    """
    pairs = 0
    prefix = reads1.with_name(f".{reads1.name}.part")
    parts = (Path(f"{prefix}1.fq"), Path(f"{prefix}2.fq"))
    with reads1.open("wb") as first, reads2.open("wb") as second:
        for number, (genome, coverage) in enumerate(genomes):
            subprocess.run(art_command(genome, str(prefix), coverage, seed + number), check=True, capture_output=True)
            for part, output in zip(parts, (first, second), strict=True):
                content = part.read_bytes()
                output.write(content)
                part.unlink()
            pairs += content.count(b"\n") // 4
    return pairs
