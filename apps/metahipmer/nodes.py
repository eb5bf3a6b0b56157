"""How many nodes MetaHipMer needs for some reads, and what happens after an attempt that did not finish.

    python3 nodes.py reads_1.fq reads_2.fq

Prints nodes and ranks for the manifest's ``resources``. The decisions are pure functions.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

MEMORY_PER_READS = 40
"""GB of memory in use per GB of reads, by KBase's rule of thumb."""
NODE_MEMORY_GB = 30
"""GB of memory a node that the rule counts on."""
RANKS_PER_NODE = 32
UNPACKED = 4
"""We assume that a gzipped FASTQ file unpacks to so many times its size."""

ROUND = re.compile(r"Completed (contig|scaffolding) round k = (\d+)")
"""What mhm2 logs at the end of each round, after it wrote the round's checkpoint (mhm2's contigging.cpp and
scaffolding.cpp).
"""
MEMORY_SIGNS = (
    "SIGBUS",
    "bad_alloc",
    "SIGKILL",
    "Cannot allocate memory",
    "mmap failed",
    "oom-kill",
    "UPC++ could not allocate",
)
"""What mhm2.py itself takes for signs of memory exhaustion."""


def nodes_for(reads_gb: float, node_memory_gb: float = NODE_MEMORY_GB) -> int:
    """Nodes for ``reads_gb`` GB (1e9 bytes) of unpacked reads: round(reads × 40 / 30 + 1), made even.

    The rule, and that HipMer seemed to fail with odd numbers of nodes, are from KBase's own module
    (github.com/kbaseapps/kbase_hipmer, lib/hipmer/hipmerUtils.py, ``generate_submit``). 1 TB of reads is 1,334 nodes.
    Raises ValueError for sizes that are not above 0.
    """
    if not (0 < reads_gb < math.inf and 0 < node_memory_gb < math.inf):
        raise ValueError("Sizes of reads and memory have to be above 0 GB.")
    nodes = round(reads_gb * MEMORY_PER_READS / node_memory_gb + 1)
    return nodes + nodes % 2


def reads_gb(sizes: Iterable[tuple[str, int]]) -> float:
    """GB of reads in files of (name, bytes), unpacked."""
    return sum(size * (UNPACKED if name.endswith(".gz") else 1) for name, size in sizes) / 1e9


class Ending(StrEnum):
    """How an attempt ended, where it did not finish."""

    OUT_OF_TIME = "out_of_time"
    PREEMPTED = "preempted"
    NODE_LOST = "node_lost"
    OUT_OF_MEMORY = "out_of_memory"
    APP = "app"


@dataclass(frozen=True, slots=True)
class Next:
    """The next attempt, or that there is none."""

    again: bool
    restart: bool
    nodes: int
    why: str


def rounds(log: str) -> frozenset[tuple[str, int]]:
    """The rounds that a log calls completed: (contig or scaffolding, k)."""
    return frozenset((match[1], int(match[2])) for match in ROUND.finditer(log))


def ending_of(ending: Ending, log: str) -> Ending:
    """A failure of the app is memory exhaustion where the log has signs of it; other endings are known from
    elsewhere.
    """
    return Ending.OUT_OF_MEMORY if ending is Ending.APP and any(sign in log for sign in MEMORY_SIGNS) else ending


def next_attempt(ending: Ending, before: frozenset[tuple[str, int]], log: str, nodes: int, most_nodes: int) -> Next:
    """What follows an attempt on ``nodes`` nodes, given the rounds completed before it and its own log.

    Timeout, preemption and lost nodes: again with ``--restart`` as long as a new round was completed. Memory
    exhaustion: with twice the nodes, and ``--restart`` if there is any checkpoint (mhm2 allows another number of nodes
    then). Without a checkpoint ``--restart`` has nothing to start from and is left out.
    """
    new = rounds(log) - before
    checkpoint = bool(before or new)
    match ending_of(ending, log):
        case Ending.APP:
            return Next(False, False, nodes, "MetaHipMer failed, and its log has no sign of memory exhaustion.")
        case Ending.OUT_OF_MEMORY:
            if 2 * nodes > most_nodes:
                return Next(
                    False,
                    False,
                    nodes,
                    f"It ran out of memory on {nodes} nodes, and {2 * nodes} are more than {most_nodes}.",
                )
            return Next(True, checkpoint, 2 * nodes, f"It ran out of memory on {nodes} nodes.")
        case cause if new:
            return Next(True, True, nodes, f"It ended ({cause}) after {len(new)} new rounds.")
        case cause:
            return Next(
                False,
                False,
                nodes,
                f"It ended ({cause}) without a new round: the next attempt would end there as well.",
            )


def main() -> int:
    """Prints the estimate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("reads", type=Path, nargs="+", help="FASTQ, plain or gzipped")
    parser.add_argument("--node-memory-gb", type=float, default=NODE_MEMORY_GB, help="GB a node offers to the assembly")
    parser.add_argument("--ranks-per-node", type=int, default=RANKS_PER_NODE)
    given = parser.parse_args()
    try:
        size = reads_gb((path.name, path.stat().st_size) for path in given.reads)
        nodes = nodes_for(size, given.node_memory_gb)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    ranks = nodes * given.ranks_per_node
    print(
        json.dumps({"reads_gb": round(size, 3), "nodes": nodes, "ranks_per_node": given.ranks_per_node, "ranks": ranks})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
