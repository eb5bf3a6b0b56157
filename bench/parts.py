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


@dataclass
class Parts:
    """Processor seconds, and the seconds that went by. ``rest_s`` is that of tasks, and of the kernel and others of the machine."""

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
    """Filled in at the end. The engine is this process, or the server that it started; agents must still be there (they linger)."""
    found = Parts()
    before, began = _look(), time.perf_counter()
    yield found
    found.wall_s = time.perf_counter() - began
    engine, agents, idle, busy = (after - then for after, then in zip(_look(), before, strict=True))
    found.engine_s, found.agents_s, found.idle_s = engine, agents, idle
    found.rest_s = max(0.0, busy - engine - agents)


def _look() -> tuple[float, float, float, float]:
    """Seconds so far: of the engine, of agents, of nobody, of all others together with those."""
    engine = agents = 0.0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace")
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        own = (int(fields[11]) + int(fields[12])) * _TICK_S
        if _AGENT in words:
            agents += own
        elif folder.name == str(os.getpid()) or (int(fields[1]) == os.getpid() and "serve" in words.split("\0")):
            engine += own
    times = [int(word) * _TICK_S for word in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:9]]
    idle = times[3] + times[4]
    return engine, agents, idle, sum(times) - idle
