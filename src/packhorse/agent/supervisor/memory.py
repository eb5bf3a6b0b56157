"""Running tasks and their memory: what the kernel has killed, and, where no cgroup measures it, what they hold."""

import time

from .. import proc
from ..leaf import oom_kills

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from .cgroup import Cgroups
    from .handle import SlotHandle
    from .task import Task

YOUNG_S = 0.1  # a task that is younger is not looked at
SAMPLE_S = (0.1, 1.0)  # first and last interval between looks at a task
SAMPLE_SHARE = 0.02  # of one core, for looking at /proc
OOM_LOOK_S = 1.0


class MemoryWatch:
    """Looks now and then."""

    def __init__(self, cgroups: "Cgroups") -> None:
        self.cgroups = cgroups
        self.oom_look_at = self.sample_at = 0.0  # monotonic

    def look(self, running: "List[SlotHandle]", now: float) -> None:
        """Kill tasks that went over their limit, as far as it is time to look at them."""
        if self.cgroups.version and now >= self.oom_look_at:
            self.oom_look_at = now + OOM_LOOK_S
            self.look_for_kills(running, now)
        if self.cgroups.version == 1:
            return
        due = [slot for slot in running if is_due(slot.sent[0], now)]
        if due and now >= self.sample_at:
            began = time.monotonic()
            self.sample(due, now)
            self.sample_at = now + (time.monotonic() - began) / SAMPLE_SHARE

    def look_for_kills(self, running: "List[SlotHandle]", now: float) -> None:
        """The kernel kills one process; a parent that waits for it for ever would not end the task by itself."""
        for slot in running:
            leaf, task = slot.leaf, slot.sent[0]
            if leaf and not task.kill_at and oom_kills(leaf["memory"], leaf["version"]) > max(0, slot.oom_kills):
                slot.kill(task, "memory", "the kernel killed a process of the task at its memory limit", now)

    def sample(self, due: "List[SlotHandle]", now: float) -> None:
        """Add up what the processes of tasks hold."""
        table = proc.processes()
        for slot in due:
            task = slot.sent[0]
            task.sample_at = now + min(SAMPLE_S[1], max(SAMPLE_S[0], (now - task.started) / 2))
            tree = proc.descendants(slot.pid, table)
            held = sum(table[pid][3] for pid in tree)
            if task.memory and held > task.memory and not task.kill_at:
                held = proc.proportional_memory(tree) or held  # pages that they share count once
                if held > task.memory:
                    slot.kill(task, "memory", "held %d bytes, over its limit of %d" % (held, task.memory), now)
            task.peak = max(task.peak, held)


def is_due(task: "Task", now: float) -> bool:
    """Whether it is time to look at the memory of a running task."""
    return now - task.started > YOUNG_S and now >= task.sample_at and not task.paused
