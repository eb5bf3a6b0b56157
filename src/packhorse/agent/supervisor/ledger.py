"""What this agent answers for: the tasks that it has claimed, and the journal and the log in which their ends are."""

import time

from ..journal import Appender, Journal, complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set

    from .spool import Spool
    from .task import Key, Task

LOG_RETRY_S = 0.5


class Ledger:
    """`live` are tasks that were claimed and have not ended, `canceled` those whose cancel came before they did."""

    def __init__(self, spool: "Spool", max_log_bytes: int) -> None:
        self.journal = Journal(spool.path("journal", spool.agent + ".jsonl"))
        self.log = Appender(spool.path("log", spool.agent + ".log"))
        self.max_log_bytes = max_log_bytes
        self.log_retry_at = -60.0
        self.live: "Dict[Key, Task]" = {}
        self.canceled: "Set[Key]" = set()

    def takes(self, now: float) -> bool:
        """Whether both files can be written, as far as is known."""
        return self.journal.healthy and not self.log_refuses(now)

    def log_refused(self, error: OSError) -> None:
        """The disk takes no output: claim nothing and try again later."""
        if time.monotonic() > self.log_retry_at + 10 * LOG_RETRY_S:  # not said a moment ago
            complain("the log cannot be written: %s" % error)
        self.log_retry_at = time.monotonic() + LOG_RETRY_S

    def log_refuses(self, now: float) -> bool:
        """Whether the log refused a moment ago."""
        return now < self.log_retry_at

    def give_back(self, tasks: "List[Task]", why: str) -> None:
        """Return tasks that were never started."""
        if tasks:
            self.journal.add({"k": "back", "tasks": [list(task.key) for task in tasks], "why": why})
            for task in tasks:
                self.live.pop(task.key, None)

    def end_without_slot(self, task: "Task", why: str, msg: "Optional[str]", now: float) -> float:
        """The `end` of a task that never started, or whose slot died under it; returns how long it ran (s)."""
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
        self.journal.add(record)
        self.live.pop(task.key, None)
        return wall

    def close(self) -> None:
        """Write what is left, and wait until it is on the disk. job.out gets what the journal does not take."""
        patience = time.monotonic() + 60.0
        while not self.journal.flush() and time.monotonic() < patience:
            time.sleep(0.5)
        if not self.journal.healthy:  # job.out may be on another disk
            records = b"\n".join(self.journal.buffer).decode("ascii")
            complain("the journal could not be written (%s); its end:\n%s" % (self.journal.error, records))
        self.journal.file.sync()
        self.log.sync()
