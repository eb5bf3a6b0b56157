"""What happens to running tasks while time passes: walltime, signals that need a second one, output to be followed."""

import time

from .capture import LAST_LOOK_S, Follow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from .handle import SlotHandle
    from .node import Node
    from .task import Task

LONG_S = 0.1  # a task older than this is journaled as started, and none waits in its slot
FOLLOW_S = 0.5  # and the output of one older than this is copied while it runs
MAKE_READY_S = 3600.0  # for what is not the task's time, which would otherwise have no end


def watch(node: "Node", now: float) -> "List[SlotHandle]":
    """One tick; returns the slots that have a task."""
    running = node.slots.busy()
    for slot in running:
        task = slot.sent[0]
        age = (task.paused or now) - task.started
        end_in_time(node, slot, task, age, now)
        if age > LONG_S:
            slot.recall()
            if not task.journaled:
                task.journaled = True
                t0 = round(time.time() - age, 3)
                node.ledger.journal.add({"k": "start", "id": task.key[0], "n": task.key[1], "t0": t0})
            follow(node, slot, task, now)
    return running


def end_in_time(node: "Node", slot: "SlotHandle", task: "Task", age: float, now: float) -> None:
    """End a task whose time is over."""
    grace_s = node.drain.kill_grace_s
    if task.kill_at:
        if now >= task.kill_at:
            slot.kill_again(task, now)
    elif task.verdict:  # canceled while it was waiting in the slot, but it had just started
        slot.terminate(task, task.verdict, task.msg or "", now, grace_s)
    elif task.paused and now - task.paused > MAKE_READY_S:
        msg = "making its image ready on this node took longer than %g s" % MAKE_READY_S
        slot.terminate(task, "image", msg, now, grace_s)
    elif task.walltime is not None and age > task.walltime:
        slot.terminate(task, "walltime", "ran longer than its walltime of %g s" % task.walltime, now, grace_s)


def follow(node: "Node", slot: "SlotHandle", task: "Task", now: float) -> None:
    """Copy new output of a running task into the log, at growing intervals."""
    ledger = node.ledger
    if task.follow is None:
        if now - task.started < FOLLOW_S:
            return
        task.follow = Follow(slot.paths[task.pair], task.result)
    if now < task.follow.look_at or ledger.log_refuses(now):
        return
    task.follow.look_at = now + task.follow.interval
    task.follow.interval = min(LAST_LOOK_S, task.follow.interval * 1.5)
    try:
        task.follow.copy_new(ledger.log, ledger.max_log_bytes)
    except OSError as error:
        ledger.log_refused(error)
    for name, offset, length in task.follow.take_ranges():
        ledger.journal.add({"k": "log", "id": task.key[0], "n": task.key[1], "s": name, "o": offset, "l": length})
