"""Images that are mounted: each slot serves its own mounts (squashfuse), and nobody's mount outlives its agent."""

import os
import re
import time

from .outcome import Verdict, tail_text
from .processes import signal_all
from .spawn import explain, find_program, run_quietly, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Mapping

COME_UP_S = 30.0
UNMOUNT_S = 10.0


class Mount:
    """A process that serves a mount for as long as it lives; Verdict `image` if it does not come up."""

    def __init__(self, argv: "List[str]", folder: str, env: "Mapping[str, str]", null: int) -> None:
        self.folder = folder
        self.reaped = False
        os.makedirs(folder, exist_ok=True)
        err = os.open(folder + ".err", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.unlink(folder + ".err")
        try:
            self.pid = start(find_program(argv[0], env), argv, env, null, null, err)
            self._wait(argv, err)
        except OSError as error:
            raise Verdict("image", "it cannot be mounted on this node: %s" % explain(error, argv)) from None
        finally:
            os.close(err)

    def _wait(self, argv: "List[str]", err: int) -> None:
        deadline = time.monotonic() + COME_UP_S
        while not os.path.ismount(self.folder):
            if time.monotonic() > deadline:
                raise Verdict("image", "%s has not mounted it on this node after %g s" % (argv[0], COME_UP_S))
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                said = tail_text(os.pread(err, 2049, max(0, os.fstat(err).st_size - 2049))) or ""
                raise Verdict("image", "it cannot be mounted on this node: %s ended. %s" % (" ".join(argv), said))
            time.sleep(0.002)

    def alive(self) -> bool:
        """Whether it is still served."""
        try:
            self.reaped = self.reaped or os.waitpid(self.pid, os.WNOHANG)[0] != 0
            return not self.reaped and os.path.ismount(self.folder)
        except OSError:
            return False

    def close(self, env: "Mapping[str, str]") -> None:
        """Unmount it; its process ends by itself then."""
        unmount(self.folder, env)
        if not self.reaped:
            signal_all([self.pid], 15)
        try:
            os.rmdir(self.folder)
        except OSError:
            pass  # it goes with the folder that it is in


def unmount_command(folder: str) -> "List[str]":
    """What unmounts a folder even if it is in use, or the process that served it is dead."""
    program = "fusermount" if os.path.isabs(find_program("fusermount", os.environ)) else "fusermount3"
    return [program, "-u", "-z", folder]


def unmount(folder: str, env: "Mapping[str, str]") -> bool:
    """Unmount, lazily if it is in use."""
    lazily = unmount_command(folder)
    return run_quietly(lazily[:2] + lazily[3:], env, UNMOUNT_S) or run_quietly(lazily, env, UNMOUNT_S)


def mounts_below(folder: str, table: str) -> "List[str]":
    """The mount points below a folder, deepest first; `table` is /proc/self/mountinfo."""
    points = [unescape(line.split(" ", 5)[4]) for line in table.splitlines() if line.count(" ") > 4]
    return sorted((point for point in points if point.startswith(folder.rstrip("/") + "/")), reverse=True)


def unescape(text: str) -> str:
    """A path as the kernel writes it in its tables: blanks and backslashes are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)


def unmount_below(folder: str) -> None:
    """Unmount what killed slots have left in a folder."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            table = file.read()
    except OSError:
        return
    for point in mounts_below(os.path.realpath(folder), table):
        unmount(point, os.environ)
