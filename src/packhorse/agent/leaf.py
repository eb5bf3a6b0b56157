"""The slot's view of its cgroup: the limit of the current task, its peak, its out-of-memory kills, its CPU clock.

The slot enters its leaf once. Moving every task in and out would wait for RCU grace periods, milliseconds each.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

SMALL = 64 << 20  # a peak in which page cache does not matter


def read_number(fd: int) -> int:
    """The number that a one-line control file holds (-1 for `max`)."""
    text = os.pread(fd, 64, 0)
    return int(text) if text[:1].isdigit() else -1


def parse_oom_kills(text: bytes) -> int:
    """The counter in memory.oom_control (v1) or memory.events (v2); -1 where the kernel is too old to count."""
    for line in text.splitlines():
        if line.startswith(b"oom_kill "):
            return int(line[9:])
    return -1


def oom_kills(folder: str, version: int) -> int:
    """How many processes the kernel has killed for memory in a leaf; -1 if it cannot be known.

    Those of a container count too. On v1 its cgroup, which is below the leaf, has a counter of its own.
    """
    try:
        with open(os.path.join(folder, "memory.oom_control" if version == 1 else "memory.events"), "rb") as file:
            kills = parse_oom_kills(file.read())
        if version == 1 and os.stat(folder).st_nlink > 2:
            kills += sum(max(0, oom_kills(below, version)) for below in folders_in(folder))
        return kills
    except OSError:
        return -1


def folders_in(folder: str) -> "List[str]":
    """The cgroups directly below a cgroup."""
    return [os.path.join(folder, name) for name in os.listdir(folder) if os.path.isdir(os.path.join(folder, name))]


def remove_tree(folder: str) -> bool:
    """Remove a cgroup and those that a container runtime made in it; False if one is in use."""
    try:
        os.rmdir(folder)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        pass
    try:
        for below in folders_in(folder):
            remove_tree(below)
        os.rmdir(folder)
        return True
    except OSError:
        return False


class NoLeaf:
    """Where no cgroup may be made: the supervisor samples instead and nothing is known here."""

    resets_peak = False
    path: "Optional[str]" = None  # as /proc/self/cgroup says it; None where a container cannot be put below it

    def hear_of_containers(self) -> None:
        """Notice from now on when the kernel kills in a container's cgroup."""

    def begin(self, limit: int) -> None:
        """A task begins."""

    def end(self, alive: bool) -> "Tuple[int, bool]":
        """(peak in bytes or 0 if unknown, whether the kernel killed for memory)."""
        return 0, False

    def cpu_s(self) -> "Optional[float]":
        """CPU seconds of all that ran in the leaf, or None."""
        return None

    def leave(self) -> None:
        """Go back to the parent and remove the leaf."""


