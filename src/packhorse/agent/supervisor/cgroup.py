"""Where this agent may make cgroups, and making and removing them: v1 or v2, always below the cgroup that it was
started in.
"""

import os
import time

from ..leaf import enter, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Tuple

PREFIX = "packhorse-"
STALE_S = 60.0  # a leaf younger than this may belong to an agent that is just starting a slot


def own_paths(text: str) -> "Dict[str, str]":
    """/proc/self/cgroup as controller -> path; the unified hierarchy (v2) is under the empty name."""
    paths = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def mounts(text: str) -> "Dict[str, Tuple[str, str]]":
    """/proc/self/mountinfo as controller -> (mount point, root of the hierarchy seen there); v2 is under the empty
    name.
    """
    found: "Dict[str, Tuple[str, str]]" = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            found.setdefault("", (fields[4], fields[3]))
        elif kind[0] == "cgroup":
            for option in kind[2].split(","):
                found.setdefault(option, (fields[4], fields[3]))
    return found


def folder_of(controller: str, paths: "Dict[str, str]", mounted: "Dict[str, Tuple[str, str]]") -> "Optional[str]":
    """The folder of the own cgroup in a controller's hierarchy, or None if it cannot be seen from here."""
    if controller not in paths or controller not in mounted:
        return None
    point, root = mounted[controller]
    path = paths[controller]
    if root != "/":
        if path != root and not path.startswith(root + "/"):
            return None
        path = path[len(root) :]
    return os.path.normpath(point + "/" + path)


class Cgroups:
    """Makes leaves for slots. `limits` says what was found: `cgroup-v1`, `cgroup-v2` or `sampled` (none)."""

    def __init__(self, agent: str, forced: str = "") -> None:
        self.agent = agent
        self.limits = "sampled"
        self.version = 0
        self.memory = ""  # parent folder of the leaves
        self.cpu = ""
        self.home = ""  # v2: the leaf that this process moved itself to
        self.path = ""  # of the parent, as /proc/self/cgroup says it
        # v1: the same path in other hierarchies, where container runtimes make cgroups too
        self.shadows: "List[str]" = []
        self.shadows_made: "List[str]" = []  # those of them that were not there before, deepest first
        self.made: "List[str]" = []
        if forced != "sampled":
            try:
                with open("/proc/self/cgroup") as own, open("/proc/self/mountinfo") as table:
                    paths, mounted = own_paths(own.read()), mounts(table.read())
                self._use_v1(paths, mounted) or self._use_v2(paths, mounted)
            except OSError:
                pass

    def _use_v1(self, paths: "Dict[str, str]", mounted: "Dict[str, Tuple[str, str]]") -> bool:
        parent = folder_of("memory", paths, mounted)
        if parent is None or not self._works(parent, "memory.limit_in_bytes"):
            return False
        self.version, self.limits, self.memory = 1, "cgroup-v1", parent
        cpu = folder_of("cpuacct", paths, mounted)
        if cpu is not None and self._works(cpu, "cpuacct.usage"):
            self.cpu = cpu
        self.path = paths["memory"]
        for controller, (point, _) in mounted.items():
            shadow = folder_of(controller, {controller: self.path}, mounted)
            if shadow and shadow not in (self.memory, self.cpu) and shadow not in self.shadows:
                self.shadows.append(shadow)
                if os.path.isdir(shadow):
                    remove_stale(shadow)
                while len(shadow) > len(point) and not os.path.isdir(shadow):
                    self.shadows_made.append(shadow)
                    shadow = os.path.dirname(shadow)
        return True

    def _use_v2(self, paths: "Dict[str, str]", mounted: "Dict[str, Tuple[str, str]]") -> bool:
        parent = folder_of("", paths, mounted)
        if parent is None:
            return False
        with open(os.path.join(parent, "cgroup.controllers")) as file:
            if "memory" not in file.read().split():
                return False
        # A v2 cgroup with processes of its own cannot hand controllers down: all that is in it moves to a leaf first.
        self.home = os.path.join(parent, PREFIX + self.agent)
        try:
            os.mkdir(self.home)
            with open(os.path.join(parent, "cgroup.procs")) as file:
                pids = file.read().split()
            for pid in pids:
                with open(os.path.join(self.home, "cgroup.procs"), "w") as procs:
                    procs.write(pid)
            with open(os.path.join(parent, "cgroup.subtree_control"), "w") as control:
                control.write("+memory")
            if not self._works(parent, "memory.max"):
                raise OSError("the memory controller is not handed down")
        except OSError:
            self._go_back(parent)
            return False
        self.version, self.limits, self.memory, self.path = 2, "cgroup-v2", parent, paths[""]
        return True

    def _go_back(self, parent: str) -> None:
        try:
            with open(os.path.join(self.home, "cgroup.procs")) as file:
                pids = file.read().split()
            for pid in pids:
                with open(os.path.join(parent, "cgroup.procs"), "w") as procs:
                    procs.write(pid)
            os.rmdir(self.home)
        except OSError:
            pass
        self.home = ""

    def _works(self, parent: str, file: str) -> bool:
        remove_stale(parent)
        probe = os.path.join(parent, "%s%s-probe" % (PREFIX, self.agent))
        try:
            os.mkdir(probe)
        except OSError:
            return False
        try:
            return os.access(os.path.join(probe, file), os.W_OK) and os.access(
                os.path.join(parent, "cgroup.procs"), os.W_OK
            )
        finally:
            os.rmdir(probe)

    def make(self, slot: str) -> "Optional[Dict[str, object]]":
        """A new leaf for a slot: what a slot needs to enter it; None where there are no cgroups."""
        if not self.version:
            return None
        name = "%s%s-%s" % (PREFIX, self.agent, slot)
        spec: "Dict[str, object]" = {"version": self.version}
        for key, parent in (("memory", self.memory), ("cpu", self.cpu)):
            if parent:
                folder = os.path.join(parent, name)
                try:
                    os.mkdir(folder)
                except OSError:
                    if key == "memory":
                        return None
                    continue
                self.made.append(folder)
                spec[key] = folder
        if self.version == 2:
            spec["enter"] = divide(str(spec["memory"]))
        if self.version == 2 or os.getuid() == 0:  # on v1 a user's runtime can make no cgroups
            spec["path"] = self.path.rstrip("/") + "/" + name
            spec["shadows"] = [os.path.join(shadow, name) for shadow in self.shadows]
        return spec

    def remove(self, spec: "Optional[Dict[str, object]]") -> None:
        """Remove a slot's leaf after its processes are gone."""
        for key in ("memory", "cpu"):
            folder = (spec or {}).get(key)
            if folder in self.made:
                self.made.remove(str(folder))
                self._remove(str(folder))

    def _remove(self, folder: str) -> None:
        remove_leaf(folder)
        for shadow in self.shadows:
            remove_tree(os.path.join(shadow, os.path.basename(folder)))

    def close(self) -> None:
        """Remove everything that is left."""
        for folder in self.made:
            self._remove(folder)
        self.made = []
        for folder in self.shadows_made:
            try:
                os.rmdir(folder)
            except OSError:
                pass  # never made, or somebody else uses it
        if self.home:
            self._go_back(self.memory)


