"""Where the processor time of a run goes: to the engine and its server, to agents, to tasks, to nobody; from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_AGENT = "/agents/agent-"


def processor_s(pid: int) -> float:
    """Processor seconds that a process has used so far, with those of its children that have ended."""
    stat = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return sum(int(word) for word in stat[11:15]) * _TICK_S


def memory_mb(pid: int, field: str) -> float:
    """A field in kB of what the kernel says of a process: VmRSS, what it holds; VmHWM, the most that it held."""
    lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1000


@dataclass
class Parts:
    """Processor seconds, and the seconds that went by.

    ``rest_s`` is that of tasks, and of the kernel and others of the machine.
    """

    wall_s: float = 0.0
    engine_s: float = 0.0
    agents_s: float = 0.0
    idle_s: float = 0.0
    rest_s: float = 0.0

    def as_shares(self) -> dict[str, float]:
        """Of all cores' time: what goes to whom."""
        whole = self.engine_s + self.agents_s + self.idle_s + self.rest_s
        return {name: round(getattr(self, f"{name}_s") / whole, 3) for name in ("engine", "agents", "rest", "idle")}


@contextmanager
def parts() -> Iterator[Parts]:
    """Filled in at the end.

    The engine is this process, or the server that it started; agents must still be there (they linger).
    """
    found = Parts()
    before, began = _look(), time.perf_counter()
    yield found
    found.wall_s = time.perf_counter() - began
    after = _look()
    for pid, (name, used_s) in after.by_process.items():
        spent_s = used_s - before.by_process.get(pid, (name, 0.0))[1]
        if name == _AGENT:
            found.agents_s += spent_s
        else:
            found.engine_s += spent_s
    found.idle_s = after.idle_s - before.idle_s
    found.rest_s = max(0.0, after.busy_s - before.busy_s - found.engine_s - found.agents_s)


@dataclass(frozen=True)
class _Look:
    by_process: dict[int, tuple[str, float]]
    idle_s: float
    busy_s: float


def _look() -> _Look:
    """Seconds so far: of the engine and of each process of an agent, of nobody, and of all together."""
    found: dict[int, tuple[str, float]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace")
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        pid, parent, used_s = int(folder.name), int(fields[1]), (int(fields[11]) + int(fields[12])) * _TICK_S
        if _AGENT in words:
            found[pid] = _AGENT, used_s
        elif pid == os.getpid() or (parent == os.getpid() and "serve" in words.split("\0")):
            found[pid] = "", used_s
    times = [int(word) * _TICK_S for word in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:9]]
    idle_s = times[3] + times[4]
    return _Look(found, idle_s, sum(times) - idle_s)
