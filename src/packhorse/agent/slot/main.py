"""The slot process: executes one task at a time and reports each on a line.

fd 0: what to do (`C` configuration, `T` template, `R seq pair task` run, `Q` close the session); EOF: finish. fd 1:
reports (`E seq out err wall killed oom record` ended, `D seq` dropped before it started, `H` ready, `A` and `B` begin
and end of making an image ready, which is not the task's time, `X commands` what to run if this slot is killed). `out`
and `err` are sizes of capture files; a short answer of a worker is in none, and `out` is then `=` and its base64. fd 3:
`seq T|K|D`, from the supervisor at any time: terminate or kill what runs, drop what does not run yet. EOF there means
that the supervisor is dead: everything the slot started dies too. The pipe raises SIGIO, so that the slot may otherwise
block in waiting for its task, which is the cheapest way to wait.
"""

import fcntl
import json
import os
import signal
import time

from ..outcome import Outcome, Verdict, end_record
from ..processes import become_subreaper, kill_descendants
from .context import Context
from .files import MB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Set

    from .containers import Containers
    from .session import Session
    from .sessions import Sessions

KILL_FD = 3
SIGNALS = {b"T": signal.SIGTERM, b"K": signal.SIGKILL}


class Slot(Context):
    """One slot: what its parts share, its templates, its session if it keeps one, its containers."""

    def __init__(self, config: "Dict[str, Any]") -> None:
        Context.__init__(self, config)
        self.max_result = int(config["max_result_bytes"])
        self.templates: "Dict[str, Dict[str, Any]]" = {}
        self.envs: "Dict[str, Dict[str, str]]" = {}
        self.sessions: "Optional[Sessions]" = None
        self.containers: "Optional[Containers]" = None
        self.current = 0  # seq of the task that runs or ran last; higher ones have not started
        self.busy = False
        self.dropped: "Set[int]" = set()

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
                self.reporter.acknowledge(b"D %d\n" % seq)
        elif seq == self.current and self.busy and how in SIGNALS:
            self.programs.signal(SIGNALS[how])

    def die(self) -> None:
        """The supervisor is gone: leave nothing behind and exit."""
        kill_descendants(timeout_s=60.0)
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
        self.programs.signaled = 0
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
                self.prepare(task)
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
        signaled = self.programs.signaled
        tail = self.tail(pair, err) if (err and (signaled or outcome.failed)) else None
        record = end_record(task["id"], task.get("n", 1), t0, time.time(), wall, outcome, tail)
        kills = getattr(self.leaf, "kills", -1)
        printed = b"%d" % out
        if outcome.printed:
            from binascii import b2a_base64

            printed = b"=" + b2a_base64(outcome.printed, newline=False)
        self.reporter.send(b"E %d %s %d %.6f %d %d %s\n" % (seq, printed, err, wall, signaled, kills, record))
        if self.work_ok:
            self.clean()

    def prepare(self, task: "Dict[str, Any]") -> None:
        """Make the images of a task ready on this node; Verdict `image` if that fails."""
        from .containers import Containers, containers_of

        wanted = containers_of(task)
        if wanted:
            if self.containers is None:
                self.containers = Containers(self, self.config)
            self.containers.prepare(wanted, task.get("binds") or ())

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
            finished = outcome.exit == 0 and outcome.why is None and not self.programs.signaled
        finally:
            leave(self, home, task, finished)
            if task.get("progress"):
                outcome.progress = count_progress(task["progress"], self.captures[pair])

    def perform_here(self, task: "Dict[str, Any]", pair: int, outcome: Outcome) -> None:
        """The same in the current work folder, with what the task is given that is gone afterwards."""
        self.secret_env = {}
        if not (task.get("secrets") or task.get("shared")):
            self.execute(task, pair, outcome)
            return
        from .given import give, take_back

        try:
            self.secret_env = give(self.work, task)
            self.execute(task, pair, outcome)
        finally:
            self.secret_env = {}
            take_back(self.work, task)

    def execute(self, task: "Dict[str, Any]", pair: int, outcome: Outcome) -> None:
        """Stage in, execute and stage out."""
        if task.get("inputs") or task.get("folders"):
            from ..staging import make_folders, place_inputs

            make_folders(self.work, task.get("folders") or ())
            place_inputs(self.work, task.get("inputs") or (), task.get("root"))
        env = self.task_env(task)
        if self.secret_env and not task.get("container"):
            env = dict(env, **self.secret_env)
        kind = task.get("session") or "none"
        if kind != "none":
            if self.sessions is None:
                from .sessions import Sessions

                self.sessions = Sessions(self)
            self.sessions.serve(task, env, pair, outcome, self.containers)
        else:
            if self.sessions:
                self.sessions.close()
            out, err = self.captures[pair]
            if "steps" in task:
                from .steps import run_steps

                run_steps(self, self.containers, task, env, pair, outcome)
            elif task.get("container") and self.containers:
                self.containers.execute(task["container"], task["argv"], env, (self.null, out, err), outcome)
            else:
                self.programs.run(task["argv"], env, self.null, out, err, outcome)
        if task.get("result_file") and not self.programs.signaled:
            from .result import read_result_file

            most = int(task.get("max_result_bytes", self.max_result))
            outcome.result = read_result_file(self.work, task["result_file"], most, ended_well=outcome.exit == 0)
        if task.get("secrets"):
            from .given import take_back_files

            take_back_files(self.work, task)
        if outcome.exit == 0 and outcome.why is None and not self.programs.signaled:
            if task.get("outputs"):
                from .outputs.take import take_outputs

                outcome.files = take_outputs(self.work, task)
            if task.get("result", "none") != "none" and not task.get("result_file"):
                from .result import read_result, take_result

                most = int(task.get("max_result_bytes", self.max_result))
                if outcome.printed is None:
                    outcome.result = read_result(self.captures[pair][0], task["result"], most)
                else:
                    outcome.result = take_result(outcome.printed, task["result"], most)

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

    def account(self, outcome: Outcome) -> None:
        """Add what the cgroup knows.

        A kill for memory inside a task that exits 0 still lost something: it is a failure.
        """
        session = self.session
        peak, out_of_memory = self.leaf.end(session is not None)
        if self.leaf.resets_peak:
            # A child's ru_maxrss starts at its parent's: below the slot's own size it means nothing, the cgroup's does.
            outcome.peak = max(peak, outcome.peak if outcome.peak > 2 * self.own_rss() else 0)
        if out_of_memory:
            outcome.why, outcome.msg = "memory", "the kernel killed a process of the task at its memory limit"
            if session and session.container:
                self.close_session()  # it may lack a part now

    def own_rss(self) -> int:
        """The slot's own high-water mark in bytes."""
        if not hasattr(self, "_own_rss"):
            import resource

            self._own_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return self._own_rss

    @property
    def session(self) -> "Optional[Session]":
        """The session that is open, if one is."""
        return self.sessions.current if self.sessions else None

    def close_session(self) -> None:
        """End the session, if there is one."""
        if self.sessions:
            self.sessions.close()


def lines_of(fd: int) -> "Any":
    """Lines (without newline) as they arrive, until EOF."""
    buffer = b""
    while True:
        data = os.read(fd, 1 << 16)  # a pipe holds no more
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
    become_subreaper()
    lines = lines_of(0)
    configuration = next(lines, None)
    if configuration is None:
        return 0  # no task wanted this slot
    slot = Slot(json.loads(configuration[2:].decode("utf-8")))
    os.set_blocking(KILL_FD, False)
    signal.signal(signal.SIGIO, slot.on_kill)
    fcntl.fcntl(KILL_FD, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(KILL_FD, fcntl.F_SETFL, fcntl.fcntl(KILL_FD, fcntl.F_GETFL) | os.O_ASYNC)
    slot.on_kill(0, None)  # what came before the signal could
    slot.reporter.send(b"H\n")
    for line in lines:
        slot.handle(line)
    slot.close_session()
    if slot.containers:
        slot.containers.close()
    return 0
