"""Background jobs: long work at a site that survives the engine and its connection. docs/spool.md says how they are
asked for and reported; the names of their files and of their first record are older than what they are called here.

One process in the background works through the steps of one folder. It holds a lock on the folder, and so does whatever
it starts: as long as anything of a killed background job lives, nobody else works there.
"""

import fcntl
import json
import os
import signal
import socket
import sys
import time

from .. import proc
from ..journal import Journal
from ..outcome import tail_text
from ..processes import become_subreaper, kill_descendants, signal_all
from ..removal import remove
from ..spawn import explain, find_program, start
from .diskusage import DiskUsage, free_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

TICK_S = (0.002, 0.1)  # first and last interval between looks
BEAT_S = 1.0
GRACE_S = 0.5  # between SIGTERM and SIGKILL
LAST_WORD_S = 300.0  # for the `end` to be written, where the disk is full
LEAST_FREE = 1 << 20
SAYS_FULL = (b"No space left on device", b"Disk quota exceeded")


class BackgroundJob:
    """A background job at work. Times are monotonic seconds unless they go into a record."""

    def __init__(self, wanted: "Dict[str, Any]") -> None:
        self.steps = list(wanted["steps"])
        self.tmp = str(wanted.get("tmp") or "")
        self.watch = str(wanted.get("watch") or "")
        self.least_free = max(LEAST_FREE, int(wanted.get("min_free_bytes") or 0))
        timeout_s = wanted.get("timeout_s")
        self.deadline = float("inf") if timeout_s is None else time.monotonic() + float(timeout_s)
        self.usage = DiskUsage(self.watch)
        self.beat_at = 0.0
        self.told_to_stop = False
        self.why: "Optional[str]" = None
        self.status: "Optional[int]" = None  # the wait status of the last step
        self.env = dict(os.environ)
        if self.tmp:
            self.env["TMPDIR"] = self.tmp
        self.null = os.open(os.devnull, os.O_RDWR)
        self.journal = open_journal("journal.jsonl")

    def run(self) -> None:
        """All steps, until one fails, and the last record."""
        index, begin = None, output_size()  # of the last step that began
        self.tell({"k": "errand", "pid": os.getpid(), "host": socket.gethostname()})
        try:
            if self.tmp:
                os.makedirs(self.tmp, exist_ok=True)
            for number, step in enumerate(self.steps):
                if self.is_over(TICK_S[0]):
                    break
                index, begin = number, output_size()
                self.tell({"k": "step", "i": index, "what": step.get("what")})
                self.perform(index, step)
                if self.why or self.status != 0:
                    break
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            say("the background job cannot be done: %r" % error)
            self.why = self.why or "spawn"
        self.end(index, begin)

    def perform(self, index: int, step: "Dict[str, Any]") -> None:
        """One step, in a process of its own."""
        if "fetch" in step:
            from .fetching import start_fetch

            pid, answer = start_fetch(step["fetch"], self.usage.count)
        else:
            argv, pid, answer = step["argv"], 0, -1
            env = dict(self.env, **(step.get("env") or {}))
            try:
                pid = start(find_program(argv[0], env), argv, env, self.null, 1, 2)
            except OSError as error:
                say(explain(error, argv))
                self.why = "spawn"
                return
        self.status = self.wait(pid)
        if answer >= 0:
            self.take_answer(index, answer)

    def take_answer(self, index: int, answer: int) -> None:
        """What a fetch says: what it fetched, or the kind of its failure."""
        with os.fdopen(answer, "rb") as file:
            said = json.loads(file.read().decode("utf-8") or "{}")
        if self.why is None and "failed" in said:
            self.why = said["failed"]
        elif self.status == 0:
            self.tell(dict({"k": "fetched", "i": index}, **said["fetched"]))

    def wait(self, pid: int) -> int:
        """The wait status of a step, after it and all that it started have ended."""
        pause = TICK_S[0]
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and not self.is_over(pause):
            time.sleep(pause)
            pause = min(TICK_S[1], pause * 1.5)
        if self.why:
            below = proc.descendants(os.getpid(), proc.processes())
            signal_all(below, signal.SIGTERM)
            give_up_at = time.monotonic() + GRACE_S
            while time.monotonic() < give_up_at and proc.descendants(os.getpid(), proc.processes()):
                time.sleep(0.02)
            signal_all([pid], signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        kill_descendants()
        return status

    def is_over(self, since_s: float) -> bool:
        """A tick, `since_s` after the last: beats, and whether the background job must stop."""
        now = time.monotonic()
        self.usage.look(now, since_s)
        if now >= self.beat_at:
            self.beat_at = now + BEAT_S
            self.tell({"k": "beat", "bytes": self.usage.bytes})
        self.journal.flush()
        if self.told_to_stop or os.path.lexists("stop"):
            self.why = "stopped"
        elif now > self.deadline:
            self.why = "timeout"
        return self.why is not None

    def end(self, index: "Optional[int]", begin: int) -> None:
        """Leave nothing behind, and say how it ended."""
        output = read_output(begin)
        failed = self.why not in ("stopped", "timeout") and (self.why or self.status not in (0, None))
        if failed and (self.is_full() or any(words in output for words in SAYS_FULL)):
            self.why = "disk"
        free = free_bytes(self.watch or ".")
        kill_descendants()
        remove("auth.json")
        if self.tmp:
            remove(self.tmp)
        code = sig = None
        if self.status is not None:
            sig = self.status & 0x7F or None
            code = None if sig else self.status >> 8
        elif not self.why:
            code = 0  # there were no steps
        self.tell(
            {
                "k": "end",
                "i": index,
                "exit": code,
                "sig": sig,
                "why": self.why,
                "tail": tail_text(output[-2049:]),
                "free": free,
            }
        )
        give_up_at = time.monotonic() + LAST_WORD_S
        while not self.journal.flush() and time.monotonic() < give_up_at:
            time.sleep(0.5)
        self.journal.file.sync()

    def is_full(self) -> bool:
        """Whether a disk that the background job writes to is."""
        return any(folder and free_bytes(folder) < self.least_free for folder in (self.watch, self.tmp))

    def tell(self, record: "Dict[str, Any]") -> None:
        """Add a record to the journal."""
        self.journal.add(dict(record, t=round(time.time(), 3)))
        self.journal.flush()

    def on_signal(self, signum: int, frame: "Any") -> None:
        """SIGTERM: somebody shuts the machine down."""
        self.told_to_stop = True


def main(folder: str) -> int:
    """Start the job of a folder in the background, unless one is at work there or has ended; returns at once."""
    try:
        os.chdir(folder)
        lock = os.open("lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        sys.stderr.write("packhorse agent: there is no background job: %s\n" % error)
        return 2
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 0
    if has_ended("journal.jsonl"):
        return 0
    try:
        with open("errand.json", encoding="utf-8") as file:
            wanted = json.load(file)
        if wanted["version"] != 1 or not isinstance(wanted["steps"], list):
            raise ValueError("its version is not 1, or its steps are no list")
    except (OSError, ValueError, TypeError, KeyError) as error:
        remove("auth.json")
        sys.stderr.write("packhorse agent: %s/errand.json is no background job: %r\n" % (folder, error))
        return 2
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return 0
    try:
        os.setsid()
        if os.fork() == 0:
            work(wanted, lock)
    finally:
        os._exit(0)


def work(wanted: "Dict[str, Any]", lock: int) -> None:
    """In the background: cut all ties to who started this, and do it."""
    output = os.open("errand.out", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDWR)
    for fd, source in ((0, null), (1, output), (2, output)):
        os.dup2(source, fd)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != lock:
            try:
                os.close(int(name))
            except OSError:
                pass  # the listing's own
    os.set_inheritable(lock, True)
    become_subreaper()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        job = BackgroundJob(wanted)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, job.on_signal)
        job.run()
    except BaseException:
        import traceback

        say(traceback.format_exc())
    finally:
        remove("auth.json")


def has_ended(path: str) -> bool:
    """Whether a journal has its last record."""
    try:
        with open(path, "rb") as file:
            return any(line.startswith(b'{"k":"end"') and line.endswith(b"}\n") for line in file)
    except OSError:
        return False


def open_journal(path: str) -> Journal:
    """The journal; what a killed background job wrote half is made a line of its own."""
    journal = Journal(path)
    if journal.file.end:
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                journal.file.append(b"\n")
    return journal


def say(text: str) -> None:
    """Write to the background job's output, as its steps do."""
    try:
        os.write(1, (text.rstrip("\n") + "\n").encode("utf-8", "replace"))
    except OSError:
        pass


def output_size() -> int:
    """How much output there is so far."""
    return os.fstat(1).st_size


def read_output(begin: int) -> bytes:
    """The end of the output since `begin`, at most 64 KiB."""
    begin = max(begin, output_size() - (1 << 16))
    return os.pread(1, output_size() - begin, begin)
