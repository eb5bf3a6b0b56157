"""What the benchmarks of containers share: a server whose own machine is a site with a container runtime, and the
runtime by itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fixtures.registry import TestRegistry
from tests.integration.runtimes.harness import own_memory_cgroup

from bench.harness import folder, serving
from packhorse.client import Client
from packhorse.domain.render import threads
from packhorse.domain.resources import Resources
from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.views import UsageView
from packhorse.sites.runtimes.base import Ability, Bind, ContainerSpec, Image, ImageConfig, Runtime, RuntimeOptions
from packhorse.sites.runtimes.registry import runtime

CORES = len(os.sched_getaffinity(0))
LINGER_S = 1.0
INSTALL = Path(__file__).parents[1] / "deploy" / "testimages" / "install.sh"
#: By runtime: its options here. crun refuses mixed cgroups v1 and v2, and root in a container may not raise limits as
#: Podman wants to.
OPTIONS = {"charliecloud": (), "podman": ("--runtime=runc", "--ulimit=nofile=1024:4096", "--ulimit=nproc=4096:4096")}


@dataclass(frozen=True)
class Room:
    """A client of a server on ``folder``, whose site is this machine with one of its runtimes."""

    client: Client
    folder: Path

    def run(self, *requests: AppRun, warm: bool = False) -> list[UsageView]:
        """Submits all at once, and tells what each took; every task must be complete.

        Unless an agent is to be ``warm`` (it lingers after the run before), none is left on the machine.
        """
        while not warm and any(sum(site.allocations.values()) for site in self.client.backend.sites()):
            time.sleep(0.1)
        runs = [self.client.get(self.client.backend.submit(request).id) for request in requests]
        for run in runs:
            if run.wait().view.counts != {TaskState.COMPLETE: run.view.tasks}:
                raise RuntimeError(f"not all tasks are complete: {run.view.counts}, {run.failed()[:1]}")
        return [run.usage() for run in runs]

    def elapsed_s(self, request: AppRun, *, warm: bool = False) -> float:
        """Seconds from submission until the run's end is in the store."""
        took = self.run(request, warm=warm)[0].elapsed_s
        if took is None:
            raise RuntimeError("a run that has ended has no end")
        return took

    def preparations(self) -> int:
        """How many preparations of images were begun, ever."""
        return sum(image.preparations for image in self.client.images())


@contextmanager
def room(home: Path, name: str, registry: TestRegistry, *, binds: Sequence[Path] = ()) -> Iterator[Room]:
    """A server on ``home`` with the runtime ``name``, and images from ``registry``."""
    home.mkdir()
    config = home / "packhorse.toml"
    config.write_text(
        f'[images]\ndefault_registry = "{registry.address}"\ninsecure = ["{registry.address}"]\n[sites.local]\nruntime'
        f' = "{name}"\nruntime_options = {json.dumps(OPTIONS[name])}\npython = "{sys.executable}"\nlinger_s ='
        f" {LINGER_S}\nbinds = {json.dumps([str(path) for path in binds])}\n"
    )
    with serving(home / "home", str(config)) as client:
        yield Room(client, home)


@dataclass(frozen=True)
class Bare:
    """A runtime without us, with one image prepared by its own commands."""

    runtime: Runtime
    image: str
    config: ImageConfig
    mount_points: tuple[str, ...] = ()

    def command(self, *argv: str, **fields: Any) -> list[str]:
        """What one would type to run ``argv`` in a container."""
        return self.runtime.wrap(
            ContainerSpec(argv, self.image, self.config, uid=os.getuid(), gid=os.getgid(), **fields)
        )

    def loop(self, number: int, *argv: str) -> None:
        """Runs it so often, as many at a time as there are cores, with what we ask of a container as well.

        That is a work folder (where that takes mount points, those of the image, which hold it), variables, a name,
        and, where containers leave the cgroup of who starts them, a cgroup to stay in.
        """
        numbers = "\n".join(str(index) for index in range(number))
        with _cgroup() as parent, folder() as work:
            asked: dict[str, Any] = {"name": f"packhorse-bench-{os.getpid()}-NUMBER", "env": threads(Resources())}
            seen = (str(work),) if Ability.NEW_MOUNT_POINTS in self.runtime.abilities else self.mount_points
            if seen:
                asked |= {"binds": tuple(Bind(path, path) for path in seen), "workdir": seen[0]}
            if Ability.LIMITS in self.runtime.abilities:
                asked["cgroup_parent"] = parent
            command = self.command(*argv, **asked)
            subprocess.run(["xargs", f"-P{CORES}", "-INUMBER", *command], input=numbers, text=True, check=True)


@contextmanager
def _cgroup() -> Iterator[str | None]:
    """The path of a memory cgroup (v1) below our own, such as a task's; None where there are none."""
    own = own_memory_cgroup()
    if own is None:
        yield None
        return
    name = f"packhorse-bench-{os.getpid()}"
    (own[0] / name).mkdir()
    try:
        yield f"{own[1].rstrip('/')}/{name}"
    finally:
        for left in sorted((path for path in (own[0] / name).rglob("*") if path.is_dir()), reverse=True):
            left.rmdir()
        (own[0] / name).rmdir()


@contextmanager
def bare(
    place: Path, name: str, registry: TestRegistry, repository: str, tag: str, mount_points: Sequence[Path] = ()
) -> Iterator[Bare]:
    """With an image of the registry prepared in ``place``, or in the runtime's own storage meanwhile."""
    options = RuntimeOptions(extra=OPTIONS[name])
    it = runtime(name, options)
    points = tuple(str(path) for path in mount_points)
    image = Image(
        registry.name(repository),
        registry.digest(repository, tag),
        f"{place}/bare-{name}",
        tag,
        None,
        points,
        tls=False,
    )
    for command in it.prepare(image):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    yield Bare(it, it.prepared(image), registry.config(repository, tag), points)
    if it.per_node:
        subprocess.run([it.name, "image", "rm", "--force", it.prepared(image)], check=True, stdout=subprocess.DEVNULL)
