"""What executes, signals and sweeps processes, for slots, the supervisor and long work in the background.

Who calls this is a sub-reaper: what it has started, and whatever that started, stays below it until it is reaped.
"""

import os
import time

from . import proc
from .outcome import Outcome, Verdict
from .spawn import explain, find_program, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, List, Mapping, Set, Tuple

PR_SET_CHILD_SUBREAPER = 36
SWEEP_S = 60.0


def become_subreaper() -> bool:
    """Make orphaned descendants children of this process, so that a task's daemons cannot escape it."""
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def signal_all(pids: "Iterable[int]", signum: int) -> None:
    """Send a signal to each that still exists."""
    for pid in pids:
        try:
            os.kill(pid, signum)
        except OSError:
            pass


def kill_descendants(spare: "Iterable[int]" = (), timeout_s: float = 10.0, keep: "Iterable[int]" = ()) -> bool:
    """SIGKILL and reap everything below this (subreaper) process; False if some would not die in time.

    `spare` live on with all that is below them, `keep` alone. Repeats until a look finds nobody, because what is being
    killed may be forking.
    """
    spared, kept = set(spare), set(keep)
    pause, waited = 0.001, 0.0
    while True:
        reap(spared | kept)
        table = proc.processes()
        for pid in spared:
            table.pop(pid, None)
        left = [pid for pid in proc.descendants(os.getpid(), table) if pid not in kept]
        if not left:
            reap(spared | kept)  # a runtime takes a zombie for alive
            return True
        if waited > timeout_s:
            return False
        signal_all(left, 9)
        time.sleep(pause)
        waited += pause
        pause = min(0.05, pause * 2)


def reap(spare: "Iterable[int]" = ()) -> float:
    """Reap dead children except `spare`; returns the CPU seconds that they had used."""
    cpu = 0.0
    for pid in proc.children_of(os.getpid()):
        if pid not in spare:
            try:
                done, _, usage = os.wait4(pid, os.WNOHANG)
            except ChildProcessError:
                continue
            if done:
                cpu += usage.ru_utime + usage.ru_stime
    return cpu


class Programs:
    """The one program that this process runs at a time, with everything that it started."""

    def __init__(self) -> None:
        self.running = 0  # its process id, for as long as that is surely its own
        self.signaled = 0  # the signal that it is to have, or has had
        self.kept: "Set[int]" = set()  # children that outlive programs: they serve mounts
        self.shielded = False  # what runs ends a container, and is itself not to be ended

    def signal(self, signum: int) -> None:
        """Signal what runs; also what is being started just now. A signal handler may call this at any moment."""
        self.signaled = signum
        self.pass_on()

    def pass_on(self) -> None:
        """Signal everything below this process. Those that fork meanwhile are met again by the sweep."""
        if self.shielded:
            return
        if self.running:
            try:
                os.killpg(self.running, self.signaled)
            except OSError:
                pass
        below = proc.descendants(os.getpid(), proc.processes())
        signal_all([pid for pid in below if pid not in self.kept], self.signaled)

    def start(self, argv: "List[str]", env: "Mapping[str, str]", stdin: int, stdout: int, stderr: int) -> None:
        """Start a program; OSError says why it could not be."""
        self.running = start(find_program(argv[0], env), argv, env, stdin, stdout, stderr)
        if self.signaled:  # it came while the program was being started
            self.pass_on()

    def take(self, pid: int) -> None:
        """A process that lives already does the work: signals are for it, until `let_go`."""
        self.running = pid
        if self.signaled:
            self.pass_on()

    def let_go(self) -> None:
        """What runs is nobody's work any more."""
        self.running = 0

    def wait(self) -> "Tuple[int, Any, Tuple[int, int]]":
        """Wait for the program: (wait status, its usage as of wait4, bytes read and written)."""
        pid = self.running
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        io = proc.io_of(pid)  # the zombie still knows
        self.running = 0  # from here its number may be somebody else's
        _, status, usage = os.wait4(pid, 0)
        return status, usage, io

    def run(
        self, argv: "List[str]", env: "Mapping[str, str]", stdin: int, stdout: int, stderr: int, outcome: Outcome
    ) -> None:
        """Run one program to its end, with everything it leaves behind, and add what it used; Verdict `spawn`."""
        try:
            self.start(argv, env, stdin, stdout, stderr)
        except OSError as error:
            raise Verdict("spawn", explain(error, argv)) from None
        except (TypeError, ValueError, IndexError, UnicodeError) as error:
            raise Verdict("spawn", "not a command: %s" % error) from None
        status, usage, io = self.wait()
        outcome.died(status)
        outcome.cpu += usage.ru_utime + usage.ru_stime
        outcome.peak = max(outcome.peak, usage.ru_maxrss * 1024)
        outcome.rd += io[0]
        outcome.wr += io[1]
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return  # nobody is left, as nearly always
        if self.account_left(outcome):
            self.sweep()

    def account_left(self, outcome: Outcome) -> bool:
        """Add what used those that a program has left behind; False if there are none.

        Of Podman it is the process that waited for the container.
        """
        left = [pid for pid in proc.children_of(os.getpid()) if pid not in self.kept]
        for pid in left:
            try:
                outcome.cpu += proc.stat_of(pid)[2]
            except OSError:
                continue  # the kernel has reaped it
            read, written = proc.io_of(pid)
            outcome.rd += read
            outcome.wr += written
        return bool(left)

    def sweep(self, keep: "Iterable[int]" = ()) -> None:
        """End and reap what is below this process; `keep` live on, and what is kept with all that is below it."""
        kill_descendants(spare=self.kept, timeout_s=SWEEP_S, keep=keep)
