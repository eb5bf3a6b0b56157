"""A session: one process that serves many tasks, so that starting and loading it is paid once.

`worker` speaks the JSON form of Bazel's persistent worker protocol: one WorkRequest a line on its stdin, one
WorkResponse a line on its stdout (https://bazel.build/remote/creating). `shell` is a POSIX shell that is fed commands.
"""

import json
import os
import select
import signal
import time

from .. import proc
from ..outcome import Outcome, Verdict, tail_text
from ..spawn import explain, find_program, start
from ..text import odd
from .containers import NOT_STARTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Optional, Set, Tuple

    from .containers import Containers
    from .context import Context

MAX_RESPONSE = 64 << 20
SHORT_ANSWER = 2048  # bytes that go to the supervisor with the report, and not by a file
CONTAINER_LEAVES_S = 10.0  # a runtime takes down its container when what runs in it has ended
encode = json.JSONEncoder(separators=(",", ":")).encode
GLANCE_MS = 500  # how often a long answer is interrupted for a look whether the process lives, and for its stderr


class Session:
    """A process with pipes to its stdin and stdout; its stderr is a file, moved to the capture of the task it
    serves.
    """

    def __init__(
        self,
        context: "Context",
        key: "Tuple[Any, ...]",
        argv: "List[str]",
        env: "Mapping[str, str]",
        container: "Any",
        containers: "Optional[Containers]",
    ) -> None:
        self.key = key
        self.context = context
        self.programs = context.programs
        self.container = container
        self.containers = containers
        self.members: "Set[int]" = set()  # of a container's processes those that serve, once that is known
        self.inside: "List[proc.Watched]" = []  # of these, those that a task's processes are below
        self.buffer = b""
        self.first_pipes: "Tuple[int, ...]" = ()
        self.err_path = context.capture_paths[0][1] + ".session"
        self.err = os.open(self.err_path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)
        os.unlink(self.err_path)
        child_in, self.stdin = os.pipe()
        self.stdout, child_out = os.pipe()
        env = {name: value for name, value in env.items() if name not in ("PACKHORSE_TASK", "PACKHORSE_ATTEMPT")}
        self.used = (
            0.0 if container else context.leaf.cpu_s() or 0.0,
            0,
            0,
        )  # before it starts: loading is paid by the first task
        try:
            if container and containers:
                env = containers.host_env(env)
                argv = containers.begin(container) + argv
            self.pid = start(find_program(argv[0], env), argv, env, child_in, child_out, self.err)
        except (OSError, TypeError, ValueError, IndexError) as error:
            for fd in (self.stdin, self.stdout, self.err):
                os.close(fd)
            if containers:
                containers.over(True)
            raise Verdict(
                "spawn", explain(error, argv) if isinstance(error, OSError) else "no session to start: %s" % error
            ) from None
        finally:
            os.close(child_in)
            os.close(child_out)
        self.io, self.stat = proc.open_counters(self.pid, "io"), proc.open_counters(self.pid, "stat")
        self.poll = select.poll()
        self.poll.register(self.stdout, select.POLLIN)

    def alive(self) -> bool:
        """Whether the process still runs (it is not reaped)."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    def cpu_s(self) -> float:
        """CPU seconds so far, of everything in the session: by cgroup, else by the process's clock and the children it
        reaped.
        """
        clock = self.context.leaf.cpu_s()
        if clock is not None:
            return clock
        try:
            own = time.clock_gettime((~self.pid << 3) | 2)  # as clock_getcpuclockid(3) makes it
            return own + proc.reaped_cpu_s(self.stat)
        except OSError:
            return self.used[0]  # it is gone

    def usage(self) -> "Tuple[float, int, int]":
        """(CPU seconds, bytes read, bytes written) so far."""
        if not self.container:
            return (self.cpu_s(),) + proc.read_io(self.io)
        cpu, read, written = 0.0, 0, 0
        for watched in self.inside:
            try:
                more = watched.usage()
            except OSError:
                return self.used  # it is over
            cpu, read, written = cpu + more[0], read + more[1], written + more[2]
        return cpu, read, written

    def look_around(self) -> None:
        """Remember which processes make up the container while none of it is a task's."""
        if self.container and not self.members:
            self.members = set(proc.descendants(os.getpid(), proc.processes())) - self.programs.kept
            self.inside = [proc.Watched(pid) for pid in proc.in_other_namespace(self.members) or self.members]

    def run(self, task: "Dict[str, Any]", env: "Dict[str, str]", pair: int, outcome: Outcome) -> None:
        """Serve one task and measure it."""
        self.programs.take(self.pid)
        try:
            self.serve(task, env, pair, outcome)
        finally:
            self.programs.let_go()
            self.drain_stderr(pair)
            before, self.used = self.used, self.usage()
            outcome.cpu = max(0.0, self.used[0] - before[0])
            outcome.rd, outcome.wr = max(0, self.used[1] - before[1]), max(0, self.used[2] - before[2])

    def serve(self, task: "Dict[str, Any]", env: "Dict[str, str]", pair: int, outcome: Outcome) -> None:
        """Serve one task."""
        raise NotImplementedError

    def ask(self, text: bytes, pair: int) -> bytes:
        """Send a line, return the line that answers it; Verdict `worker` with evidence if none comes."""
        try:
            while text:
                text = text[os.write(self.stdin, text) :]
        except OSError:
            raise self.dead(pair) from None
        while b"\n" not in self.buffer:
            if not self.poll.poll(GLANCE_MS):
                self.drain_stderr(pair)
                if not self.alive() and not self.poll.poll(0):  # dead, though a child of it holds the pipe open
                    raise self.dead(pair)
                continue
            data = os.read(self.stdout, 1 << 16)  # more is memory that has to be mapped for each answer
            if not data:
                raise self.dead(pair)
            self.buffer += data
            if len(self.buffer) > MAX_RESPONSE:
                raise Verdict("worker", "the worker's answer is longer than %d bytes" % MAX_RESPONSE)
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def dead(self, pair: int) -> Verdict:
        """The verdict on a session that ended while it was serving: how, and what it said last."""
        for _ in range(200):  # its pipes close a little before it can be waited for
            if not self.alive():
                break
            time.sleep(0.005)
        said = tail_text(os.pread(self.err, 2049, max(0, os.fstat(self.err).st_size - 2049))) or ""
        how = "closed its output"
        try:
            info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if info is not None:
                if self.containers and info.si_status == NOT_STARTED and info.si_code == os.CLD_EXITED:
                    self.containers.must_be_ready(self.container)
                how = (
                    "exited with %d" % info.si_status
                    if info.si_code == os.CLD_EXITED
                    else "was killed by signal %d" % info.si_status
                )
        except ChildProcessError:
            pass
        return Verdict(
            "worker", "the session's process %s while it served this task%s" % (how, ": " + said if said else "")
        )

    def drain_stderr(self, pair: int) -> None:
        """Move what the process wrote to stderr to the task that it serves."""
        size = os.fstat(self.err).st_size
        if size:
            for offset in range(0, size, 1 << 20):
                os.write(self.context.captures[pair][1], os.pread(self.err, min(1 << 20, size - offset), offset))
            os.ftruncate(self.err, 0)

    def close(self) -> None:
        """End the process: EOF on its stdin, a moment to leave, then SIGKILL, for all that it started too."""
        for fd in (self.stdin, self.stdout) + self.first_pipes:
            os.close(fd)
        patience_s = CONTAINER_LEAVES_S if self.container else 0.1
        deadline = time.monotonic() + (0.0 if self.programs.signaled else patience_s)
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        left = self.container and not self.programs.signaled and self.left()
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except OSError:
            pass
        os.close(self.err)
        for watched in self.inside:
            watched.close()
        for fd in (self.io, self.stat):
            if fd >= 0:
                os.close(fd)
        self.programs.sweep()
        if self.container and self.containers:
            self.containers.over(bool(left))

    def left(self) -> bool:
        """Whether the process has ended, and not by a signal."""
        try:
            info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return info is not None and info.si_code == os.CLD_EXITED and info.si_status <= 128


