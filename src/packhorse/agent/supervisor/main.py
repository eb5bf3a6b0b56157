"""The supervisor: one loop that claims blocks, keeps the node full, and journals what happens."""

import collections
import os
import select
import signal
import socket
import time

from .. import PROTOCOL, proc
from ..journal import Appender, Journal, complain, sync_forever
from ..processes import become_subreaper, kill_descendants, reap
from .cgroup import Cgroups, node_cores, node_memory
from .dispatch import has_room, nap_s, prefetch, start_tasks
from .ends import Ends
from .intake import LOOK_S, claim, give_back
from .orders import drain, read_control
from .reports import complete, end_without_slot, lost, on_report
from .scratch import make_scratch, remove_all
from .slots import SlotHandle
from .spool import Spool
from .task import MB
from .watch import condemn, watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Deque, Dict, List, Set

    from .task import Key, Task

TICK_S = 0.1
FAST_TICK_S = 0.02
CONTROL_S = 0.25
LOG_RETRY_S = 0.5
MAX_FAILED_STARTS = 3
END_S = 15.0  # for containers to be taken down


class Agent:
    """Everything the supervisor knows. Times are monotonic seconds unless they go into a record."""

    def __init__(self, root: str) -> None:
        self.started = time.monotonic()
        self.name = agent_name()
        self.spool = Spool(root, self.name)
        self.allocation = self.spool.allocation()
        self.spool.make_folders()
        self.journal = Journal(self.spool.path("journal", self.name + ".jsonl"))
        self.log = Appender(self.spool.path("log", self.name + ".log"))
        self.log_retry_at = -60.0
        self.cgroups = Cgroups(self.name, os.environ.get("PACKHORSE_LIMITS", ""))
        self.scratch = make_scratch(self.allocation["scratch"], self.name)
        self.cores = float(self.allocation["cores"] or node_cores())
        self.memory = int((self.allocation["memory_mb"] or 0) * MB) or node_memory()
        self.kill_grace_s = float(self.allocation["kill_grace_s"])
        self.max_log_bytes = int(self.allocation["max_log_bytes"])
        self.free_cores, self.free_memory = self.cores, self.memory
        self.queue: "Deque[Task]" = collections.deque()
        self.live: "Dict[Key, Task]" = {}  # claimed and not ended
        self.canceled: "Set[Key]" = set()  # not seen yet
        self.slots: "Dict[int, SlotHandle]" = {}  # by the descriptor of their reports
        self.writers: "Dict[int, SlotHandle]" = {}  # with full pipes, by the descriptor they are written to
        self.idle: "List[SlotHandle]" = []
        self.slots_made = 0
        self.ends = Ends()
        self.failed_starts = 0
        self.seq = 0
        self.means: "Dict[str, float]" = {}  # seconds, by template
        self.busy_core_s = 0.0
        self.oom_look_at = self.sample_at = 0.0
        self.look_at, self.look_s = 0.0, LOOK_S[0]
        self.control_at = 0.0
        self.beat_at = 0.0
        self.idle_since = self.started
        self.draining = ""  # why, once it does
        self.closed = False
        self.end_at = float("inf")  # when a drain ends what still runs
        walltime = self.allocation["walltime_s"]
        self.drain_at = (
            None if walltime is None else self.started + max(0.0, float(walltime) - float(self.allocation["grace_s"]))
        )
        self.signals = 0
        self.poll = select.poll()
        self.refill = True  # resources or tasks have changed

    # -- the loop

    def run(self) -> str:
        """Work until there is no reason to go on; returns that reason."""
        self.journal.add(
            {
                "k": "agent",
                "v": PROTOCOL,
                "agent": self.name,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "cores": self.cores,
                "memory_mb": self.memory // MB,
                "limits": self.cgroups.limits,
                "t": round(time.time(), 3),
            }
        )
        sync_forever([self.journal.file, self.log])
        tick_at = 0.0
        while True:
            now = time.monotonic()
            if now >= tick_at:
                self.tick(now)
                tick_at = now + self.tick_s(now)
            if self.refill:
                self.fill(now)
            if (
                now >= self.journal.flush_at or not self.live and self.journal.healthy
            ):  # nothing is left that would add to it soon
                self.journal.flush()
            reason = self.reason_to_stop(now)
            if reason:
                return reason
            pause = nap_s(self)
            if pause:
                time.sleep(pause)
            wake_at = min(tick_at, self.journal.flush_at)
            for fd, events in self.poll.poll(max(0.0, (wake_at - time.monotonic()) * 1000)):
                self.on_event(fd, events)

    def tick_s(self, now: float) -> float:
        """How fine the clock must be: for tasks that are young, or for the next look when there are none."""
        if not self.live:
            return min(TICK_S, self.look_s)
        young = any(slot.sent and now - slot.sent[0].started < 0.15 for slot in self.slots.values())
        return FAST_TICK_S if young else TICK_S

    def tick(self, now: float) -> None:
        """What has to be done now and then."""
        if now >= self.control_at:
            self.control_at = now + CONTROL_S
            read_control(self, now)
        if now >= self.beat_at:
            self.beat_at = now + float(self.allocation["beat_s"])
            self.spool.beat()
        if self.signals and not self.draining:
            drain(self, "signal", now + float(self.allocation.get("signal_grace_s", self.allocation["grace_s"])))
        if self.drain_at is not None and now >= self.drain_at and not self.draining:
            drain(self, "walltime", self.started + float(self.allocation["walltime_s"]))
        watch(self, now)
        self.ends.poll(now)
        if self.draining and now >= self.end_at - self.kill_grace_s or self.signals > 1:
            for slot in self.slots.values():
                if slot.sent and not slot.sent[0].kill_at:
                    condemn(self, slot, slot.sent[0], "drained", "the agent had to stop (%s)" % self.draining, now)
        for slot in list(self.slots.values()):
            if slot.unfinished:
                self.finish_waiting(slot, now)
        if now >= self.look_at:
            self.refill = True

    def on_event(self, fd: int, events: int) -> None:
        """Something arrived: a slot's reports, its end, or room in its pipe."""
        slot = self.slots.get(fd)
        if slot is None:
            if fd in self.writers:
                self.flush(self.writers[fd])
            else:
                drain_wakeups(fd)
            return
        now = time.monotonic()
        for line in slot.read():
            on_report(self, slot, line, now)
        if not slot.alive:
            self.bury(slot, now)
        elif slot.sent:
            prefetch(self, slot, now)

    def flush(self, slot: SlotHandle) -> None:
        """Send a slot what waits for it; what its pipe does not take goes when there is room."""
        if slot.flush():
            if self.writers.pop(slot.task_fd, None):
                self.poll.unregister(slot.task_fd)
        elif slot.task_fd not in self.writers:
            self.writers[slot.task_fd] = slot
            self.poll.register(slot.task_fd, select.POLLOUT)

    def reason_to_stop(self, now: float) -> str:
        """Why there is nothing left to wait for, or an empty string."""
        if self.live:
            self.idle_since = now
            return ""
        if self.draining:
            return self.draining
        if self.closed:
            return "closed"
        if now - self.idle_since <= float(self.allocation["linger_s"]):
            return ""
        self.look_at = 0.0  # a last look, for what came since the one before
        self.fill(now)
        return "" if self.live else "idle"

    # -- claiming

    def fill(self, now: float) -> None:
        """Start what fits; claim more if that leaves room."""
        self.refill = False
        while not self.draining:
            started = start_tasks(self, now)
            for slot in started:  # only now: a task that can run at once should not wait behind another
                prefetch(self, slot, now)
            if not has_room(self, now) or not claim(self, now):
                return

    # -- ending

    def ended(self, slot: SlotHandle, task: "Task", now: float) -> None:
        """A slot is done with a task: the next one of it inherits its grant, or the grant is free."""
        if slot.sent:
            return
        self.free_cores += task.cores
        self.free_memory += task.memory
        self.refill = True
        slot.session_memory = task.memory if task.session else 0
        if not slot.unfinished and slot.alive:
            self.idle.append(slot)

    def account(self, task: "Task", wall: float) -> None:
        """Learn how long tasks of a template take."""
        self.busy_core_s += wall * task.cores
        mean = self.means.get(task.template)
        self.means[task.template] = wall if mean is None else mean + 0.2 * (wall - mean)

    def finish_waiting(self, slot: SlotHandle, now: float) -> None:
        """Try again to write what the log refused."""
        if self.log_refuses(now):
            return
        while slot.unfinished:
            task, line = slot.unfinished[0]
            if not complete(self, slot, task, line, now):
                return
            slot.unfinished.popleft()
        if not slot.sent and slot.alive:
            self.idle.append(slot)
        self.refill = True

    def log_refused(self, error: OSError) -> None:
        """The disk takes no output: claim nothing and try again later."""
        if time.monotonic() > self.log_retry_at + 10 * LOG_RETRY_S:  # not said a moment ago
            complain("the log cannot be written: %s" % error)
        self.log_retry_at = time.monotonic() + LOG_RETRY_S

    def log_refuses(self, now: float) -> bool:
        """Whether the log refused a moment ago."""
        return now < self.log_retry_at

    def dropped(self, slot: SlotHandle, task: "Task") -> None:
        """A prefetched task came back unstarted."""
        if task.verdict:
            end_without_slot(self, task, task.verdict, task.msg, 0.0)
        else:
            self.requeue([task])
        if not slot.sent:
            self.ended(slot, task, time.monotonic())

    def requeue(self, tasks: "List[Task]") -> None:
        """Put tasks that have not started back in front, or give them back if the agent is about to stop."""
        if self.draining:
            give_back(self, tasks, "drain")
            return
        for task in reversed(tasks):
            task.seq, task.started = 0, 0.0
            self.queue.appendleft(task)
        self.refill = True

    def bury(self, slot: SlotHandle, now: float) -> None:
        """A slot process has died: end its tree, settle its tasks, and stop if slots cannot be started at all."""
        self.poll.unregister(slot.report_fd)
        if self.writers.pop(slot.task_fd, None):
            self.poll.unregister(slot.task_fd)
        del self.slots[slot.report_fd]
        if slot in self.idle:
            self.idle.remove(slot)
        if slot.sent:
            self.free_cores += slot.sent[0].cores
            self.free_memory += slot.sent[0].memory
        slot.close()
        kill_descendants(spare=[other.pid for other in self.slots.values()] + [self.ends.pid])
        self.ends.add(slot.owed)
        lost(self, slot, now)
        self.cgroups.remove(slot.leaf)
        self.refill = True
        if not slot.ready:
            self.failed_starts += 1
            if self.failed_starts >= MAX_FAILED_STARTS:
                raise RuntimeError("slot processes die before they are ready")

    # -- stopping

    def on_signal(self, signum: int, frame: "Any") -> None:
        """SIGTERM or SIGINT: drain; again: at once."""
        self.signals += 1

    def stop(self, why: str) -> None:
        """Write the last record and leave nothing behind."""
        self.journal.add(
            {
                "k": "stop",
                "why": why,
                "t": round(time.time(), 3),
                "wall": round(time.monotonic() - self.started, 3),
                "busy_core_s": round(self.busy_core_s, 3),
            }
        )
        patience = time.monotonic() + 60.0
        while not self.journal.flush() and time.monotonic() < patience:
            time.sleep(0.5)
        if not self.journal.healthy:  # job.out may be on another disk
            records = b"\n".join(self.journal.buffer).decode("ascii")
            complain("the journal could not be written (%s); its end:\n%s" % (self.journal.error, records))
        self.journal.file.sync()
        self.log.sync()
        self.end_slots()

    def end_slots(self) -> None:
        """Let slots end, or make them; remove their folders, files and cgroups."""
        for slot in self.slots.values():
            os.close(slot.task_fd)
        patience = time.monotonic() + (END_S if any(slot.owed for slot in self.slots.values()) else 2.0)
        while proc.children_of(os.getpid()) and time.monotonic() < patience:
            self.ends.poll(time.monotonic())
            reap(spare=[self.ends.pid])
            time.sleep(0.002)
        kill_descendants()
        for slot in self.slots.values():
            for line in slot.read():
                if line.startswith(b"X"):
                    on_report(self, slot, line, 0.0)
            self.ends.add(slot.owed)
        self.ends.finish(END_S)
        self.cgroups.close()
        remove_all(self.scratch, self.spool.path("work"), self.name + ".")


def drain_wakeups(fd: int) -> None:
    """Signals wake the poll through a pipe; their handlers have done the rest."""
    try:
        os.read(fd, 512)
    except OSError:
        pass


def agent_name() -> str:
    """The node's name, safe in a file name, and six random digits: an agent that is started again is another agent."""
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname() or "node"
    safe = "".join(c if c.isalnum() and ord(c) < 128 else "-" for c in node)
    return "%s-%s" % (safe[:40], "".join("%02x" % byte for byte in os.urandom(3)))


def main(root: str) -> int:
    """Supervise one node's share of the allocation whose spool is `root`."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    become_subreaper()
    agent = Agent(root)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    agent.poll.register(wake_read, select.POLLIN)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, agent.on_signal)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        why = agent.run()
    except BaseException:
        import traceback

        complain(traceback.format_exc())
        agent.journal.flush()
        kill_descendants()
        agent.end_slots()
        return 1
    agent.stop(why)
    return 0
