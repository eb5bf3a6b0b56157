"""What happens to running tasks while time passes: walltime, memory, kills that need a second blow, output to be
followed.
"""

import time

from .. import proc
from ..leaf import oom_kills
from .capture import LAST_LOOK_S, Follow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from .main import Agent
    from .slots import SlotHandle
    from .task import Task

LONG_S = 0.1  # a task older than this is journaled as started, sampled, and holds no prefetched tasks hostage
SAMPLE_S = (0.1, 1.0)  # first and last interval between looks at a task's memory
SAMPLE_SHARE = 0.02  # of one core, for looking at /proc
OOM_LOOK_S = 1.0
MAKE_READY_S = 3600.0  # for what is not the task's time, which would otherwise have no end


def condemn(
    agent: "Agent", slot: "SlotHandle", task: "Task", why: str, msg: str, now: float, at_once: bool = False
) -> None:
    """Decide that a running task must end: SIGTERM, then SIGKILL after `kill_grace_s`; `at_once` SIGKILL."""
    if task.verdict is None:
        task.verdict, task.msg = why, msg
    slot.signal(task, "K" if at_once else "T")
    task.kill_at = now + (1.0 if at_once else agent.kill_grace_s)


def watch(agent: "Agent", now: float) -> None:
    """One tick."""
    running = [slot for slot in agent.slots.values() if slot.sent]
    for slot in running:
        task = slot.sent[0]
        age = (task.paused or now) - task.started
        if task.kill_at:
            if now >= task.kill_at:
                slot.signal(task, "K")
                task.kill_at = now + 1.0
        elif task.verdict:  # canceled while it was waiting in the slot, but it had just started
            condemn(agent, slot, task, task.verdict, task.msg or "", now)
        elif task.paused and now - task.paused > MAKE_READY_S:
            condemn(
                agent,
                slot,
                task,
                "image",
                "making its image ready on this node took longer than %g s" % MAKE_READY_S,
                now,
            )
        elif task.walltime is not None and age > task.walltime:
            condemn(agent, slot, task, "walltime", "ran longer than its walltime of %g s" % task.walltime, now)
        if age > LONG_S:
            recall(slot)
            if not task.journaled:
                task.journaled = True
                agent.journal.add(
                    {"k": "start", "id": task.key[0], "n": task.key[1], "t0": round(time.time() - age, 3)}
                )
            follow(agent, slot, task, now)
    sample(agent, running, now)


def recall(slot: "SlotHandle") -> None:
    """Ask prefetched tasks back: what runs in their slot takes long. In reverse, so that they requeue in order."""
    if len(slot.sent) > 1:
        for task in list(slot.sent)[:0:-1]:
            if not task.recalled:
                task.recalled = True
                slot.signal(task, "D")


def follow(agent: "Agent", slot: "SlotHandle", task: "Task", now: float) -> None:
    """Copy new output of a running task into the log, at growing intervals."""
    if task.follow is None:
        if now - task.started < 0.5:
            return
        task.follow = Follow(slot.paths[task.pair], task.result)
    if now < task.follow.look_at or agent.log_refuses(now):
        return
    task.follow.look_at = now + task.follow.interval
    task.follow.interval = min(LAST_LOOK_S, task.follow.interval * 1.5)
    try:
        task.follow.copy_new(agent.log, agent.max_log_bytes)
    except OSError as error:
        agent.log_refused(error)
    for name, offset, length in task.follow.take_ranges():
        agent.journal.add({"k": "log", "id": task.key[0], "n": task.key[1], "s": name, "o": offset, "l": length})


def is_due(task: "Task", now: float) -> bool:
    """Whether it is time to look at the memory of a running task."""
    return now - task.started > LONG_S and now >= task.sample_at and not task.paused


def sample(agent: "Agent", running: "List[SlotHandle]", now: float) -> None:
    """Look at the memory of running tasks, where the cgroup does not do it."""
    if agent.cgroups.version:
        if now >= agent.oom_look_at:
            agent.oom_look_at = now + OOM_LOOK_S
            for slot in running:
                # The kernel kills one process; a parent that waits for it for ever would not end the task by itself.
                leaf = slot.leaf
                if (
                    leaf
                    and not slot.sent[0].kill_at
                    and oom_kills(leaf["memory"], leaf["version"]) > max(0, slot.oom_kills)
                ):
                    condemn(
                        agent,
                        slot,
                        slot.sent[0],
                        "memory",
                        "the kernel killed a process of the task at its memory limit",
                        now,
                        True,
                    )
        if agent.cgroups.version == 1:
            return
    due = [slot for slot in running if is_due(slot.sent[0], now)]
    if not due or now < agent.sample_at:
        return
    began = time.monotonic()
    table = proc.processes()
    for slot in due:
        task = slot.sent[0]
        task.sample_at = now + min(SAMPLE_S[1], max(SAMPLE_S[0], (now - task.started) / 2))
        tree = proc.descendants(slot.pid, table)
        held = sum(table[pid][3] for pid in tree)
        if task.memory and held > task.memory and not task.kill_at:
            held = proc.proportional_memory(tree) or held  # pages that they share count once
            if held > task.memory:
                condemn(
                    agent, slot, task, "memory", "held %d bytes, over its limit of %d" % (held, task.memory), now, True
                )
        task.peak = max(task.peak, held)
    agent.sample_at = now + (time.monotonic() - began) / SAMPLE_SHARE
