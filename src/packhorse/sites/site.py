"""One site: its transport, its scheduler, its folders."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from typing import Any

from packhorse.domain.resources import Resources
from packhorse.sites.agentfile import agent_file
from packhorse.sites.base import Job, Scheduler, Transport
from packhorse.sites.schedulers.local import LocalScheduler
from packhorse.sites.script import batch_script
from packhorse.sites.transports.local import LocalTransport

BLOCK = "{:08d}.jsonl"


@dataclass
class Site:
    """A place where tasks run. ``root`` is a folder on the filesystem that all its nodes share; sizes are per node."""

    name: str
    root: str
    cores: int
    memory_mb: int
    transport: Transport
    scheduler: Scheduler
    python: str = "python3"
    max_allocations: int = 1
    linger_s: float = 2.0
    walltime_s: float | None = None
    env: dict[str, str] = field(default_factory=dict)

    def spool(self, allocation_id: str) -> str:
        """The folder of an allocation."""
        return f"{self.root}/spool/{allocation_id}"

    def output_folder(self, run_id: str, index: int) -> str:
        """Where the outputs of a task are kept."""
        return f"{self.root}/runs/{run_id}/{index}"

    def why_not(self, resources: Resources) -> str | None:
        """Why no node here can ever give ``resources``; None when one can."""
        if resources.nodes > 1:
            return f"it asks for {resources.nodes} nodes and '{self.name}' has one"
        if resources.cpu_cores > self.cores:
            return f"it asks for {resources.cpu_cores:g} cores and '{self.name}' has {self.cores}"
        if resources.memory_mb is not None and resources.memory_mb > self.memory_mb:
            return f"it asks for {resources.memory_mb / 1000:g} GB of memory and '{self.name}' has {self.memory_mb / 1000:g} GB"
        if resources.gpus:
            return f"it asks for GPUs and '{self.name}' has none"
        if resources.walltime_s is not None and self.walltime_s is not None and resources.walltime_s > self.walltime_s:
            return f"it asks for a walltime of {resources.walltime_s:g} s and '{self.name}' allows {self.walltime_s:g} s"
        return None

    def shape(self, allocation_id: str) -> dict[str, Any]:
        """allocation.json of docs/spool.md."""
        return {
            "version": 1, "allocation": allocation_id, "cores": self.cores, "memory_mb": self.memory_mb, "walltime_s": self.walltime_s,
            "linger_s": self.linger_s, "env": self.env,
        }  # fmt: skip

    def job(self, allocation_id: str) -> Job:
        """The job of an allocation, as it is submitted and found again."""
        spool = self.spool(allocation_id)
        return Job(allocation_id, spool, f"{spool}/job.sh", self.cores, self.memory_mb, self.walltime_s)

    def prepare_spool(self, allocation_id: str, shape: dict[str, Any]) -> None:
        """Everything that must be there before the job is submitted. May be repeated."""
        spool = self.spool(allocation_id)
        for folder in ("bundle", "claimed", "revoked", "templates", "journal", "log", "work"):
            self.transport.make_folder(f"{spool}/{folder}")
        self.transport.write(f"{spool}/allocation.json", json.dumps(shape).encode())
        command = [self.python, "-I", "-S", self._agent_path(), spool]
        self.transport.write(f"{spool}/job.sh", batch_script(allocation_id, spool, command).encode())

    def _agent_path(self) -> str:
        name, data = agent_file()
        path = f"{self.root}/agents/{name}"
        if not self.transport.exists(path):
            self.transport.make_folder(f"{self.root}/agents")
            self.transport.write(path, data)
        return path


def local_site(
    root: str, *, cores: int | None = None, memory_mb: int | None = None, linger_s: float = 2.0, python: str = "python3"
) -> Site:
    """This machine as a site: the cores this process may use, and nine tenths of the memory."""
    has_cores = cores or len(os.sched_getaffinity(0))
    has_memory_mb = memory_mb or int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 0.9 / 1e6)
    path = os.environ.get("PATH", os.defpath)
    interpreter = shutil.which(python) or python
    return Site(
        "local", root, has_cores, has_memory_mb, LocalTransport(), LocalScheduler(),
        python=interpreter, linger_s=linger_s, env={"PATH": path},
    )  # fmt: skip
