"""``make bench-estimation TRACES=DIR``: a table with all peers for each protocol, and the figures that we are held
to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.estimation import report, speed, swf, traces, walltimes

SEEDS = (1996, 1, 2, 3)
REPLAYS = 20


def main(argv: Sequence[str] | None = None) -> int:
    """All of it, or with ``--only`` a part; 0 also where there are no traces."""
    parser = argparse.ArgumentParser(prog="python -m bench.estimation", description=__doc__)
    parser.add_argument("--traces", type=Path, required=True, help="a folder with NAME.csv[.gz] and NAME.swf[.gz]")
    parser.add_argument("--only", choices=["a", "b", "swf", "speed"], help="one part")
    parser.add_argument("--trace", action="append", help="only this trace; may be given several times")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="seeds of protocol A")
    parser.add_argument("--replays", type=int, default=REPLAYS, help="replays of each log")
    parser.add_argument("--types", action="store_true", help="show each type of task as well")
    given = parser.parse_args(argv)
    if not given.traces.is_dir():
        print(f"There is no folder {given.traces}: nothing is measured.")
        return 0
    names = [name for name in traces.names(given.traces) if not given.trace or name in given.trace]
    logs = [path for path in swf.logs(given.traces) if not given.trace or path.name.split(".")[0] in given.trace]
    figures: dict[str, float] = {}
    seconds: dict[str, list[float]] = {}
    if names and given.only in (None, "a"):
        figures |= report.report_a(
            given.traces, names, [int(seed) for seed in given.seeds.split(",")], seconds, given.types
        )
    if names and given.only in (None, "b"):
        figures |= report.report_b(given.traces, names, seconds, given.types)
    if logs and given.only in (None, "swf"):
        figures |= walltimes.report(logs, given.replays)
    if given.only in (None, "speed"):
        figures["decision_ms"] = max([speed.at_size(), *(1000 * sum(took) / len(took) for took in seconds.values())])
    if not names and not logs:
        print(f"{given.traces} has no traces (*.csv, *.csv.gz, *.swf, *.swf.gz): only speed was measured.")
    for name, figure in figures.items():
        print(f"{name}={figure:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
