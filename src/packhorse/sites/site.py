"""One site: its transport, its scheduler, its folders, and what it can give."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packhorse.domain.errors import Conflict
from packhorse.domain.ourselves import make_private_folder
from packhorse.domain.render import compile_parts
from packhorse.domain.resources import Estimates, Launch, Resources
from packhorse.domain.text import kept_json
from packhorse.sites.agentfile import agent_file, agent_name
from packhorse.sites.base import Job, Limits, Scheduler, Shape, Transport
from packhorse.sites.environment import Composer
from packhorse.sites.runtimes.base import Ability, Bind, Runtime, is_below
from packhorse.sites.runtimes.registry import runtime as runtime_named
from packhorse.sites.schedulers.limits import limits_of
from packhorse.sites.schedulers.options import SchedulerOptions
from packhorse.sites.schedulers.registry import scheduler as scheduler_named
from packhorse.sites.script import batch_script
from packhorse.sites.transports.local import LocalTransport, environment_here

BLOCK = "{:08d}.jsonl"
_PIECE = 4 << 20
_LIMITS_KEPT_S = 600.0
_GRACE_S = 30.0  # an agent drains that long before its walltime ends
_SIGNAL_GRACE_S = 4.0  # and that long when its job is being ended: batch systems follow with SIGKILL, some after 5 s

_BEATS_PER_S = 16  # of all agents of an allocation together: each is a write to the shared filesystem


@dataclass
class Site:
    """A place where tasks run. ``root`` is a folder on the filesystem that all its nodes share."""

    name: str
    root: str
    transport: Transport
    scheduler: Scheduler
    python: str = "python3"
    max_allocations: int = 1
    max_nodes: int | None = None
    """Nodes of all allocations together; None leaves that to the queue."""
    linger_s: float = 2.0
    usual_walltime_s: float | None = None
    """Overrides what the limits say."""
    env: dict[str, str] = field(default_factory=dict)
    composer: Composer = field(default_factory=Composer)
    """What of the environment of Packhorse, or of a login at the site, passes."""
    poll_s: tuple[float, float] = (1.0, 60.0)
    """Between two questions to the scheduler: shortest and longest."""
    launcher: tuple[str, ...] = ()
    """In place of the scheduler's own ``launcher``."""
    runtime: Runtime = field(default_factory=lambda: runtime_named("none"))
    binds: tuple[str, ...] = ()
    """Folders of the site that containers see beside ``root``, under the same paths."""
    registry: str | None = None
    """The site's private registry, host:port/prefix."""
    images: str | None = None
    """Where prepared images are kept; None is below ``root``."""
    image_tmp: str | None = None
    image_quota_bytes: int | None = None
    reuse: bool = False
    """Whether runs that do not say so themselves take results of earlier tasks."""
    estimates: Estimates | None = None
    """Whether memory and walltime of tasks are estimated here; None: as the configuration says for all sites."""
    image_patience_s: float = 3600.0
    architecture: str = "amd64"
    gateway: str | None = None
    """The URL of the image gateway that prepares images (Shifter's); None: a background job at the site does."""
    gateway_system: str = ""
    """What that gateway calls this site."""
    fetches: bool = False
    """Its login node fetches data by URL itself."""
    data_quota_bytes: int | None = None
    """Room for data that came by URL; None is no limit."""
    shares_our_files: bool = False
    """Its nodes see the files of the machine where the engine runs, under the same names."""
    _identity: tuple[int, int] | None = field(default=None, repr=False)
    _limits: tuple[float, tuple[Limits, ...]] | None = field(default=None, repr=False)

    @property
    def runs_images(self) -> bool:
        """Whether tasks can run in containers here."""
        return Ability.IMAGES in self.runtime.abilities

    def sees_everywhere(self, path: str) -> bool:
        """Whether every container here sees ``path``, under that name."""
        return any(is_below(path, folder) for folder in (self.root, *self.binds))

    @property
    def sets_up_images(self) -> bool:
        """Whether the batch scheduler sets up the image of a job on its nodes (Shifter's plugin of Slurm)."""
        return Ability.SET_UP_BY_JOB in self.runtime.abilities

    @property
    def job_binds(self) -> tuple[Bind, ...]:
        """What all containers of a job see where their image is set up with it: the same for all.

        The root last: it may lie in a bind.
        """
        return (*(Bind(folder, folder, read_only=True) for folder in self.binds), Bind(self.root, self.root))

    def identity(self) -> tuple[int, int]:
        """uid and gid of the user as whom tasks run. Raises SiteUnreachable."""
        if self._identity is None:
            said = [self.transport.run(["id", option]).stdout.strip() for option in ("-u", "-g")]
            if not all(word.isdigit() for word in said):
                raise OSError(f"'id' at '{self.name}' does not say who we are there: {' '.join(said)}")
            self._identity = int(said[0]), int(said[1])
        return self._identity

    def spool(self, allocation_id: str) -> str:
        """The folder of an allocation."""
        return f"{self.root}/spool/{allocation_id}"

    def output_folder(self, run_id: str, index: int) -> str:
        """Where the outputs of a task are kept."""
        return f"{self.run_folder(run_id)}/{index}"

    def run_folder(self, run_id: str) -> str:
        """Where the outputs of all of a run's tasks are kept."""
        return f"{self.root}/runs/{run_id}"

    def limits(self) -> tuple[Limits, ...]:
        """What an allocation can have, as discovered in the last minutes.

        Raises SiteUnreachable where that is not known.
        """
        if self._limits is None or time.monotonic() - self._limits[0] > _LIMITS_KEPT_S:
            found = limits_of(self.scheduler.describe(self.transport), self.scheduler.queue)
            if self.max_nodes is not None:
                found = tuple(replace(limits, nodes=min(limits.nodes, self.max_nodes)) for limits in found)
            if self.usual_walltime_s is not None:
                found = tuple(replace(limits, usual_walltime_s=self.usual_walltime_s) for limits in found)
            self._limits = time.monotonic(), found
        return self._limits[1]

    def why_not(self, resources: Resources) -> str | None:
        """Why no node here can ever give ``resources``; None when one can."""
        return why_not(self.name, self.limits(), resources)

    def launch(self, resources: Resources) -> list[str]:
        """The words before a command that start it on all ranks of a task, where it does not start them itself."""
        if resources.launch is Launch.ONCE:
            return []
        values = {
            "nodes": resources.nodes, "ranks": resources.ranks,
            "ranks_per_node": resources.ranks_on_a_node, "cores_per_rank": resources.cores_per_rank,
        }  # fmt: skip
        return compile_parts([*(self.launcher or self.scheduler.launcher)])(values)

    def job(self, allocation_id: str, shape: Shape) -> Job:
        """The job of an allocation, as it is submitted and found again."""
        spool = self.spool(allocation_id)
        options = self.runtime.directives(shape.image, self.job_binds) if shape.image else []
        return Job(
            allocation_id, spool, f"{spool}/job.sh", shape.cores, shape.memory_mb, shape.walltime_s, shape.nodes,
            shape.gpus, shape.queue, tuple(options),
        )  # fmt: skip

    def make_spool(self, allocation_id: str) -> None:
        """The folder of an allocation, for its user alone: what tasks are given, and what they print.

        One that is there is fine.
        """
        self.transport.make_folder(self.spool(allocation_id), private=True)
        self.transport.make_folder(f"{self.spool(allocation_id)}/bundle")

    def prepare_spool(self, allocation_id: str, shape: Shape) -> None:
        """Everything that must be there before the job is submitted. May be repeated."""
        spool = self.spool(allocation_id)
        self.make_spool(allocation_id)
        for folder in ("claimed", "revoked", "templates", "journal", "log", "work"):
            self.transport.make_folder(f"{spool}/{folder}")
        self.transport.write(f"{spool}/allocation.json", kept_json(self._allocation(allocation_id, shape)).encode())
        agent = [self.python, "-I", "-S", self.bring_agent(), spool]
        command = self.scheduler.agent_command(shape.agents, shape.cores, agent)
        forwards = self.scheduler.signals_only_script and shape.agents == 1
        self.transport.write(
            f"{spool}/job.sh", batch_script(allocation_id, spool, command, forwards_sigterm=forwards).encode()
        )

    def fetch_output(self, path: str, downloads: Path, *, folders: bool = False) -> Path:
        """A file of this site, or one of its ``folders``, on this machine: itself, or a copy below ``downloads``.

        Raises FileNotFoundError, IsADirectoryError.
        """
        if self.transport.is_local:
            if not os.path.lexists(path):
                raise FileNotFoundError(path)
            return Path(path)
        target = downloads / self.name / path.removeprefix(f"{self.root}/")
        if target.is_file():
            return target
        make_private_folder(target.parent)
        part = target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}.{os.getpid()}")
        try:
            with part.open("wb") as file:
                while data := self.transport.read(path, file.tell(), _PIECE):
                    file.write(data)
            part.replace(target)
        except OSError as error:  # of a folder, SFTP says only that it failed
            if isinstance(error, FileNotFoundError) or self.transport.run(["test", "-d", path]).exit_code != 0:
                raise
            if not folders:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path) from None
            target.mkdir(exist_ok=True, mode=0o700)
            for name in self.transport.names(path):
                self.fetch_output(f"{path}/{name}", downloads, folders=True)
        finally:
            part.unlink(missing_ok=True)
        return target

    def _allocation(self, allocation_id: str, shape: Shape) -> dict[str, Any]:
        """allocation.json of docs/spool.md."""
        linger_s = min(self.linger_s, 1.0) if shape.for_one_task else self.linger_s
        return {
            "version": 1,
            "allocation": allocation_id,
            "cores": shape.cores,
            "memory_mb": shape.memory_mb,
            "walltime_s": shape.walltime_s,
            "grace_s": _GRACE_S,
            "signal_grace_s": _SIGNAL_GRACE_S if self.scheduler.signals_only_script else _GRACE_S,
            "linger_s": linger_s,
            "beat_s": max(1.0, shape.agents / _BEATS_PER_S),
            "env": self.env,
            "environment": self.composer.for_agents(),
        }

    @property
    def agent_path(self) -> str:
        """Where the agent's file is at the site, once it was brought."""
        return f"{self.root}/agents/{agent_name()}"

    def bring_agent(self) -> str:
        """The path of the agent at the site; copies it there."""
        path = self.agent_path
        if not self.transport.exists(path):
            self.transport.make_folder(f"{self.root}/agents")
            self.transport.write(path, agent_file()[1])
        return path


