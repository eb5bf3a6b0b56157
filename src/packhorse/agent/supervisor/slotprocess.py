"""A slot's process and the pipes to it. Imports little: the first one is started before the supervisor imports the
rest, so that both start at once.
"""

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional


class SlotProcess:
    """It has started, and waits for its configuration. OSError: it cannot be started."""

    def __init__(self) -> None:
        task_read, self.task_fd = os.pipe()
        self.report_fd, report_write = os.pipe()
        kill_read, self.kill_fd = os.pipe()
        argv = [sys.executable, "-I", "-S", os.path.abspath(sys.argv[0]), "--slot"]
        try:
            self.pid = start_slot(argv, task_read, report_write, kill_read)
        except OSError:
            self.close()
            raise
        finally:
            for fd in (task_read, report_write, kill_read):
                os.close(fd)
        for fd in (self.task_fd, self.report_fd, self.kill_fd):
            os.set_blocking(fd, False)

    def close(self) -> None:
        """Nobody has a task for it: it ends."""
        for fd in (self.task_fd, self.report_fd, self.kill_fd):
            os.close(fd)


def open_standard_files() -> None:
    """Whoever started us may have closed some of them: a pipe must not get their numbers."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def first_slot() -> "Optional[SlotProcess]":
    """A slot for the first task; None where none can be started now, which is tried again when there is a task."""
    try:
        return SlotProcess()
    except OSError:
        return None


if hasattr(os, "posix_spawn"):

    def start_slot(argv: "List[str]", task_read: int, report_write: int, kill_read: int) -> int:
        """Start a slot process on its three pipes; returns its process id."""
        dup2 = os.POSIX_SPAWN_DUP2  # novm
        actions = [(dup2, task_read, 0), (dup2, report_write, 1), (dup2, kill_read, 3)]
        if kill_read == 3:  # dup2 onto itself would leave it close-on-exec
            os.set_inheritable(kill_read, True)
        spawn = os.posix_spawn  # novm
        return spawn(argv[0], argv, os.environ, file_actions=actions, setpgroup=0, setsigdef=[signal.SIGPIPE])

else:

    def start_slot(argv: "List[str]", task_read: int, report_write: int, kill_read: int) -> int:
        """Start a slot process on its three pipes; returns its process id."""
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(task_read, 0)
                os.dup2(report_write, 1)
                os.dup2(kill_read, 3)
                os.set_inheritable(3, True)
                os.setpgid(0, 0)
                os.execv(argv[0], argv)
            finally:
                os._exit(127)
        return pid
