"""The supervisor: one loop over the parts of a node. It claims blocks, keeps slots busy, and journals what happens."""

import os
import select
import signal
import time

from .. import PROTOCOL, proc
from ..journal import complain, sync_forever
from ..processes import become_subreaper, kill_descendants, reap
from .dispatch import fill, has_room, nap_s, prefetch
from .losses import on_slot_death
from .memory import MemoryWatch
from .node import LOOK_S, Node
from .orders import begin_drain, end_drain, read_control
from .reports import complete_unfinished, on_report
from .scratch import remove_all
from .task import MB
from .watch import watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

    from .slotprocess import SlotProcess

TICK_S = 0.1
FAST_TICK_S = 0.02
YOUNG_S = 0.15  # a task that is younger is looked at more often
CONTROL_S = 0.25
END_S = 15.0  # for containers to be taken down


class Supervisor:
    """The loop. It ends when nothing is left to wait for, or the node's drain is over."""

    def __init__(self, root: str, first: "Optional[SlotProcess]" = None) -> None:
        self.node = Node(root, first)
        self.memory = MemoryWatch(self.node.cgroups)
        self.control_at = 0.0
        self.beat_at = 0.0
        self.idle_since = self.node.started

    def run(self) -> str:
        """Work until there is no reason to go on; returns that reason."""
        node, journal = self.node, self.node.ledger.journal
        self.begin()
        tick_at = 0.0
        while True:
            now = time.monotonic()
            if now >= tick_at:
                self.tick(now)
                tick_at = now + self.tick_s(now)
            if node.refill:
                fill(node, now)
            if (
                now >= journal.flush_at or not node.ledger.live and journal.healthy
            ):  # nothing is left that would add to it soon
                journal.flush()
            reason = self.reason_to_stop(now)
            if reason:
                return reason
            pause = nap_s(node)
            if pause:
                time.sleep(pause)
            wake_at = min(tick_at, journal.flush_at)
            for fd, _ in node.slots.poll.poll(max(0.0, (wake_at - time.monotonic()) * 1000)):
                self.on_event(fd)

    def begin(self) -> None:
        """Write the first record, and begin to sync what is written."""
        node = self.node
        node.ledger.journal.add(
            {
                "k": "agent",
                "v": PROTOCOL,
                "agent": node.name,
                "host": os.uname().nodename,
                "pid": os.getpid(),
                "cores": node.resources.cores,
                "memory_mb": node.resources.memory // MB,
                "limits": node.cgroups.limits,
                "processor": proc.processor(),
                "t": round(time.time(), 3),
            }
        )
        sync_forever([node.ledger.journal.file, node.ledger.log])

    def tick_s(self, now: float) -> float:
        """How fine the clock must be: for tasks that are young, or for the next look where there is room for more."""
        node = self.node
        if any(now - slot.sent[0].started < YOUNG_S for slot in node.slots.busy()):
            return FAST_TICK_S
        if not has_room(node, now):
            return TICK_S
        return min(TICK_S, max(LOOK_S[0], node.look_at - now))

    def tick(self, now: float) -> None:
        """What has to be done now and then."""
        node = self.node
        if now >= self.control_at:
            self.control_at = now + CONTROL_S
            read_control(node, now)
        if now >= self.beat_at:
            self.beat_at = now + float(node.allocation["beat_s"])
            node.spool.beat()
        why = node.drain.must_begin(now)
        if why:
            begin_drain(node, why, now)
        self.memory.look(watch(node, now), now)
        node.cleanup.poll(now)
        if node.drain.must_terminate(now):
            end_drain(node, now)
        for slot in node.slots.all():
            if slot.unfinished:
                complete_unfinished(node, slot, now)
        if now >= node.look_at:
            node.refill = True

    def on_event(self, fd: int) -> None:
        """Something arrived: a slot's reports, its end, or room in its pipe."""
        slots = self.node.slots
        slot = slots.by_fd.get(fd)
        if slot is None:
            if fd in slots.writers:
                slots.flush(slots.writers[fd])
            else:
                drain_wakeups(fd)
            return
        now = time.monotonic()
        for line in slot.read():
            on_report(self.node, slot, line, now)
        if not slot.alive:
            on_slot_death(self.node, slot, now)
        elif slot.sent:
            prefetch(self.node, slot, now)

    def reason_to_stop(self, now: float) -> str:
        """Why there is nothing left to wait for, or an empty string."""
        node = self.node
        if node.ledger.live:
            self.idle_since = now
            return ""
        if node.drain.why:
            return node.drain.why
        if node.drain.closed:
            return "closed"
        if now - self.idle_since <= float(node.allocation["linger_s"]):
            return ""
        node.look_at = 0.0  # a last look, for what came since the one before
        fill(node, now)
        return "" if node.ledger.live else "idle"

    # -- stopping

    def on_signal(self, signum: int, frame: "Any") -> None:
        """SIGTERM or SIGINT: drain; again: at once."""
        self.node.drain.signals += 1

    def stop(self, why: str) -> None:
        """Write the last record and leave nothing behind."""
        node = self.node
        node.ledger.journal.add(
            {
                "k": "stop",
                "why": why,
                "t": round(time.time(), 3),
                "wall": round(time.monotonic() - node.started, 3),
                "busy_core_s": round(node.durations.busy_core_s, 3),
            }
        )
        node.ledger.close()
        self.end_slots()

    def end_slots(self) -> None:
        """Let slots end, or make them; remove their folders, files and cgroups."""
        node = self.node
        node.slots.close_unused()
        slots = node.slots.all()
        for slot in slots:
            os.close(slot.task_fd)
        patience = time.monotonic() + (END_S if any(slot.cleanup for slot in slots) else 2.0)
        while proc.children_of(os.getpid()) and time.monotonic() < patience:
            node.cleanup.poll(time.monotonic())
            reap(spare=[node.cleanup.pid])
            time.sleep(0.002)
        kill_descendants()
        for slot in slots:
            for line in slot.read():
                if line.startswith(b"X"):
                    on_report(node, slot, line, 0.0)
            node.cleanup.add(slot.cleanup)
        node.cleanup.finish(END_S)
        node.cgroups.close()
        remove_all(node.scratch, node.spool.path("work"), node.name + ".")


def drain_wakeups(fd: int) -> None:
    """Signals wake the poll through a pipe; their handlers have done the rest."""
    try:
        os.read(fd, 512)
    except OSError:
        pass


def main(root: str, first: "Optional[SlotProcess]" = None) -> int:
    """Supervise one node's share of the allocation whose spool is `root`; `first` is a slot that has been started."""
    become_subreaper()
    supervisor = Supervisor(root, first)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    supervisor.node.slots.poll.register(wake_read, select.POLLIN)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, supervisor.on_signal)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        why = supervisor.run()
    except BaseException:
        import traceback

        complain(traceback.format_exc())
        supervisor.node.ledger.journal.flush()
        kill_descendants()
        supervisor.end_slots()
        return 1
    supervisor.stop(why)
    return 0
