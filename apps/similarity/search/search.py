"""Searches a database of proteins with contigs, in all six frames, by DIAMOND or by BLAST+.

    python3 search.py --queries chunks/1.fasta --database database --tool diamond

Leaves ``hits.tsv``, a line for each hit with the twelve columns of BLAST's tables, and prints a report as JSON. Contigs
are in the order of the input, and the hits of one contig in an order that is the same for whichever run found them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

HITS = Path("hits.tsv")
RAW = Path("raw.tsv")
TELLING_S = 10.0
"""How long a search takes (CPU seconds) of which the speed is told: much of a shorter one is the start of the tool."""
PACKAGES = {"diamond": "diamond-aligner", "blastx": "ncbi-blast+"}
"""Of Debian, that bring the tools."""


def command_of(
    tool: str, queries: Path, database: Path, letters: int, evalue: float, max_targets: int, sensitivity: str,
    threads: int,
) -> list[str]:  # fmt: skip
    """The search. Both tools are told how large the database is, of which E-values are made: it is that of one run,
    whatever is done with the queries. DIAMOND is told how to look for seeds too: the two ways that it has do not find
    the same.
    """
    place = str(database / "proteins")
    if tool == "diamond":
        how = [] if sensitivity == "default" else [f"--{sensitivity}"]
        return [
            "diamond", "blastx", "--quiet", "--threads", str(threads), "--query", str(queries), "--db", place,
            "--out", str(RAW), "--outfmt", "6", "--evalue", f"{evalue:g}", "--max-target-seqs", str(max_targets),
            "--dbsize", str(letters), "--algo", "0", *how,
        ]  # fmt: skip
    return [
        "blastx", "-num_threads", str(threads), "-query", str(queries), "-db", place, "-out", str(RAW), "-outfmt", "6",
        "-evalue", f"{evalue:g}", "-max_target_seqs", str(max_targets), "-dbsize", str(letters),
    ]  # fmt: skip


def query_lengths(fasta: Iterable[str]) -> dict[str, int]:
    """Bases of each record by its name, in order."""
    lengths: dict[str, int] = {}
    name = ""
    for line in fasta:
        if line.startswith(">"):
            name = line[1:].split()[0]
            lengths[name] = 0
        else:
            lengths[name] += len(line.strip())
    return lengths


def hit_key(line: str) -> tuple[Any, ...]:
    """By which the hits of one contig are ordered: the best first; of equal ones by the protein's name and by place."""
    fields = line.rstrip("\n").split("\t")
    places = tuple(int(field) for field in fields[6:10])
    return -float(fields[11]), float(fields[10]), fields[1], *places, line


def in_order(lines: Iterable[str], place_of: Mapping[str, int]) -> Iterator[str]:
    """The hits by contig, in the order of the input, and each contig's own by ``hit_key``.

    Those of one contig have to lie together, as both tools write them; only they are in memory. Raises ValueError for a
    contig that does not come after the one before.
    """
    last = -1
    for name, own in groupby(lines, key=lambda line: line.partition("\t")[0]):
        if place_of[name] <= last:
            raise ValueError(f"hits of '{name}' are not where they were expected")
        last = place_of[name]
        yield from sorted(own, key=hit_key)


def search(command: list[str], queries: Path) -> dict[str, Any]:
    """Runs the search; returns the report. Raises CalledProcessError."""
    with queries.open(encoding="utf-8", errors="replace") as fasta:
        lengths = query_lengths(fasta)
    subprocess.run(command, check=True, stdout=sys.stderr)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    place_of = {name: place for place, name in enumerate(lengths)}
    hits = 0
    with RAW.open() as lines, HITS.open("w") as file:
        for line in in_order(lines, place_of):
            file.write(line)
            hits += 1
    return {
        "contigs": len(lengths), "bases": sum(lengths.values()), "hits": hits,
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
    }  # fmt: skip


def speed_of(report: Mapping[str, Any], letters: int) -> float | None:
    """Bases × letters of the database per second of one core, from which later runs make the size of their chunks."""
    return float(f"{report['bases'] * letters / report['cpu_s']:.3g}") if report["cpu_s"] >= TELLING_S else None


def main() -> int:
    """Searches, and prints the report as one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--tool", choices=("diamond", "blast"), required=True)
    parser.add_argument("--evalue", type=float, default=0.001)
    parser.add_argument("--max-targets", type=int, default=25)
    parser.add_argument("--sensitivity", default="default")
    parser.add_argument("--threads", type=float, default=1)
    given = parser.parse_args()
    about = json.loads((given.database / "about.json").read_text())
    if about["tool"] != given.tool:
        print(f"{given.database} is a database for {about['tool']}, not for {given.tool}.", file=sys.stderr)
        return 2
    command = command_of(
        given.tool, given.queries, given.database, about["letters"], given.evalue, given.max_targets,
        given.sensitivity, max(1, int(given.threads)),
    )  # fmt: skip
    try:
        report = search(command, given.queries)
    except FileNotFoundError as error:
        package = PACKAGES.get(str(error.filename))
        help_with = f" It has to be installed (Debian: {package})." if package else ""
        print(f"{error.filename} is not here.{help_with}", file=sys.stderr)
        return 127
    except subprocess.CalledProcessError as error:
        print(f"{error.cmd[0]} ended with {error.returncode}.", file=sys.stderr)
        return 128 - error.returncode if error.returncode < 0 else error.returncode
    print(json.dumps({"letters": about["letters"], **report, "speed": speed_of(report, about["letters"])}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
