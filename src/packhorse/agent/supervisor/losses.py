"""A slot process that has died: what it left behind is ended, and its tasks are settled."""

from ..leaf import oom_kills
from ..processes import kill_descendants
from .capture import Follow
from .reports import HOLD_S, complete, put_back

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from .handle import SlotHandle
    from .node import Node
    from .task import Task


def on_slot_death(node: "Node", slot: "SlotHandle", now: float) -> None:
    """End the slot's tree, settle its tasks; RuntimeError if slots cannot be started at all."""
    node.slots.remove(slot)
    if slot.sent:
        node.resources.give(slot.sent[0])
    kill_descendants(spare=[other.pid for other in node.slots.all()] + [node.cleanup.pid])
    node.cleanup.add(slot.cleanup)
    settle(node, slot, now)
    node.cgroups.remove(slot.leaf)
    node.refill = True
    node.slots.check_starts()


def settle(node: "Node", slot: "SlotHandle", now: float) -> None:
    """Its running task is lost, or out of memory if the kernel says so; prefetched ones wait again."""
    for task, line in slot.unfinished:
        complete(node, slot, task, line, now + HOLD_S)
    slot.unfinished.clear()
    if slot.ready and slot.sent:
        lose(node, slot, slot.sent.popleft(), now)
    put_back(node, list(slot.sent))  # all of them, where it never came up
    slot.sent.clear()


def lose(node: "Node", slot: "SlotHandle", task: "Task", now: float) -> None:
    """The `end` of the task that ran in it."""
    ledger = node.ledger
    if task.follow is None:
        task.follow = Follow(slot.paths[task.pair], False)
    try:
        task.follow.copy_new(ledger.log, ledger.max_log_bytes)
    except OSError as error:
        ledger.log_refused(error)
    why = "lost"
    msg: "Optional[str]" = "the process that ran it was killed by something else"
    leaf = slot.leaf
    if leaf and oom_kills(leaf["memory"], leaf["version"]) > max(0, slot.oom_kills):
        why, msg = "memory", "the kernel killed the task's slot at its memory limit"
    elif task.verdict:
        why, msg = task.verdict, task.msg
    wall = ledger.end_without_slot(task, why, msg, now)
    if wall:
        node.durations.learn(task, wall)
