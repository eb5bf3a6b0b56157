"""All slot processes of this node: which are idle, which have lines waiting for them, and how they are heard."""

import os
import select

from .handle import PAIRS, SlotHandle
from .slotprocess import SlotProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Optional

    from .cgroup import Cgroups
    from .resources import Resources
    from .spool import Spool
    from .task import Task

MAX_FAILED_STARTS = 3


class Slots:
    """They are started when a task needs one, and kept."""

    def __init__(
        self,
        spool: "Spool",
        allocation: "Mapping[str, Any]",
        scratch: str,
        cgroups: "Cgroups",
        first: "Optional[SlotProcess]" = None,
    ) -> None:
        self.spool = spool
        self.allocation = allocation
        self.scratch = scratch
        self.cgroups = cgroups
        self.unused = first  # a process that was started before there was a task
        self.by_fd: "Dict[int, SlotHandle]" = {}  # by the descriptor of their reports
        self.writers: "Dict[int, SlotHandle]" = {}  # with full pipes, by the descriptor they are written to
        self.idle: "List[SlotHandle]" = []
        self.poll = select.poll()
        self.made = 0
        self.failed_starts = 0

    def all(self) -> "List[SlotHandle]":
        """Every slot, in a list of its own."""
        return list(self.by_fd.values())

    def busy(self) -> "List[SlotHandle]":
        """Those that have a task."""
        return [slot for slot in self.by_fd.values() if slot.sent]

    def for_task(self, task: "Task", resources: "Resources") -> SlotHandle:
        """An idle slot: one that has the task's session already, one without any, a new one, or the one idle
        longest.
        """
        best = None
        for slot in self.idle:
            if slot.session == task.session:
                best = slot
                break
            if slot.session is None and best is None:
                best = slot
        if best is None and (not self.idle or len(self.by_fd) < resources.cores):
            best = self.make()
        else:
            best = best or self.idle[0]
            self.idle.remove(best)
        held = [slot for slot in self.idle if slot.session_memory]
        while held and resources.free_memory < sum(slot.session_memory for slot in held):
            held.pop(0).close_session()  # its memory is somebody else's now
        return best

    def make(self) -> SlotHandle:
        """Start a slot process."""
        self.made += 1
        number = self.made
        captures = [
            [os.path.join(self.scratch, "%d.%d.%s" % (number, pair, stream)) for stream in ("out", "err")]
            for pair in range(PAIRS)
        ]
        config = {
            "name": "packhorse-%s-%d" % (self.spool.agent, number),
            "work": self.spool.path("work", "%s.%d" % (self.spool.agent, number)),
            "mounts": os.path.join(self.scratch, "%d.mnt" % number),
            "locks": os.path.join(os.path.dirname(self.scratch), "packhorse-images-%d" % os.getuid()),
            "captures": captures,
            "env": self.allocation["env"],
            "environment": self.allocation["environment"],
            "max_result_bytes": self.allocation["max_result_bytes"],
            "leaf": self.cgroups.make(str(number)),
        }
        process, self.unused = self.unused or SlotProcess(), None
        slot = SlotHandle(number, config, process)
        self.by_fd[slot.report_fd] = slot
        self.poll.register(slot.report_fd, select.POLLIN)
        return slot

    def flush(self, slot: SlotHandle) -> None:
        """Send a slot what waits for it; what its pipe does not take goes when there is room."""
        if slot.flush():
            if self.writers.pop(slot.task_fd, None):
                self.poll.unregister(slot.task_fd)
        elif slot.task_fd not in self.writers:
            self.writers[slot.task_fd] = slot
            self.poll.register(slot.task_fd, select.POLLOUT)

    def close_unused(self) -> None:
        """Let the process end that no task wanted."""
        if self.unused is not None:
            self.unused.close()
            self.unused = None

    def rest(self, slot: SlotHandle) -> None:
        """A slot has no task: it is idle, unless it is dead or the log still refuses the output of its last one."""
        if not slot.unfinished and slot.alive:
            self.idle.append(slot)

    def came_up(self, slot: SlotHandle) -> None:
        """A slot says that it is ready."""
        slot.ready = True
        self.failed_starts = 0

    def remove(self, slot: SlotHandle) -> None:
        """Forget a slot whose process is dead; RuntimeError if no slot comes up any more."""
        self.poll.unregister(slot.report_fd)
        if self.writers.pop(slot.task_fd, None):
            self.poll.unregister(slot.task_fd)
        del self.by_fd[slot.report_fd]
        if slot in self.idle:
            self.idle.remove(slot)
        slot.close()
        if not slot.ready:
            self.failed_starts += 1

    def check_starts(self) -> None:
        """RuntimeError if slots cannot be started at all."""
        if self.failed_starts >= MAX_FAILED_STARTS:
            raise RuntimeError("slot processes die before they are ready")