def fitting(limits: Sequence[Limits], resources: Resources) -> list[Limits]:
    """The limits within which ``resources`` fit, in order."""
    return [one for one in limits if _excess(one, resources) is None]


def why_not(site: str, limits: Sequence[Limits], resources: Resources) -> str | None:
    """Why ``resources`` fit nowhere at a site, by the limits that come nearest (the first ones); None when they fit."""
    if resources.site is not None and resources.site != site:
        return f"it is to run at '{resources.site}', not at '{site}'"
    asked = [one for one in limits if resources.queue in (None, one.queue)]
    if not asked:
        queues = ", ".join(sorted({one.queue for one in limits if one.queue})) or "none"
        return (
            f"'{site}' has no queue '{resources.queue}' (it has: {queues})"
            if resources.queue
            else f"'{site}' has no nodes"
        )
    if fitting(asked, resources):
        return None
    largest = max(asked, key=lambda one: (one.cores, one.memory_mb))
    too_much, has = _excess(largest, resources) or _excess(asked[0], resources) or ("more", "less")
    return f"it asks for {too_much} and '{site}' has {has}"


def _excess(limits: Limits, resources: Resources) -> tuple[str, str] | None:
    """What of ``resources`` is too much, and what there is instead; None when all fits."""
    if resources.queue not in (None, limits.queue):
        return f"the queue '{resources.queue}'", f"the queue '{limits.queue}'"
    if resources.nodes > limits.nodes:
        return f"{resources.nodes} nodes", "one" if limits.nodes == 1 else f"{limits.nodes} in one job"
    if resources.cpu_cores > limits.cores:
        return f"{resources.cpu_cores:g} cores", f"{limits.cores} on a node" if limits.nodes > 1 else str(limits.cores)
    if resources.memory_mb is not None and resources.memory_mb > limits.memory_mb:
        return f"{resources.memory_mb / 1000:g} GB of memory", f"{limits.memory_mb / 1000:g} GB on a node"
    if resources.gpus > limits.gpus:
        return f"{resources.gpus} GPUs on a node", str(limits.gpus or "none")
    if resources.walltime_s is not None and limits.walltime_s is not None and resources.walltime_s > limits.walltime_s:
        return f"a walltime of {resources.walltime_s:g} s", f"{limits.walltime_s:g} s at most"
    return None


