"""Blocks become tasks: claiming them, reading their lines, and giving back what this node cannot run."""

import time

from .pack import never_fits
from .reports import end_without_slot
from .task import BadTask, read_task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

    from .main import Agent
    from .task import Task

LOOK_S = (0.01, 0.25)  # for new blocks: first and last interval


def claim(agent: "Agent", now: float) -> bool:
    """Claim a block, if it is time to look for one; an empty bundle is looked at less and less often."""
    if now < agent.look_at:
        return False
    block = agent.spool.claim()
    if block is None:
        agent.look_at = now + agent.look_s
        agent.look_s = min(LOOK_S[1], agent.look_s * 1.5)
        return False
    agent.look_s = LOOK_S[0]
    seq, lines = block
    agent.journal.add({"k": "claim", "block": seq, "tasks": len(lines), "t": round(time.time(), 3)})
    no_fit = []
    for line in lines:
        task = read(agent, seq, line)
        if task is None:
            continue
        agent.live[task.key] = task
        if task.key in agent.canceled:
            agent.canceled.discard(task.key)
            end_without_slot(agent, task, "canceled", None, now)
        elif never_fits(task.cores, task.memory, agent.cores, agent.memory):
            no_fit.append(task)
        else:
            agent.queue.append(task)
    give_back(agent, no_fit, "nofit")
    return True


def read(agent: "Agent", block: str, line: bytes) -> "Optional[Task]":
    """A line of a block, or None after journaling what is wrong with it."""
    try:
        return read_task(line, agent.spool.template)
    except BadTask as bad:
        if bad.key is None:
            agent.journal.add({"k": "bad", "block": block, "msg": str(bad)})
        else:
            t = round(time.time(), 3)
            agent.journal.add(
                {"k": "end", "id": bad.key[0], "n": bad.key[1], "t0": t, "t1": t, "why": "inputs", "msg": str(bad)}
            )
        return None


def give_back(agent: "Agent", tasks: "List[Task]", why: str) -> None:
    """Return tasks that were never started."""
    if tasks:
        agent.journal.add({"k": "back", "tasks": [list(task.key) for task in tasks], "why": why})
        for task in tasks:
            agent.live.pop(task.key, None)
