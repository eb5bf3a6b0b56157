"""Aligns one sample with HISAT2, and sorts the alignments with samtools.

    python3 align.py --sample S --reads1 S_1.fq.gz --reads2 S_2.fq.gz --index index [--threads 2]

Leaves ``S.bam`` and prints a report as JSON. HISAT2: Kim et al. 2019, doi:10.1038/s41587-019-0201-4.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SUMMARY = Path("summary.txt")
SORT_MB = 256
"""Memory of each thread that sorts."""


class BadReads(Exception):
    """The reads are not what they should be."""


def count_reads(path: Path) -> int:
    """The reads in a FASTQ file, whose records have four lines. Raises BadReads for one that is damaged or is none.

    HISAT2 itself ends without an error, and with no reads, where a file cannot be decompressed.
    """
    lines, last = 0, b"\n"
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while block := file.read(1 << 20):
                if not lines and last == b"\n" and not block.startswith(b"@"):
                    raise BadReads(f"{path} is no FASTQ file: it does not begin with '@'.")
                lines, last = lines + block.count(b"\n"), block[-1:]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadReads(f"{path} is damaged: {error}.") from error
    lines += last != b"\n"
    if lines % 4 or not lines:
        raise BadReads(f"{path} is no whole FASTQ file: it has {lines} lines, where each read has four.")
    return lines // 4


def count_pairs(reads1: Path, reads2: Path) -> int:
    """The pairs in two files. Raises BadReads, also where one has more reads than the other."""
    first, second = count_reads(reads1), count_reads(reads2)
    if first != second:
        raise BadReads(f"{reads1} has {first} reads, {reads2} has {second}: they are no pairs.")
    return first


def hisat2_command(reads1: Path, reads2: Path, index: Path, threads: int) -> list[str]:
    """Alignments as assemblers of transcripts want them (``--dta``), of reads that aligned."""
    return [
        "hisat2", "-p", str(threads), "--dta", "--no-unal", "--new-summary", "--summary-file", str(SUMMARY),
        "--known-splicesite-infile", str(index / "introns.txt"), "-x", str(index / "genome"),
        "-1", str(reads1), "-2", str(reads2),
    ]  # fmt: skip


def sort_command(bam: Path, threads: int) -> list[str]:
    """By place. Without a line about the command itself, which has paths: the same reads give the same file."""
    return ["samtools", "sort", "--no-PG", "-@", str(threads - 1), "-m", f"{SORT_MB}M", "-o", str(bam), "-"]


def parse_summary(text: str) -> dict[str, Any]:
    """Pairs, pairs that aligned in one place as they should, and the part of all reads that aligned, 0 to 1.

    Raises ValueError where that is not in the text.
    """
    found = {
        name: re.search(pattern, text)
        for name, pattern in {
            "pairs": r"Total pairs: (\d+)",
            "unique_pairs": r"Aligned concordantly 1 time: (\d+)",
            "aligned": r"Overall alignment rate: ([\d.]+)%",
        }.items()
    }
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise ValueError(f"HISAT2's summary does not say: {', '.join(missing)}")
    values = {name: match[1] for name, match in found.items() if match is not None}
    return {
        "pairs": int(values["pairs"]),
        "unique_pairs": int(values["unique_pairs"]),
        "aligned": round(float(values["aligned"]) / 100, 4),
    }


def pipe(first: Sequence[str], second: Sequence[str]) -> None:
    """Runs two commands, the second of which reads what the first writes. Raises CalledProcessError for the first of
    them that failed, FileNotFoundError when one is not there.
    """
    with subprocess.Popen(second, stdin=subprocess.PIPE) as reader:
        try:
            writer = subprocess.run(first, stdout=reader.stdin)
        finally:
            if reader.stdin is not None:
                reader.stdin.close()
    for command, code in ((first, writer.returncode), (second, reader.returncode)):
        if code:
            raise subprocess.CalledProcessError(code, list(command))


def main() -> int:
    """Aligns, and prints the report as one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sample", required=True)
    parser.add_argument("--reads1", type=Path, required=True)
    parser.add_argument("--reads2", type=Path, required=True)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--threads", type=float, default=1)
    given = parser.parse_args()
    if not given.sample or any(letter.isspace() or letter in "/," for letter in given.sample):
        parser.error(f"the sample's name '{given.sample}' is empty, or has a space, '/' or ',' in it")
    threads = max(1, int(given.threads))
    bam = Path(f"{given.sample}.bam")
    try:
        pairs = count_pairs(given.reads1, given.reads2)
        pipe(hisat2_command(given.reads1, given.reads2, given.index, threads), sort_command(bam, threads))
        report = parse_summary(SUMMARY.read_text())
        if report["pairs"] != pairs:
            raise ValueError(f"HISAT2 read {report['pairs']} pairs of {pairs}")
    except BadReads as error:
        print(error, file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"{error}; what it said is above. Is gzip there, which it starts for .gz?", file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        print(f"{error.filename} is not here. HISAT2 and samtools have to be installed (Debian: hisat2, samtools).",
              file=sys.stderr)  # fmt: skip
        return 127
    except subprocess.CalledProcessError as error:
        print(f"{error.cmd[0]} ended with {error.returncode}.", file=sys.stderr)
        return 128 - error.returncode if error.returncode < 0 else error.returncode
    print(json.dumps({"sample": given.sample, **report}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
