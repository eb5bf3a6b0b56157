"""The slot process: executes one task at a time and reports each on a line.

fd 0: what to do (`C` configuration, `T` template, `R seq pair task` run, `Q` close the session); EOF: finish. fd 1:
reports (`E seq out err wall killed oom record` ended, `D seq` dropped before it started, `H` ready, `A` and `B` begin
and end of making an image ready, which is not the task's time, `X commands` what to run if this slot is killed). fd 3:
`seq T|K|D`, from the supervisor at any time: terminate or kill what runs, drop what does not run yet. EOF there means
that the supervisor is dead: everything the slot started dies too. The pipe raises SIGIO, so that the slot may otherwise
block in waiting for its task, which is the cheapest way to wait.
"""

import fcntl
import json
import os
import signal
import time

from .. import proc
from ..environment import compose
from ..leaf import open_leaf
from ..outcome import Outcome, Verdict, end_record
from ..spawn import explain, find_program, start
from .files import MB, Files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Optional, Set

    from .containers import Containers
    from .session import Session

KILL_FD = 3
SIGNALS = {b"T": signal.SIGTERM, b"K": signal.SIGKILL}


class Slot(Files):
    """One slot: its files, its cgroup leaf, its session if it keeps one, its containers."""

    def __init__(self, config: "Dict[str, Any]") -> None:
        Files.__init__(self, config)
        self.config = config
        self.env = self.environment(False)
        self.base = self.env  # what the task at hand has before its own; it is another for one that starts ranks
        self.max_result = int(config["max_result_bytes"])
        self.null = os.open(os.devnull, os.O_RDWR)
        self.templates: "Dict[str, Dict[str, Any]]" = {}
        self.envs: "Dict[str, Dict[str, str]]" = {}
        self.leaf = open_leaf(config.get("leaf"))
        self.session: "Optional[Session]" = None
        self.containers: "Optional[Containers]" = None
        self.kept: "Set[int]" = set()  # children that outlive tasks: they serve mounts
        self.ending = False  # what runs ends a container, and is itself not to be ended
        self.current = 0  # seq of the task that runs or ran last; higher ones have not started
        self.busy = False
        self.killed = 0  # the signal that the supervisor asked for
        self.child = 0
        self.dropped: "Set[int]" = set()
        self.acks: "List[bytes]" = []
        self.sending = False

    def environment(self, launches: bool) -> "Dict[str, str]":
        """That of tasks, and of what serves them; `launches`: of tasks that start ranks."""
        return compose(os.environ, self.config.get("environment") or {}, self.config["env"], launches)

    # -- what the supervisor says

    def on_kill(self, signum: int, frame: "Any") -> None:
        """SIGIO: lines on the kill pipe. Runs between any two steps of the main program."""
        while True:
            try:
                data = os.read(KILL_FD, 65536)
            except BlockingIOError:
                return
            if not data:
                self.die()
            for line in data.splitlines():
                word, _, how = line.partition(b" ")
                self.on_kill_line(int(word), how)

    def on_kill_line(self, seq: int, how: bytes) -> None:
        """Terminate, kill or drop one task. One that has ended is past killing: its report is on its way."""
        if seq > self.current:
            if seq not in self.dropped:
                self.dropped.add(seq)
                self.acks.append(b"D %d\n" % seq)
                if not self.sending:
                    self.flush_acks()
        elif seq == self.current and self.busy and how in SIGNALS:
            self.killed = SIGNALS[how]
            self.strike()

    def strike(self) -> None:
        """Signal everything below this slot. Those that fork meanwhile are met again by the sweep after the task."""
        if self.ending:
            return
        if self.child:
            try:
                os.killpg(self.child, self.killed)
            except OSError:
                pass
        below = proc.descendants(os.getpid(), proc.processes())
        proc.signal_all([pid for pid in below if pid not in self.kept], self.killed)

    def die(self) -> None:
        """The supervisor is gone: leave nothing behind and exit."""
        proc.kill_descendants(timeout_s=60.0)
        from ..removal import remove

        if self.containers:
            self.containers.die()
            remove(self.containers.mount_folder)
        for paths in self.capture_paths:
            for path in paths:
                remove(path)
        os.chdir("/")
        remove(self.work)
        try:
            os.rmdir(os.path.dirname(self.capture_paths[0][0]))
        except OSError:
            pass  # other slots are not done yet
        self.leaf.leave()
        os._exit(1)

    def send(self, data: bytes) -> None:
        """Write a report whole; acknowledgements that come up meanwhile follow it."""
        self.sending = True
        while data:
            data = data[os.write(1, data) :]
        self.sending = False
        if self.acks:
            self.flush_acks()

    def flush_acks(self) -> None:
        """Write acknowledgements, each in one atomic write."""
        while self.acks:
            try:
                ack = self.acks.pop(0)
            except IndexError:
                return  # the signal handler was faster
            os.write(1, ack)

    # -- tasks

    def handle(self, line: bytes) -> None:
        """Obey one line of fd 0."""
        kind = line[:1]
        if kind == b"R":
            _, seq, pair, text = line.split(b" ", 3)
            self.run(int(seq), int(pair), text)
        elif kind == b"T":
            template = json.loads(line[2:].decode("utf-8"))
            self.templates[template["key"]] = template
            env = self.environment(True) if template.get("launches") else dict(self.env)
            env.update(template.get("env") or {})
            self.envs[template["key"]] = env
        elif kind == b"Q":
            self.close_session()

    def run(self, seq: int, pair: int, text: bytes) -> None:
        """Execute one task and report it."""
        self.killed = 0
        self.current = seq  # before the look at `dropped`: whatever comes later is a kill, not a drop
        if seq in self.dropped:
            self.dropped.discard(seq)
            return
        self.busy = True
        self.take_pair(pair)
        line = json.loads(text.decode("utf-8"))
        task = dict(self.templates[line["t"]])
        task.update(line)
        outcome = Outcome()
        t0, m0 = time.time(), time.monotonic()
        try:
            if "container" in task or "steps" in task:
                from .containers import make_ready

                make_ready(self, task)
                t0, m0 = time.time(), time.monotonic()
            self.leaf.begin(int((task.get("memory_mb") or 0) * MB))
            self.perform(task, pair, outcome)
        except Verdict as verdict:
            outcome.why, outcome.msg = verdict.why, verdict.msg
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            outcome.why, outcome.msg = "inputs", "the task makes no sense: %r" % error
        self.busy = False
        wall = time.monotonic() - m0
        self.account(outcome)
        out, err = self.sizes(pair)
        tail = self.tail(pair, err) if (err and (self.killed or outcome.failed)) else None
        record = end_record(task["id"], task.get("n", 1), t0, time.time(), wall, outcome, tail)
        self.send(
            b"E %d %d %d %.6f %d %d %s\n" % (seq, out, err, wall, self.killed, getattr(self.leaf, "kills", -1), record)
        )
        if self.work_ok:
            self.clean()

    def perform(self, task: "Dict[str, Any]", pair: int, outcome: Outcome) -> None:
        """Stage in, execute, stage out; where the task keeps a work folder across its attempts, there."""
        if not self.work_ok:
            self.clean()
        if not task.get("work"):
            self.perform_here(task, pair, outcome)
            return
        from .kept import count_progress, enter, leave

        home = self.work
        enter(self, task)
        finished = False
        try:
            self.perform_here(task, pair, outcome)
            finished = outcome.exit == 0 and outcome.why is None and not self.killed
        finally:
            leave(self, home, task, finished)
            if task.get("progress"):
                outcome.progress = count_progress(task["progress"], self.captures[pair])

    def perform_here(self, task: "Dict[str, Any]", pair: int, outcome: Outcome) -> None:
        """Stage in, execute and stage out in the current work folder."""
        if task.get("inputs") or task.get("folders"):
            from ..staging import make_folders, place_inputs

            make_folders(self.work, task.get("folders") or ())
            place_inputs(self.work, task.get("inputs") or (), task.get("root"))
        env = self.task_env(task)
        kind = task.get("session") or "none"
        if kind != "none":
            from .session import serve

            serve(self, task, env, pair, outcome)
        else:
            if self.session:
                self.close_session()
            out, err = self.captures[pair]
            if "steps" in task:
                from .steps import run_steps

                run_steps(self, task, env, pair, outcome)
            elif task.get("container") and self.containers:
                self.containers.execute(task["container"], task["argv"], env, (self.null, out, err), outcome)
            else:
                self.execute(task["argv"], env, self.null, out, err, outcome)
        if outcome.exit == 0 and outcome.why is None and not self.killed:
            if task.get("outputs"):
                from .outputs.take import take_outputs

                outcome.files = take_outputs(self.work, task)
            if task.get("result", "none") != "none":
                from .result import read_result

                outcome.result = read_result(self.captures[pair][0], task["result"], self.max_result)

    def task_env(self, task: "Dict[str, Any]") -> "Dict[str, str]":
        """The task's environment. The template's is reused, so that it is not rebuilt for each of its tasks."""
        env, template = self.envs[task["t"]], self.templates[task["t"]]
        self.base = self.environment(True) if task.get("launches") else self.env
        if task.get("env") is not template.get("env") or task.get("launches") is not template.get("launches"):
            env = dict(self.base)
            env.update(task.get("env") or {})
        env["PACKHORSE_TASK"] = str(task["id"])
        env["PACKHORSE_ATTEMPT"] = str(task.get("n", 1))
        env["PACKHORSE_CORES"] = "%g" % (task.get("cores") or 1)
        env["PACKHORSE_MEMORY_MB"] = "%d" % (task.get("memory_mb") or 0)
        return env

    def execute(
        self, argv: "List[str]", env: "Mapping[str, str]", stdin: int, stdout: int, stderr: int, outcome: Outcome
    ) -> None:
        """Run one program to its end, with everything it leaves behind, and add what it used."""
        try:
            self.child = start(find_program(argv[0], env), argv, env, stdin, stdout, stderr)
        except OSError as error:
            raise Verdict("spawn", explain(error, argv)) from None
        except (TypeError, ValueError, IndexError, UnicodeError) as error:
            raise Verdict("spawn", "not a command: %s" % error) from None
        if self.killed:  # it came while the program was being started
            self.strike()
        pid = self.child
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        read, written = proc.io_of(pid)  # the zombie still knows
        self.child = 0  # from here its number may be somebody else's
        _, status, usage = os.wait4(pid, 0)
        outcome.died(status)
        outcome.cpu += usage.ru_utime + usage.ru_stime
        outcome.peak = max(outcome.peak, usage.ru_maxrss * 1024)
        outcome.rd += read
        outcome.wr += written
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return  # nobody is left, as nearly always
        self.sweep(outcome)

    def sweep(self, outcome: Outcome) -> None:
        """End what a program has left behind, and add what that used.

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
        if left:
            proc.kill_descendants(spare=self.kept, timeout_s=60.0)

    def account(self, outcome: Outcome) -> None:
        """Add what the cgroup knows.

        A kill for memory inside a task that exits 0 still lost something: it is a failure.
        """
        peak, out_of_memory = self.leaf.end(self.session is not None)
        if self.leaf.resets_peak:
            # A child's ru_maxrss starts at its parent's: below the slot's own size it means nothing, the cgroup's does.
            outcome.peak = max(peak, outcome.peak if outcome.peak > 2 * self.own_rss() else 0)
        if out_of_memory:
            outcome.why, outcome.msg = "memory", "the kernel killed a process of the task at its memory limit"
            if self.session and self.session.container:
                self.close_session()  # it may lack a part now

    def own_rss(self) -> int:
        """The slot's own high-water mark in bytes."""
        if not hasattr(self, "_own_rss"):
            import resource

            self._own_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return self._own_rss

    def close_session(self) -> None:
        """End the session, if there is one."""
        if self.session:
            self.session.close()
            self.session = None


def lines_of(fd: int) -> "Any":
    """Lines (without newline) as they arrive, until EOF."""
    buffer = b""
    while True:
        data = os.read(fd, 1 << 20)
        if not data:
            return
        buffer += data
        lines = buffer.split(b"\n")
        buffer = lines.pop()
        yield from lines


def main() -> int:
    """Serve until fd 0 ends."""
    for name in os.listdir("/proc/self/fd"):
        try:
            os.set_inheritable(int(name), False)  # whatever the batch system left open is none of a task's business
        except OSError:
            pass
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # sent to the whole job; the supervisor decides what they mean
    proc.become_subreaper()
    lines = lines_of(0)
    slot = Slot(json.loads(next(lines)[2:].decode("utf-8")))
    os.set_blocking(KILL_FD, False)
    signal.signal(signal.SIGIO, slot.on_kill)
    fcntl.fcntl(KILL_FD, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(KILL_FD, fcntl.F_SETFL, fcntl.fcntl(KILL_FD, fcntl.F_GETFL) | os.O_ASYNC)
    slot.on_kill(0, None)  # what came before the signal could
    slot.send(b"H\n")
    for line in lines:
        slot.handle(line)
    slot.close_session()
    if slot.containers:
        slot.containers.close()
    return 0