def divide(leaf: str) -> str:
    """v2: the part of a leaf that its slot is in; containers get others, since a cgroup has processes or hands
    controllers down.
    """
    part = os.path.join(leaf, "slot")
    try:
        os.mkdir(part)
        with open(os.path.join(leaf, "cgroup.subtree_control"), "w") as control:
            control.write("+memory")
        return part
    except OSError:
        return leaf  # good enough for what needs no container


def remove_leaf(folder: str, timeout_s: float = 1.0) -> bool:
    """Remove a cgroup; one whose last process has just died stays busy for a moment."""
    waited = 0.0
    while not remove_tree(folder):
        if waited >= timeout_s:
            return False
        time.sleep(0.01)
        waited += 0.01
    return True


def remove_stale(parent: str) -> None:
    """Remove leaves of agents that were killed: one that is in use is busy and refuses."""
    for name in os.listdir(parent):
        folder = os.path.join(parent, name)
        if name.startswith(PREFIX):
            try:
                if time.time() - os.stat(folder).st_mtime > STALE_S:
                    with open(os.path.join(folder, "cgroup.procs")) as file:
                        if not file.read(1):
                            remove_tree(folder)
            except OSError:
                pass


def node_memory() -> int:
    """Bytes this agent may use: the node's memory or the tightest limit of the cgroups it is in."""
    best = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/proc/self/cgroup") as own, open("/proc/self/mountinfo") as table:
            paths, mounted = own_paths(own.read()), mounts(table.read())
    except OSError:
        return best
    for controller, file in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        folder = folder_of(controller, paths, mounted)
        while folder and controller in mounted and folder.startswith(mounted[controller][0]):
            try:
                with open(os.path.join(folder, file)) as limit:
                    text = limit.read().strip()
                if text.isdigit():
                    best = min(best, int(text))
            except OSError:
                pass
            folder = os.path.dirname(folder)
    return best


def node_cores() -> int:
    """Cores this agent may use: its affinity mask, or fewer where its cgroup has a quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        with open("/proc/self/cgroup") as own, open("/proc/self/mountinfo") as table:
            paths, mounted = own_paths(own.read()), mounts(table.read())
    except OSError:
        return cores
    for controller, names in (("cpu", ("cpu.cfs_quota_us", "cpu.cfs_period_us")), ("", ("cpu.max",))):
        folder = folder_of(controller, paths, mounted)
        try:
            words = " ".join(open(os.path.join(folder or "/nonexistent", name)).read() for name in names).split()
            if words[0].isdigit():
                cores = max(1, min(cores, int(words[0]) // int(words[1])))
        except (OSError, IndexError, ValueError, ZeroDivisionError):
            continue
    return cores


__all__ = ["Cgroups", "enter", "folder_of", "mounts", "node_cores", "node_memory", "own_paths", "remove_leaf"]
