"""What slots report, and what follows: an `end` in the journal, output in the log, a slot that is free again."""

import json
from binascii import a2b_base64

from .capture import Follow
from .records import amend, as_drained, was_terminated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from .handle import SlotHandle
    from .node import Node
    from .task import Task

HOLD_S = 2.0  # between the first and the last program of a job that is told that it is being ended


def on_report(node: "Node", slot: "SlotHandle", line: bytes, now: float) -> None:
    """Take one line from a slot."""
    kind = line[:1]
    if kind == b"E":
        task = slot.sent.popleft()
        if slot.sent:
            slot.sent[0].started = now
        task.ended_at = now
        if slot.unfinished or not complete(node, slot, task, line, now):
            slot.unfinished.append((task, line))
        release(node, slot, task)
    elif kind == b"D":
        seq = int(line[2:])
        for task in slot.sent:
            if task.seq == seq:
                slot.sent.remove(task)
                on_dropped(node, slot, task)
                break
    elif kind == b"X":
        slot.cleanup = json.loads(line[2:].decode("ascii"))
    elif kind == b"A":
        slot.sent[0].paused = now
        slot.recall()  # nobody should wait behind it
    elif kind == b"B":
        slot.sent[0].started, slot.sent[0].paused = now, 0.0
    elif kind == b"H":
        node.slots.came_up(slot)
        if slot.sent:
            slot.sent[0].started = now  # the time that the slot took to come up is not the task's


def complete(node: "Node", slot: "SlotHandle", task: "Task", line: bytes, now: float) -> bool:
    """Put a task's output into the log and its `end` into the journal; False if that has to wait (nothing is lost, try
    again).

    It waits while the log refuses, and a moment where a program was terminated by somebody else: a job that is being
    ended may have its programs signalled before us.
    """
    _, _, out, err, wall_text, killed, oom_kills, record = line.split(b" ", 7)
    ledger = node.ledger
    if not record.endswith(b'"exit":0}'):
        if node.drain.is_of_job() and killed == b"0":
            record = as_drained(record)
        elif killed == b"0" and was_terminated(record) and not node.drain.why and now < task.ended_at + HOLD_S:
            return False
    if out == b"0" and err == b"0" and task.verdict is None and task.follow is None and not task.peak:
        ledger.journal.add_line(record)  # what nearly all short tasks are
    else:
        follow = task.follow
        if follow is None:
            follow = task.follow = Follow(slot.paths[task.pair], task.result)
        try:
            if out.startswith(b"="):
                follow.take_printed(ledger.log, ledger.max_log_bytes, a2b_base64(out[1:]))
                out = b"0"
            follow.copy_rest(ledger.log, ledger.max_log_bytes, (int(out), int(err)))
        except OSError as error:
            ledger.log_refused(error)
            return False
        ledger.journal.add_line(amend(record, task, killed != b"0", follow.take_ranges()))
    slot.oom_kills = int(oom_kills)
    ledger.live.pop(task.key, None)
    node.durations.learn(task, float(wall_text))
    return True


def complete_unfinished(node: "Node", slot: "SlotHandle", now: float) -> None:
    """Try again to write what the log refused."""
    if node.ledger.log_refuses(now):
        return
    while slot.unfinished:
        task, line = slot.unfinished[0]
        if not complete(node, slot, task, line, now):
            return
        slot.unfinished.popleft()
    if not slot.sent:
        node.slots.rest(slot)
    node.refill = True


def release(node: "Node", slot: "SlotHandle", task: "Task") -> None:
    """A slot is done with a task: the next one of it inherits its grant, or the grant is free."""
    if slot.sent:
        return
    node.resources.give(task)
    node.refill = True
    slot.session_memory = task.memory if task.session else 0
    node.slots.rest(slot)


def on_dropped(node: "Node", slot: "SlotHandle", task: "Task") -> None:
    """A prefetched task came back unstarted."""
    if task.verdict:
        node.ledger.end_without_slot(task, task.verdict, task.msg, 0.0)
    else:
        put_back(node, [task])
    if not slot.sent:
        release(node, slot, task)


def put_back(node: "Node", tasks: "List[Task]") -> None:
    """Put tasks that have not started back in front, or give them back if the agent is about to stop."""
    if node.drain.why:
        node.ledger.give_back(tasks, "drain")
        return
    node.queue.put_back(tasks)
    node.refill = True
