"""Puts the hits of all chunks into one table, in the order of the input.

    python3 merge.py --results results.jsonl

Leaves ``hits.tsv`` and prints a report as JSON: how much there was, and how fast it went, from which the next run makes
the size of its chunks.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

HITS = Path("hits.tsv")


def merge(results: Path) -> dict[str, Any]:
    """Writes the table; returns the report. ``speed`` is bases × letters of the database per second of one core.

    Raises ValueError when a chunk is missing: a table that lacks some would look as if nothing had been found there.
    """
    sums = dict.fromkeys(("contigs", "bases", "hits", "cpu_s"), 0.0)
    chunks = letters = 0
    with results.open(encoding="utf-8") as lines, HITS.open("wb") as table:
        for line in lines:
            task = json.loads(line)
            if task["state"] != "COMPLETE":
                raise ValueError(f"chunk {task['index']} is missing: {task.get('reason') or task['state']}")
            chunks += 1
            letters = task["result"]["letters"]
            for name in sums:
                sums[name] += task["result"][name]
            with Path(task["outputs"]["hits"]).open("rb") as hits:
                shutil.copyfileobj(hits, table, 1 << 20)
    speed = float(f"{sums['bases'] * letters / max(0.01, sums['cpu_s']):.2g}")
    numbers = {name: int(value) for name, value in sums.items() if name != "cpu_s"}
    return {"chunks": chunks, **numbers, "letters": letters, "cpu_s": round(sums["cpu_s"], 2), "speed": speed}


def main() -> int:
    """Merges, and prints the report as one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--results", type=Path, required=True)
    given = parser.parse_args()
    try:
        print(json.dumps(merge(given.results)))
    except ValueError as error:
        print(f"There is no table: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
