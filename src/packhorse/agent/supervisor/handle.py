"""The supervisor's end of a slot process: starting it, sending it tasks, reading its reports, recalling and killing."""

import collections
import json
import os

from .slotprocess import SlotProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Deque, Dict, List, Optional, Set, Tuple

    from .task import Task

PREFETCH = 15  # tasks a slot may hold beyond the one it runs
PAIRS = PREFETCH + 1  # so that no task finds the output of one that has not been copied yet
KILL_AGAIN_S = 1.0
PREFETCH_MAX_LINE = 3072  # PREFETCH of them fit into a pipe: prefetching never waits for a reader


class SlotHandle:
    """One slot process. `sent` are its tasks in order: the first runs, the others are prefetched."""

    def __init__(self, number: int, config: "Dict[str, Any]", process: SlotProcess) -> None:
        self.number = number
        self.leaf: "Any" = config.get("leaf")
        self.paths = [(str(out), str(err)) for out, err in config["captures"]]
        self.work = str(config["work"])
        self.sent: "Deque[Task]" = collections.deque()
        self.unfinished: "Deque[Tuple[Task, bytes]]" = collections.deque()  # ended, but the log refuses their output
        self.known: "Set[str]" = set()  # templates it has been told
        self.session: "Optional[str]" = None
        self.session_memory = 0
        self.oom_kills = -1
        self.cleanup: "List[List[str]]" = []  # commands to be run if it is killed
        self.inbox = b""
        self.outbox = b""
        self.alive = True
        self.ready = False  # it has said so
        self.pid = process.pid
        self.task_fd, self.report_fd, self.kill_fd = process.task_fd, process.report_fd, process.kill_fd
        self.write(b"C " + json.dumps(config).encode("ascii") + b"\n")

    def write(self, data: bytes) -> None:
        """Send to the slot without ever waiting for it; what its pipe does not take goes out later (see `flush`)."""
        self.outbox = self.outbox + data if self.outbox else data
        self.flush()

    def flush(self) -> bool:
        """Write what waits; True if nothing is left."""
        try:
            while self.outbox:
                self.outbox = self.outbox[os.write(self.task_fd, self.outbox) :]
        except BlockingIOError:
            return False
        except OSError:
            self.outbox = b""  # it is dead: its reports' EOF says so
        return True

    def send(self, task: "Task", template_line: bytes) -> None:
        """Queue a task for the slot, and before the first of its template that template; `flush` sends it."""
        data = b""
        if task.template not in self.known:
            self.known.add(task.template)
            data = template_line
        taken = {other.pair for other in self.sent}
        task.pair = min(pair for pair in range(PAIRS) if pair not in taken)
        self.sent.append(task)
        self.session, self.session_memory = task.session, task.memory if task.session else 0
        self.outbox += data + b"R %d %d %s\n" % (task.seq, task.pair, task.line)

    def signal(self, task: "Task", how: str) -> None:
        """`T`erminate or `K`ill a task that runs, or `D`rop it if it does not run yet."""
        try:
            os.write(self.kill_fd, b"%d %s\n" % (task.seq, how.encode("ascii")))
        except OSError:
            pass  # it is dead, or stopped with a full pipe; the caller asks again

    def terminate(self, task: "Task", why: str, msg: str, now: float, grace_s: float) -> None:
        """Decide that the running task must end: SIGTERM, then SIGKILL after `grace_s`."""
        self._decide(task, why, msg)
        self.signal(task, "T")
        task.kill_at = now + grace_s

    def kill(self, task: "Task", why: str, msg: str, now: float) -> None:
        """Decide that the running task must end at once: SIGKILL."""
        self._decide(task, why, msg)
        self.kill_again(task, now)

    def kill_again(self, task: "Task", now: float) -> None:
        """SIGKILL, which may have met nobody the last time."""
        self.signal(task, "K")
        task.kill_at = now + KILL_AGAIN_S

    @staticmethod
    def _decide(task: "Task", why: str, msg: str) -> None:
        if task.verdict is None:
            task.verdict, task.msg = why, msg

    def recall(self) -> None:
        """Ask prefetched tasks back: what runs takes long. In reverse, so that they are queued again in order."""
        if len(self.sent) > 1:
            for task in list(self.sent)[:0:-1]:
                if not task.recalled:
                    task.recalled = True
                    self.signal(task, "D")

    def close_session(self) -> None:
        """Let an idle slot end its session."""
        self.session, self.session_memory = None, 0
        self.write(b"Q\n")

    def read(self) -> "List[bytes]":
        """The reports that have arrived; `alive` turns False at EOF."""
        try:
            data = os.read(self.report_fd, 1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.alive = False
            return []
        if self.inbox:
            data = self.inbox + data
        lines = data.split(b"\n")
        self.inbox = lines.pop()
        return lines

    def close(self) -> None:
        """Close the pipes; a slot that still lives takes that for the death of its supervisor."""
        for fd in (self.task_fd, self.report_fd, self.kill_fd):
            os.close(fd)
