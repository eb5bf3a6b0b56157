"""What /proc knows about processes: who descends from whom, how much memory they hold, how much they read and wrote."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, List, Set, Tuple

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")


def stat_of(pid: int) -> "Tuple[int, str, float, int]":
    """(parent, state, CPU seconds with reaped children, resident bytes) of a process; OSError if it is gone."""
    with open("/proc/%d/stat" % pid, "rb") as file:
        # The command's name stands in parentheses and may contain anything, parentheses too.
        fields = file.read().rpartition(b")")[2].split()
    cpu = sum(int(ticks) for ticks in fields[11:15]) / TICK
    return int(fields[1]), fields[0].decode(), cpu, int(fields[21]) * PAGE


def processor() -> str:
    """What the processors of this node are called; where the kernel does not say, their architecture."""
    try:
        with open("/proc/cpuinfo", "rb") as file:
            for _ in range(20):  # all of it is long where there are many
                name, _, value = file.readline().partition(b":")
                if name.strip() in (b"model name", b"cpu"):
                    return value.decode("ascii", "replace").strip()
    except OSError:
        pass
    return os.uname().machine


def processes() -> "Dict[int, Tuple[int, str, float, int]]":
    """All processes that can be seen, by id."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found[int(name)] = stat_of(int(name))
            except (OSError, IndexError, ValueError):
                continue  # it ended while we looked
    return found


def descendants(root: int, table: "Dict[int, Tuple[int, str, float, int]]") -> "List[int]":
    """All living descendants of `root` in a table of processes, parents before children; zombies are left out."""
    children: "Dict[int, List[int]]" = {}
    for pid, (parent, _, _, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found: "List[int]" = []
    frontier = [root]
    while frontier:
        below = children.get(frontier.pop(), [])
        frontier.extend(below)
        found.extend(below)
    return [pid for pid in found if table[pid][1] not in "ZX"]


def children_of(pid: int) -> "List[int]":
    """Direct children, zombies included: one small read where the kernel offers it."""
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid), "rb") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return [child for child, row in processes().items() if row[0] == pid]


def in_other_namespace(pids: "Iterable[int]") -> "Set[int]":
    """Those that are in a namespace of processes which is not ours: of a container's, all but the runtime's own."""
    ours = os.readlink("/proc/self/ns/pid")
    found = set()
    for pid in pids:
        try:
            if os.readlink("/proc/%d/ns/pid" % pid) != ours:
                found.add(pid)
        except OSError:
            continue  # it has ended, or is another user's
    return found


def io_of(pid: int) -> "Tuple[int, int]":
    """Bytes (read, written) by system calls of a process and its reaped children; works on a zombie."""
    fd = open_counters(pid, "io")
    if fd < 0:
        return 0, 0
    try:
        return read_io(fd)
    finally:
        os.close(fd)


def open_counters(pid: int, name: str) -> int:
    """A descriptor for a process's `io` or `stat`, good for the life of the process; -1 where it is not to be had."""
    try:
        return os.open("/proc/%d/%s" % (pid, name), os.O_RDONLY)
    except OSError:
        return -1  # another user's (setuid), or a kernel without task accounting


class Watched:
    """A process that is looked at again and again: what it used, with the children it reaped, and the children that it
    has.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stat, self.io = open_counters(pid, "stat"), open_counters(pid, "io")
        self.below = open_counters(pid, "task/%d/children" % pid)

    def usage(self) -> "Tuple[float, int, int]":
        """(CPU seconds, bytes read, bytes written); OSError if it is gone."""
        fields = os.pread(self.stat, 1024, 0).rpartition(b")")[2].split()
        return (sum(int(ticks) for ticks in fields[11:15]) / TICK,) + read_io(self.io)

    def children(self) -> "List[int]":
        """Direct children, zombies included; none once it is gone."""
        if self.below < 0:
            return children_of(self.pid)
        try:
            return [int(word) for word in os.pread(self.below, 65536, 0).split()]
        except OSError:
            return []

    def close(self) -> None:
        """Look no more."""
        for fd in (self.stat, self.io, self.below):
            if fd >= 0:
                os.close(fd)


def reaped_cpu_s(fd: int) -> float:
    """CPU seconds of the children that a process has reaped, from its open /proc/PID/stat."""
    try:
        fields = os.pread(fd, 1024, 0).rpartition(b")")[2].split()
        return (int(fields[13]) + int(fields[14])) / TICK
    except (OSError, IndexError, ValueError):
        return 0.0


def read_io(fd: int) -> "Tuple[int, int]":
    """Bytes (read, written) from an open /proc/PID/io."""
    try:
        words = os.pread(fd, 256, 0).split(None, 4)
        return int(words[1]), int(words[3])
    except (OSError, IndexError, ValueError):
        return 0, 0


def proportional_memory(pids: "Iterable[int]") -> int:
    """Memory of processes with shared pages counted once (PSS); 0 if the kernel does not tell."""
    total = 0
    for pid in pids:
        try:
            with open("/proc/%d/smaps_rollup" % pid, "rb") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith(b"Pss:")) * 1024
        except (OSError, ValueError, IndexError):
            return 0
    return total