class Leaf(NoLeaf):
    """A memory cgroup, v1 or v2, that this process enters when the object is made; OSError if it may not."""

    def __init__(self, spec: "Dict[str, Any]") -> None:
        self.version = int(spec["version"])
        self.folder = str(spec["memory"])
        self.cpu_folder = spec.get("cpu")  # v1: cpuacct is a hierarchy of its own
        self.limit = 0
        for folder in self._folders():
            enter(str(spec.get("enter") or folder))
        v1 = self.version == 1
        self.resets_peak = v1
        self.usage_fd = self._open("memory.usage_in_bytes" if v1 else "memory.current")
        self.oom_fd = self._open("memory.oom_control" if v1 else "memory.events")
        self.peak_fd = self._open("memory.max_usage_in_bytes", os.O_RDWR) if v1 else -1
        self.cpu_fd = (
            os.open(os.path.join(str(self.cpu_folder), "cpuacct.usage"), os.O_RDONLY) if self.cpu_folder else -1
        )
        self.measured, self.cache = SMALL, 0  # the highest peak of which the cache is known
        self.baseline = max(0, read_number(self.usage_fd))  # the slot itself, which is no task's
        self.kills = parse_oom_kills(os.pread(self.oom_fd, 4096, 0))
        self.path = spec.get("path")
        self.shadows = [str(shadow) for shadow in spec.get("shadows") or ()]  # what runtimes make in other hierarchies
        self.event_fd = -1

    def hear_of_containers(self) -> None:
        """v1 counts kills in the killed process's own cgroup, which is gone together with its container: be told of
        them instead.
        """
        if self.version == 1 and self.event_fd < 0:
            try:
                import ctypes

                self.event_fd = int(ctypes.CDLL(None).eventfd(0, os.O_NONBLOCK | os.O_CLOEXEC))
                self._write("cgroup.event_control", b"%d %d" % (self.event_fd, self.oom_fd))
            except (ImportError, OSError, AttributeError):
                pass  # the exit code alone tells then

    def _told(self) -> bool:
        """Whether the kernel has spoken of running out of memory since the last call."""
        try:
            return self.event_fd >= 0 and any(os.read(self.event_fd, 8))
        except BlockingIOError:
            return False

    def _folders(self) -> "Tuple[str, ...]":
        return (self.folder, str(self.cpu_folder)) if self.cpu_folder else (self.folder,)

    def _open(self, name: str, flags: int = os.O_RDONLY) -> int:
        return os.open(os.path.join(self.folder, name), flags)

    def begin(self, limit: int) -> None:
        """Set the limit (bytes, 0 for none) if it differs from the last task's, and start the peak anew."""
        if limit != self.limit:
            self._set_limit(limit + self.baseline if limit else 0)
            self.limit = limit
        if self.peak_fd >= 0:
            os.pwrite(self.peak_fd, b"0", 0)
        if self.event_fd >= 0:
            self._told()

    def end(self, alive: bool) -> "Tuple[int, bool]":
        """(peak, killed): what the task held at most, and whether the kernel killed any of it for memory.

        What is still charged once every process of a task is gone is page cache, which no task needs to own: it stays
        (the next task may read the same reference data) and is subtracted. While a session lives (`alive`) memory.stat
        tells.
        """
        kills = parse_oom_kills(os.pread(self.oom_fd, 4096, 0))
        killed, self.kills = kills > self.kills or self._told(), kills
        if self.peak_fd < 0:
            return 0, killed
        peak = read_number(self.peak_fd)
        rest = self._session_cache(peak) if alive else read_number(self.usage_fd)
        return max(0, peak - rest), killed

    def _session_cache(self, peak: int) -> int:
        """What of a session's peak is page cache, and the slot.

        Reading memory.stat is slow: only when the peak has grown.
        """
        if peak < SMALL:
            return self.baseline
        if peak > self.measured * 1.02:
            self.measured, self.cache = peak, self._cache()
        return self.baseline + self.cache

    def cpu_s(self) -> "Optional[float]":
        """CPU seconds of all that ran in the leaf, this process included; None without cpuacct."""
        return read_number(self.cpu_fd) / 1e9 if self.cpu_fd >= 0 else None

    def leave(self) -> None:
        """Go back to the parent and remove the leaf; for a slot whose supervisor is gone."""
        for folder in self._folders():
            try:
                enter(os.path.dirname(folder))
                remove_tree(folder)
            except OSError:
                pass  # the next agent on this node removes it
        for shadow in self.shadows:
            remove_tree(shadow)

    def _cache(self) -> int:
        try:
            with open(os.path.join(self.folder, "memory.stat"), "rb") as file:
                for line in file:
                    if line.startswith((b"total_cache ", b"file ")):
                        return int(line.split()[1])
        except OSError:
            pass
        return 0

    def _set_limit(self, limit: int) -> None:
        if self.version == 2:
            text = b"%d" % limit if limit else b"max"
            self._write("memory.max", text)
            self._write("memory.swap.max", b"0" if limit else b"max")
            return
        text = b"%d" % limit if limit else b"-1"
        # memory.limit must never exceed memsw.limit: which has to be written first depends on the direction.
        if not self._write("memory.limit_in_bytes", text):
            self._write("memory.memsw.limit_in_bytes", text)
            self._write("memory.limit_in_bytes", text)
        self._write("memory.memsw.limit_in_bytes", text)

    def _write(self, name: str, text: bytes) -> bool:
        try:
            fd = self._open(name, os.O_WRONLY)
        except OSError:
            return False  # swap accounting is off
        try:
            os.write(fd, text)
            return True
        except OSError:
            return False
        finally:
            os.close(fd)


def enter(folder: str) -> None:
    """Move this process into a cgroup."""
    fd = os.open(os.path.join(folder, "cgroup.procs"), os.O_WRONLY)
    try:
        os.write(fd, b"%d" % os.getpid())
    finally:
        os.close(fd)


def open_leaf(spec: "Optional[Dict[str, Any]]") -> NoLeaf:
    """The leaf that the supervisor made for this slot, or none."""
    if spec:
        try:
            return Leaf(spec)
        except OSError:
            pass  # removed meanwhile: a slot without measurements is better than no slot
    return NoLeaf()
