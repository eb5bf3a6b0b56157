"""The parts of a supervisor, each with one thing to know. What it does with them is in the modules beside this one."""

import os
import time

from .cgroup import Cgroups, node_cores, node_memory
from .cleanup import Cleanup
from .drain import Drain
from .durations import Durations
from .ledger import Ledger
from .queue import Queue
from .resources import Resources
from .scratch import make_scratch
from .slots import Slots
from .spool import Spool
from .task import MB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from .slotprocess import SlotProcess

LOOK_S = (0.01, 0.04, 0.25)  # for new blocks: first interval, last one, and last one where looking takes long
LOOK_REST = 100.0  # times as long as a look took, at least: a file system that many nodes ask is left alone


class Node:
    """This node's share of an allocation. Times are monotonic seconds unless they go into a record."""

    def __init__(self, root: str, first: "Optional[SlotProcess]" = None) -> None:
        self.started = time.monotonic()
        self.name = agent_name()
        self.spool = Spool(root, self.name)
        self.allocation = self.spool.allocation()
        self.spool.make_folders()
        self.ledger = Ledger(self.spool, int(self.allocation["max_log_bytes"]))
        self.cgroups = Cgroups(self.name, os.environ.get("PACKHORSE_LIMITS", ""))
        self.scratch = make_scratch(self.allocation["scratch"], self.name)
        self.resources = Resources(
            float(self.allocation["cores"] or node_cores()),
            int((self.allocation["memory_mb"] or 0) * MB) or node_memory(),
        )
        self.queue = Queue()
        self.slots = Slots(self.spool, self.allocation, self.scratch, self.cgroups, first)
        self.durations = Durations()
        self.drain = Drain(self.started, self.allocation)
        self.cleanup = Cleanup()
        self.seq = 0  # of the task that was handed to a slot last
        self.look_at, self.look_s = 0.0, LOOK_S[0]  # for new blocks
        self.refill = True  # resources or tasks have changed


def agent_name() -> str:
    """The node's name, safe in a file name, and six random digits: an agent that is started again is another agent."""
    node = os.environ.get("SLURMD_NODENAME") or os.uname().nodename or "node"
    safe = "".join(c if c.isalnum() and ord(c) < 128 else "-" for c in node)
    return "%s-%s" % (safe[:40], "".join("%02x" % byte for byte in os.urandom(3)))
