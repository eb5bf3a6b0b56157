"""``python -m bench [--only NAME]``: runs benchmarks and ends with their figures, one a line."""

from __future__ import annotations

import argparse
import importlib
import time

#: In the order in which they run; the last figures printed are those that the project is held to.
BENCHMARKS = ("pages", "latency", "overhead", "agent", "growth", "fba")


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--only", choices=BENCHMARKS)
    only = parser.parse_args().only
    figures: dict[str, float] = {}
    for name in (only,) if only else BENCHMARKS:
        began = time.monotonic()
        print(f"{name} …", flush=True)
        figures |= importlib.import_module(f"bench.{name}").measure()
        print(f"{name} took {time.monotonic() - began:.0f} s", flush=True)
    for name, value in figures.items():
        print(f"{name}={value}")


if __name__ == "__main__":
    main()
