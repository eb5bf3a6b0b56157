"""Builds HISAT2's index of a genome, and lists the introns of its annotation as HISAT2 wants them.

    python3 index.py --genome genome.fasta --annotation annotation.gtf

Leaves the folder ``index``: ``genome.*.ht2`` and ``introns.txt``. HISAT2: Kim et al. 2019,
doi:10.1038/s41587-019-0201-4.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

FOLDER = Path("index")

Intron = tuple[str, int, int, str]


def introns(lines: Iterable[str]) -> list[Intron]:
    """(sequence, last base of the exon before, first base of the exon after, strand) of each intron of a GTF, once, in
    order. Bases count from 0 here, from 1 in a GTF.

    Raises ValueError for a line that is none of a GTF.
    """
    exons: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for number, line in enumerate(lines, 1):
        fields = line.rstrip("\n").split("\t")
        if line.startswith("#") or not line.strip():
            continue
        if len(fields) != 9 or not (fields[3].isdigit() and fields[4].isdigit()):
            raise ValueError(f"line {number} is none of a GTF, which has nine fields, the 4th and 5th whole numbers")
        if fields[2] == "exon":
            exons.setdefault((fields[0], fields[6], transcript_of(fields[8])), []).append(
                (int(fields[3]), int(fields[4]))
            )
    found: set[Intron] = set()
    for (sequence, strand, _), own in exons.items():
        own.sort()
        for (_, end), (start, _) in pairwise(own):
            if start > end + 1:
                found.add((sequence, end - 1, start - 1, strand))
    return sorted(found)


def transcript_of(attributes: str) -> str:
    """The transcript's name, as the last field of a line has it; empty when it says none."""
    for attribute in attributes.split(";"):
        name, _, value = attribute.strip().partition(" ")
        if name == "transcript_id":
            return value.strip().strip('"')
    return ""


def main() -> int:
    """Builds the index; prints what is in it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--genome", type=Path, required=True)
    parser.add_argument("--annotation", type=Path, required=True)
    parser.add_argument("--threads", type=float, default=1)
    given = parser.parse_args()
    try:
        with given.annotation.open(encoding="utf-8", errors="replace") as lines:
            known = introns(lines)
    except ValueError as error:
        parser.error(f"{given.annotation}: {error}")
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "introns.txt").open("w") as file:
        file.writelines("\t".join(map(str, intron)) + "\n" for intron in known)
    command = ["hisat2-build", "-q", "-p", str(max(1, int(given.threads))), str(given.genome), str(FOLDER / "genome")]
    try:
        subprocess.run(command, check=True, stdout=sys.stderr)
    except FileNotFoundError:
        print("hisat2-build is not here. HISAT2 has to be installed (Debian: hisat2).", file=sys.stderr)
        return 127
    except subprocess.CalledProcessError as error:
        print(f"hisat2-build ended with {error.returncode}.", file=sys.stderr)
        return 1
    print(json.dumps({"introns": len(known), "files": sum(1 for _ in FOLDER.glob("genome.*.ht2*"))}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
