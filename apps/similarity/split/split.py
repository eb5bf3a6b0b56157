"""Splits contigs into chunks of about equally many bases, in their order.

    python3 split.py --queries contigs.fasta --database database --tool diamond --chunk-s 120

Leaves ``chunks/1.fasta`` and so on, which together are the input, and prints their numbers as JSON. A chunk has as many
bases as one core searches with in ``--chunk-s``, but a contig is never cut.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import IO

FOLDER = Path("chunks")
MOST_CHUNKS = 100_000
"""A list that tasks come from has a megabyte at most."""
SPEEDS = {
    ("blast", "default"): 5.5e10,
    ("diamond", "fast"): 9e12,
    ("diamond", "default"): 6e12,
    ("diamond", "sensitive"): 1.2e12,
    ("diamond", "ultra-sensitive"): 3.5e11,
}
"""Bases × letters of the database per second of one core, where no earlier run says it: measured with contigs of
bacteria against 9 million letters of UniProt.
"""


class NoFasta(Exception):
    """What was given cannot be split."""


def records(lines: Iterable[bytes]) -> Iterator[tuple[str, int, int]]:
    """(name, bases, bytes) of each record of a FASTA file. Raises NoFasta."""
    names: set[str] = set()
    name, bases, size = "", 0, 0
    for number, line in enumerate(lines, 1):
        if line.startswith(b">"):
            if names:
                yield name, bases, size
            words = line[1:].split()
            if not words or line[1:2].isspace():
                raise NoFasta(f"line {number} has no name after '>'")
            name, bases, size = words[0].decode("utf-8", "replace"), 0, 0
            if name in names:
                raise NoFasta(
                    f"line {number} has the name '{name}', which is there before: hits could not be told apart"
                )
            names.add(name)
        elif not names and line.strip():
            raise NoFasta("it does not begin with '>', as FASTA does")
        bases += 0 if line.startswith(b">") else len(line.strip())
        size += len(line)
    if not names:
        raise NoFasta("there is no contig in it")
    yield name, bases, size


def ends(bases: Sequence[int], number: int) -> list[int]:
    """After which record each chunk ends, of ``number`` chunks at most, none of which is empty.

    A record goes to the chunk in which its middle lies, were all records one line that is cut into equal parts.
    """
    total, before, last = sum(bases), 0, 0
    found: list[int] = []
    for place, own in enumerate(bases):
        chunk = min(number - 1, (2 * before + own) * number // (2 * total)) if total else 0
        if place and chunk != last:
            found.append(place)
        before, last = before + own, chunk
    return [*found, len(bases)]


def wanted_chunks(bases: int, letters: int, speed: float, chunk_s: float) -> int:
    """How many chunks take about ``chunk_s`` seconds each."""
    return max(1, min(MOST_CHUNKS, ceil(bases * letters / (speed * chunk_s))))


def open_lines(path: Path) -> IO[bytes] | gzip.GzipFile:
    """A file's lines, compressed or not."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def split(queries: Path, letters: int, speed: float, chunk_s: float) -> int:
    """Writes the chunks; returns how many there are. Reads the file twice, and keeps a number for each record."""
    with open_lines(queries) as lines:
        sizes = [(bases, size) for _, bases, size in records(lines)]
    bases = [own for own, _ in sizes]
    FOLDER.mkdir(exist_ok=True)
    start, cuts = 0, ends(bases, wanted_chunks(sum(bases), letters, speed, chunk_s))
    with open_lines(queries) as file:
        while (first := file.readline()).strip() == b"":  # blank lines before the first record belong to none
            pass
        for number, end in enumerate(cuts, 1):
            with (FOLDER / f"{number}.fasta").open("wb") as chunk:
                left = sum(size for _, size in sizes[start:end]) - len(first)
                chunk.write(first)
                while left:
                    left -= chunk.write(file.read(min(left, 1 << 20)))
            start, first = end, b""
    return len(cuts)


def main() -> int:
    """Splits, and prints the list of chunks as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--tool", choices=("diamond", "blast"), required=True)
    parser.add_argument("--sensitivity", default="default")
    parser.add_argument("--chunk-s", type=float, required=True)
    parser.add_argument("--speed", type=float)
    given = parser.parse_args()
    letters = int(json.loads((given.database / "about.json").read_text())["letters"])
    sensitivity = given.sensitivity if given.tool == "diamond" else "default"
    speed = given.speed if given.speed else SPEEDS[given.tool, sensitivity]
    try:
        number = split(given.queries, letters, speed, given.chunk_s)
    except (NoFasta, gzip.BadGzipFile, EOFError) as error:
        print(f"{given.queries} cannot be split: {error}.", file=sys.stderr)
        return 2
    print(json.dumps(list(range(1, number + 1))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
