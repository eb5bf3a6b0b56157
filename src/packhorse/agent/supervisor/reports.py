"""Ends of tasks: from a slot's report, the agent's verdict and the output in the log to one `end` record."""

import json
import time

from .capture import Follow
from .watch import recall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from .main import Agent
    from .slots import SlotHandle
    from .task import Task

HOLD_S = 2.0  # between the first and the last program of a job that is told that it is being ended


def on_report(agent: "Agent", slot: "SlotHandle", line: bytes, now: float) -> None:
    """Take one line from a slot."""
    kind = line[:1]
    if kind == b"E":
        task = slot.sent.popleft()
        if slot.sent:
            slot.sent[0].started = now
        task.ended_at = now
        if slot.unfinished or not complete(agent, slot, task, line, now):
            slot.unfinished.append((task, line))
        agent.ended(slot, task, now)
    elif kind == b"D":
        seq = int(line[2:])
        for task in slot.sent:
            if task.seq == seq:
                slot.sent.remove(task)
                agent.dropped(slot, task)
                break
    elif kind == b"X":
        slot.owed = json.loads(line[2:].decode("ascii"))
    elif kind == b"A":
        slot.sent[0].paused = now
        recall(slot)  # nobody should wait behind it
    elif kind == b"B":
        slot.sent[0].started, slot.sent[0].paused = now, 0.0
    elif kind == b"H":
        slot.ready = True
        agent.failed_starts = 0
        if slot.sent:
            slot.sent[0].started = now  # the time that the slot took to come up is not the task's


def complete(agent: "Agent", slot: "SlotHandle", task: "Task", line: bytes, now: float) -> bool:
    """Put a task's output into the log and its `end` into the journal; False if that has to wait (nothing is lost, try
    again).

    It waits while the log refuses, and a moment where a program was terminated by somebody else: a job that is being
    ended may have its programs signalled before us.
    """
    _, _, out, err, wall_text, killed, oom_kills, record = line.split(b" ", 7)
    wall = float(wall_text)
    if not record.endswith(b'"exit":0}'):
        if (agent.signals or agent.draining == "signal") and killed == b"0":
            record = excuse(record)
        elif killed == b"0" and was_terminated(record) and not agent.draining and now < task.ended_at + HOLD_S:
            return False
    if out == b"0" and err == b"0" and task.verdict is None and task.follow is None and not task.peak:
        agent.journal.add_line(record)  # what nearly all short tasks are
    else:
        follow = task.follow
        if follow is None:
            follow = task.follow = Follow(slot.paths[task.pair], task.result)
        try:
            follow.copy_rest(agent.log, agent.max_log_bytes, (int(out), int(err)))
        except OSError as error:
            agent.log_refused(error)
            return False
        agent.journal.add_line(amend(record, task, killed != b"0", follow.take_ranges()))
    slot.oom_kills = int(oom_kills)
    agent.live.pop(task.key, None)
    agent.account(task, wall)
    return True


def was_terminated(record: bytes) -> bool:
    """Whether a program ended by SIGTERM, or says that one of its own did."""
    return b'"exit":143' in record or b'"sig":15' in record


def excuse(record: bytes) -> bytes:
    """A program that fails while its job is being ended was ended with it: batch systems signal the ranks of a task by
    themselves.
    """
    fields = json.loads(record.decode("ascii"))
    if fields.get("why") is None and fields.get("exit") != 0:
        how = "signal %s" % fields["sig"] if fields.get("sig") else "exit code %s" % fields.get("exit")
        fields["why"], fields["msg"] = "drained", "it ended with %s while its job was being ended" % how
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def amend(record: bytes, task: "Task", killed: bool, ranges: "List[Any]") -> bytes:
    """A slot's `end` record with what only the supervisor knows.

    A verdict stands only if its kill met the task alive.
    """
    more: "Dict[str, Any]" = {}
    if ranges:
        more["log"] = ranges
    if not (killed and task.verdict) and not task.peak:
        return record if not more else record[:-1] + b"," + json.dumps(more, separators=(",", ":"))[1:].encode("ascii")
    fields = json.loads(record.decode("ascii"))
    fields["peak"] = max(fields.get("peak", 0), task.peak)
    if killed and task.verdict and fields.get("why") != "memory":
        fields["why"], fields["msg"] = task.verdict, task.msg
        for gone in ("files", "result"):
            fields.pop(gone, None)
    fields.update(more)
    kept = {key: value for key, value in fields.items() if value is not None}
    return json.dumps(kept, separators=(",", ":")).encode("ascii")


def end_without_slot(agent: "Agent", task: "Task", why: str, msg: "Optional[str]", now: float) -> None:
    """The `end` of a task that never started, or whose slot died under it."""
    wall = max(0.0, now - task.started) if task.started else 0.0
    t1 = time.time()
    record: "Dict[str, Any]" = {
        "k": "end",
        "id": task.key[0],
        "n": task.key[1],
        "t0": round(t1 - wall, 3),
        "t1": round(t1, 3),
        "wall": round(wall, 6),
        "why": why,
        "msg": msg,
        "peak": task.peak or None,
    }
    if task.follow:
        record["log"] = task.follow.take_ranges() or None
    agent.journal.add(record)
    agent.live.pop(task.key, None)
    if wall:
        agent.account(task, wall)


def lost(agent: "Agent", slot: "SlotHandle", now: float) -> None:
    """A slot died. Its running task is lost, or out of memory if the kernel says so; prefetched ones wait again."""
    from ..leaf import oom_kills

    for task, line in slot.unfinished:
        complete(agent, slot, task, line, now + HOLD_S)
    slot.unfinished.clear()
    if not slot.ready:
        agent.requeue(list(slot.sent))  # it never came up: nothing has started
    elif slot.sent:
        task = slot.sent.popleft()
        if task.follow is None:
            task.follow = Follow(slot.paths[task.pair], False)
        try:
            task.follow.copy_new(agent.log, agent.max_log_bytes)
        except OSError as error:
            agent.log_refused(error)
        leaf = slot.leaf
        if leaf and oom_kills(leaf["memory"], leaf["version"]) > max(0, slot.oom_kills):
            end_without_slot(agent, task, "memory", "the kernel killed the task's slot at its memory limit", now)
        elif task.verdict:
            end_without_slot(agent, task, task.verdict, task.msg, now)
        else:
            end_without_slot(agent, task, "lost", "the process that ran it was killed by something else", now)
        agent.requeue(list(slot.sent))
    slot.sent.clear()