class Worker(Session):
    """Bazel's persistent worker protocol, singleplex JSON."""

    def serve(self, task: "Dict[str, Any]", env: "Dict[str, str]", pair: int, outcome: Outcome) -> None:
        """One WorkRequest, one WorkResponse; its `output` is the task's stdout."""
        arguments = task.get("argv") or []
        request = encode({"arguments": arguments, "inputs": [], "requestId": 0})
        if "\\ud" in request:
            for word in filter(odd.search, arguments):  # the name of a file
                raise Verdict(
                    "inputs",
                    "the name %r is not UTF-8, and a worker is asked in JSON, which holds only that" % word[:200],
                )
        if self.buffer:
            raise Verdict("worker", "the worker answered without being asked: %r" % self.buffer[:200])
        line = self.ask(request.encode("ascii") + b"\n", pair)
        self.look_around()
        code, output = parse_response(line)
        outcome.exited(code)
        outcome.sig = None
        if len(output) <= SHORT_ANSWER and not task.get("progress"):
            outcome.printed = output
            return
        fd, view = self.context.captures[pair][0], memoryview(output)
        while view:
            view = view[os.write(fd, view) :]


def parse_response(line: bytes) -> "Tuple[int, bytes]":
    """A WorkResponse as (exit code, output); Verdict `worker` if it breaks the protocol.

    As in protobuf, absent fields are zero.

    A lone surrogate in the output becomes bytes that are not UTF-8: a result with it is refused as if the task had
    printed them.
    """
    try:
        response = json.loads(line.decode("utf-8"))
        code, output, request = response.get("exitCode", 0), response.get("output", ""), response.get("requestId", 0)
    except (ValueError, AttributeError, RecursionError):
        raise Verdict("worker", "not a WorkResponse: %r" % line[:200]) from None
    if type(code) is not int or abs(code) >= 1 << 31 or not isinstance(output, str) or request != 0:
        raise Verdict("worker", "not a WorkResponse to this request: %r" % line[:200])
    return code, output.encode("utf-8", "surrogatepass")


