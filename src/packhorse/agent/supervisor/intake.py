"""Blocks become tasks: claiming them, reading their lines, and giving back what this node cannot run."""

import time

from .node import LOOK_REST, LOOK_S
from .task import BadTask, read_task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from .node import Node
    from .task import Task


def claim(node: "Node", now: float) -> bool:
    """Claim a block, if it is time to look for one; an empty bundle is looked at less and less often."""
    if now < node.look_at:
        return False
    began = time.monotonic()
    block = node.spool.claim()
    if block is None:
        ended = time.monotonic()
        rest_s = max(node.look_s, LOOK_REST * (ended - began))
        node.look_at = ended + min(LOOK_S[2], rest_s)
        node.look_s = min(LOOK_S[1], node.look_s * 1.5)
        return False
    node.look_s = LOOK_S[0]
    seq, lines = block
    node.ledger.journal.add({"k": "claim", "block": seq, "tasks": len(lines), "t": round(time.time(), 3)})
    no_fit = []
    for line in lines:
        task = read(node, seq, line)
        if task is None:
            continue
        node.ledger.live[task.key] = task
        if task.key in node.ledger.canceled:
            node.ledger.canceled.discard(task.key)
            node.ledger.end_without_slot(task, "canceled", None, now)
        elif node.resources.can_never_take(task):
            no_fit.append(task)
        else:
            node.queue.put(task)
    node.ledger.give_back(no_fit, "nofit")
    return True


def read(node: "Node", block: str, line: bytes) -> "Optional[Task]":
    """A line of a block, or None after journaling what is wrong with it."""
    try:
        return read_task(line, node.spool.template)
    except BadTask as bad:
        if bad.key is None:
            node.ledger.journal.add({"k": "bad", "block": block, "msg": str(bad)})
        else:
            t = round(time.time(), 3)
            node.ledger.journal.add(
                {"k": "end", "id": bad.key[0], "n": bad.key[1], "t0": t, "t1": t, "why": "inputs", "msg": str(bad)}
            )
        return None
