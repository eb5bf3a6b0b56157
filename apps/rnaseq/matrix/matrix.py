"""Puts the levels of all samples into tables, genes and transcripts by samples.

    python3 matrix.py --results results.jsonl --genes genes.tsv --read-bp 100

Leaves ``genes_tpm.tsv``, ``genes_counts.tsv``, ``transcripts_tpm.tsv``, ``transcripts_counts.tsv`` and ``samples.tsv``,
which says of each sample its condition, and of those that are missing in the tables why.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path

from results import Kept, read_results

LEVELS = "levels"
"""The output of the quantify step that has them."""

Row = tuple[str, ...]


class NotAlike(Exception):
    """A sample's table has other transcripts than those before."""


def read_levels(lines: Iterable[str], read_bp: int) -> Iterator[tuple[str, float, int]]:
    """(transcript, FPKM, reads) of each line of the table that StringTie calls ``t_data.ctab``.

    Reads are coverage × length / length of a read, rounded up, as StringTie's own ``prepDE.py`` counts them.
    """
    for line in csv.DictReader(lines, delimiter="\t"):
        yield line["t_name"], float(line["FPKM"]), ceil(float(line["cov"]) * int(line["length"]) / read_bp)


def tpm_of(fpkm: Sequence[float]) -> list[float]:
    """Transcripts per million: each one's part of the sum. All are 0 where nothing was found."""
    total = sum(fpkm)
    return [1e6 * value / total if total > 0 else 0.0 for value in fpkm]


def by_gene(genes: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    """The sum over the transcripts of each gene, which ``genes`` names for each value."""
    sums: dict[str, float] = {}
    for gene, value in zip(genes, values, strict=True):
        sums[gene] = sums.get(gene, 0.0) + value
    return sums


class Matrix:
    """Columns of equal length, a sample each; 8 bytes a value."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._columns: list[array[float]] = []

    def add(self, name: str, values: Iterable[float]) -> None:
        """A sample's values, in the order of the rows."""
        self.names.append(name)
        self._columns.append(array("d", values))

    def write(self, path: Path, header: Row, rows: Sequence[Row], digits: int) -> None:
        """As TSV: ``header`` and ``rows`` name what is beside the values."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow((*header, *self.names))
            for number, row in enumerate(rows):
                writer.writerow((*row, *(f"{column[number]:.{digits}f}" for column in self._columns)))


def read_genes(path: Path) -> dict[str, str]:
    """Gene by transcript."""
    with path.open(newline="") as file:
        return {line["transcript"]: line["gene"] for line in csv.DictReader(file, delimiter="\t")}


def write_matrices(samples: Sequence[Kept], gene_of: Mapping[str, str], read_bp: int, folder: Path) -> tuple[int, int]:
    """Writes the four tables; returns the numbers of genes and of transcripts. Raises NotAlike."""
    matrices = {name: Matrix() for name in ("transcripts_tpm", "transcripts_counts", "genes_tpm", "genes_counts")}
    transcripts: list[str] = []
    genes: list[str] = []
    for sample in samples:
        with sample.files[LEVELS].open(newline="") as lines:
            found = list(read_levels(lines, read_bp))
        own = [name for name, _, _ in found]
        if not transcripts:
            transcripts, genes = own, [gene_of.get(name, name) for name in own]
        elif own != transcripts:
            raise NotAlike(
                f"The table of sample '{sample.name}' has other transcripts than that of '{samples[0].name}'."
            )
        levels = {"tpm": tpm_of([fpkm for _, fpkm, _ in found]), "counts": [float(reads) for _, _, reads in found]}
        for kind, values in levels.items():
            matrices[f"transcripts_{kind}"].add(sample.name, values)
            matrices[f"genes_{kind}"].add(sample.name, by_gene(genes, values).values())
    names = list(dict.fromkeys(genes))
    for kind, digits in (("tpm", 3), ("counts", 0)):
        of_transcripts = list(zip(transcripts, genes, strict=True))
        path = folder / f"transcripts_{kind}.tsv"
        matrices[path.stem].write(path, ("transcript", "gene"), of_transcripts, digits)
        path = folder / f"genes_{kind}.tsv"
        matrices[path.stem].write(path, ("gene",), [(name,) for name in names], digits)
    return len(names), len(transcripts)


def write_samples(path: Path, samples: Iterable[Kept]) -> None:
    """Writes a line for each sample, those that are missing in the tables last."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("sample", "condition", "state", "reason"))
        writer.writerows((sample.name, sample.condition, sample.state, sample.reason) for sample in samples)


def main() -> int:
    """Writes the tables, and prints numbers as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--genes", type=Path, required=True)
    parser.add_argument("--read-bp", type=int, required=True)
    given = parser.parse_args()
    kept, missing = read_results(given.results)
    if not kept:
        print("No sample has levels, so there is no matrix.", file=sys.stderr)
        return 1
    try:
        genes, transcripts = write_matrices(kept, read_genes(given.genes), given.read_bp, Path())
    except NotAlike as error:
        print(f"{error} They have to be quantified over the same transcripts.", file=sys.stderr)
        return 1
    write_samples(Path("samples.tsv"), [*kept, *missing])
    names = [sample.name for sample in missing]
    print(json.dumps({"samples": len(kept), "missing": names[:100], "genes": genes, "transcripts": transcripts}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