class Shell(Session):
    """A POSIX shell; what it prints itself is its report of exit codes."""

    count = 0

    def speak_directly(self, seen: str, pair: int) -> None:
        """Go on over named pipes that the shell sees in the folder `seen`: what a runtime passes on takes longer than a
        short command.
        """
        from .quote import redirection

        base = os.path.basename(self.err_path)
        folder = os.path.dirname(self.err_path)
        names = [base + ".in", base + ".out"]
        paths = [os.path.join(folder, name) for name in names]
        held: "List[int]" = []
        try:
            for path in paths:
                os.mkfifo(path, 0o600)
                held.append(os.open(path, os.O_RDWR))  # so that neither side waits for the other to open it
            said = redirection(*(os.path.join(seen, name) for name in names))
            os.write(self.stdin, said.encode("utf-8", "surrogateescape"))
            self.replace_pipes(os.open(paths[0], os.O_WRONLY), os.open(paths[1], os.O_RDONLY | os.O_NONBLOCK))
            os.set_blocking(self.stdout, True)
            self.ask(b"echo ready\n", pair)
        except OSError:
            raise self.dead(pair) from None
        finally:
            for fd in held:
                os.close(fd)
            for path in paths:
                try:
                    os.unlink(path)
                except OSError:
                    pass  # never made, or removed by the task of another slot

    def replace_pipes(self, stdin: int, stdout: int) -> None:
        """Speak through others from now on.

        The first ones stay open until the end: to a runtime their end would be the session's.
        """
        self.first_pipes = (self.stdin, self.stdout)
        self.poll.unregister(self.stdout)
        self.stdin, self.stdout = stdin, stdout
        self.poll.register(stdout, select.POLLIN)

    def serve(self, task: "Dict[str, Any]", env: "Dict[str, str]", pair: int, outcome: Outcome) -> None:
        """Run one command in a subshell."""
        from .quote import command_text

        own = {name: value for name, value in env.items() if name.startswith("PACKHORSE_")}
        out, err = self.context.capture_paths[pair]
        if self.container:  # it has the task's environment, and sees the files elsewhere
            seen = self.container["binds_capture"]
            out, err = os.path.join(seen, os.path.basename(out)), os.path.join(seen, os.path.basename(err))
            if not self.members:
                self.speak_directly(seen, pair)
                self.look_around()
        else:
            own.update(task.get("env") or {})
        self.count += 1
        mark = "packhorse-%d" % self.count
        text = command_text(task.get("argv") or [], own, self.context.work, out, err, mark)
        word, _, code = self.ask(text.encode("utf-8", "surrogateescape"), pair).partition(b" ")
        if word != mark.encode() or not code.strip().isdigit():
            raise Verdict("worker", "the shell answered %r" % (word + b" " + code)[:200])
        outcome.exited(int(code))
        keep = self.members or {self.pid}
        children = proc.children_of(os.getpid()) + [pid for watched in self.inside for pid in watched.children()]
        left = [pid for pid in children if pid not in keep and pid not in self.programs.kept]
        if left:  # what the command left behind, or its zombies
            self.programs.sweep(keep)
