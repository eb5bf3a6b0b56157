"""What the engine and the batch system say: control lines, and signals that mean to drain."""

import collections

from .intake import give_back
from .reports import end_without_slot
from .watch import condemn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Set

    from .main import Agent
    from .task import Key


def read_control(agent: "Agent", now: float) -> None:
    """Obey new control lines."""
    gone: "Set[Key]" = set()
    for line in agent.spool.control():
        agent.closed = agent.closed or bool(line.get("close"))
        for pair in line.get("cancel") or ():
            if isinstance(pair, list) and len(pair) == 2:
                cancel(agent, (pair[0], pair[1]), gone, now)
    if gone:
        agent.queue = collections.deque(task for task in agent.queue if task.key not in gone)


def cancel(agent: "Agent", key: "Key", gone: "Set[Key]", now: float) -> None:
    """Cancel a task wherever it is: running, waiting in a slot, queued (then it is added to `gone`), or not here
    yet.
    """
    task = agent.live.get(key)
    if task is None:
        agent.canceled.add(key)
    elif task.seq == 0:
        gone.add(key)
        end_without_slot(agent, task, "canceled", None, now)
    elif task.verdict is None:
        for slot in agent.slots.values():
            if slot.sent and slot.sent[0] is task:
                condemn(agent, slot, task, "canceled", "canceled while it ran", now)
            elif task in slot.sent:
                task.verdict, task.recalled = "canceled", True
                slot.signal(task, "D")


def drain(agent: "Agent", why: str, end_at: float) -> None:
    """Stop claiming, give back what has not started, and let running tasks finish until `end_at`, kills included."""
    agent.draining, agent.end_at = why, end_at
    give_back(agent, list(agent.queue), "drain")
    agent.queue.clear()
    for slot in agent.slots.values():
        for task in list(slot.sent)[1:]:
            task.recalled = True
            slot.signal(task, "D")