def local_site(
    root: str,
    *,
    cores: int | None = None,
    memory_mb: int | None = None,
    linger_s: float = 2.0,
    python: str | None = None,
    name: str = "local",
    composer: Composer | None = None,
    scheduler: Scheduler | None = None,
) -> Site:
    """This machine as a site, with one's own environment unless ``composer`` says otherwise.

    ``scheduler`` knows ``cores`` and ``memory_mb`` already; by default it is the one that starts processes.

    Agents run under ``python``, by default the one that Packhorse runs under: a ``python3`` on the path may be missing,
    or a wrapper that chooses one at every start.
    """
    composer = composer or Composer(own=True, here=True)
    path = environment_here(composer).get("PATH") or os.defpath
    interpreter = (shutil.which(python) or python) if python else sys.executable or "python3"
    batch = scheduler or scheduler_named("local", SchedulerOptions(cores=cores, memory_mb=memory_mb))
    return Site(
        name, root, LocalTransport(composer), batch, python=interpreter, linger_s=linger_s, env={"PATH": path},
        composer=composer, poll_s=(0.25, 0.25), shares_our_files=True,
    )  # fmt: skip


def site_named(sites: Mapping[str, Site], name: str) -> Site:
    """The site where something lies. Raises Conflict when it was taken out of the configuration since."""
    if name not in sites:
        raise Conflict(
            not_configured(name), hint="Add it to packhorse.toml again, with the same root: what lies there was kept."
        )
    return sites[name]


def not_configured(name: str) -> str:
    """What is said of a site that is needed and not configured."""
    return f"Site '{name}' is not in the configuration any more."
