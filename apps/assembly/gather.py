"""Gathers a run into one table, a sample a line, and prints what all of them together come to.

    python3 gather.py --results results.jsonl --table summary.csv

The table is written as the results are read; of each sample two numbers are kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

COLUMNS = (
    "sample",
    "state",
    "contigs",
    "n50_bp",
    "total_bp",
    "largest_bp",
    "genome_fraction",
    "misassembled",
    "differences_per_100kbp",
    "reason",
)


def gather(results: Path, table: Path) -> dict[str, Any]:
    """Writes the table; returns states with their counts, and medians over the samples that were assembled."""
    states: Counter[str] = Counter()
    n50s: list[int] = []
    fractions: list[float] = []
    with results.open(encoding="utf-8") as lines, table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for line in lines:
            task = json.loads(line)
            report = task.get("result") or {}
            sample = (task.get("params") or {}).get("sample")
            writer.writerow({"sample": sample, **report, "state": task["state"], "reason": task.get("reason")})
            states[task["state"]] += 1
            if report:
                n50s.append(report["n50_bp"])
            if report.get("genome_fraction") is not None:
                fractions.append(report["genome_fraction"])
    return {
        "samples": dict(states),
        "median_n50_bp": median(n50s) if n50s else None,
        "median_genome_fraction": median(fractions) if fractions else None,
        "least_genome_fraction": min(fractions, default=None),
    }


def main() -> int:
    """Writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    given = parser.parse_args()
    print(json.dumps(gather(given.results, given.table)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
