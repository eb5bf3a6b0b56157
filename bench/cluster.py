"""Engines of one's own on the test cluster, which is brought up for a benchmark unless it is up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fixtures.slurm import TestCluster, running_cluster

from bench.harness import complete, true_app
from packhorse.domain.config import load_config
from packhorse.domain.run import AppRun
from packhorse.engine.embedded import Embedded
from packhorse.sites.base import CommandResult
from packhorse.sites.configure import site_from
from packhorse.sites.environment import Composer
from packhorse.sites.transports.local import LocalTransport
from packhorse.store.allocations import live_allocations

#: The cluster, and its default memory per core. All of its cores are this machine's.
NODES, CORES, MEMORY_MB = 4, 2, 500

Rows = Iterable[Mapping[str, Any]]


class CountingTransport(LocalTransport):
    """Counts the programs that it runs, by name."""

    def __init__(self, composer: Composer) -> None:
        super().__init__(composer)
        self.programs: Counter[str] = Counter()

    def run(self, argv: list[str], **how: Any) -> CommandResult:
        self.programs[next(word for word in argv if word != "env" and "=" not in word)] += 1
        return super().run(argv, **how)


class Room:
    """An engine room of its own, on the cluster only; everything of it lies where the nodes see it."""

    def __init__(self, cluster: TestCluster) -> None:
        self.folder = cluster.folder("bench")
        config = load_config(Path(cluster.environment["PACKHORSE_CONFIG"])).sites["testcluster"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {**config.env, "PATH": path, "XDG_CACHE_HOME": str(self.folder / "cache")}
        own = {"root": self.folder / "site", "env": env}
        self.site = site_from("testcluster", config.model_copy(update=own), self.folder)
        self.transport = CountingTransport(self.site.composer)
        self.site.transport = self.transport

    @contextmanager
    def leading(self) -> Iterator[Embedded]:
        """With an engine that leads, and has no allocation yet; afterwards no job of ours is left."""
        room = Embedded(self.folder / "home", sites=[self.site])
        with room.run_engine() as engine:
            engine.leading.wait(10)
            yield room
        room.close()
        drain()

    def run(self, request: AppRun, rows: Rows, *, to_the_last: bool = False) -> float:
        """Seconds until every result is durable.

        ``to_the_last``: the engine then works on until no allocation is left.
        """
        with self.leading() as room:
            took = complete(room, request, rows)
            while to_the_last and self._is_busy(room):
                time.sleep(0.1)
        return took

    def run_true(self, number: int, *, to_the_last: bool = False) -> float:
        """Seconds of so many × /bin/true."""
        return self.run(
            AppRun(app=true_app(self.folder)), ({"i": index} for index in range(number)), to_the_last=to_the_last
        )

    def scheduler_commands(self) -> dict[str, int]:
        """How often each of Slurm's commands was given, by the engine or by an allocation's own script."""
        scripts = Counter("srun" for script in self.folder.glob("site/spool/*/job.sh") if "srun " in script.read_text())
        return dict(self.transport.programs + scripts)

    def _is_busy(self, room: Embedded) -> bool:
        with room.database.read() as connection:
            return bool(live_allocations(connection, self.site.name))


@contextmanager
def bench_cluster() -> Iterator[TestCluster]:
    """The test cluster, for Slurm's commands in this process as well; brought up and taken down unless it was up."""
    before = os.environ.get("SLURM_CONF")
    with running_cluster() as cluster:
        os.environ["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
        try:
            Room(cluster).run_true(CORES)  # warm up
            yield cluster
        finally:
            del os.environ["SLURM_CONF"]
            if before is not None:
                os.environ["SLURM_CONF"] = before


def drain() -> None:
    """Returns when no job of ours waits or runs."""
    query = ["squeue", "--me", "--noheader", "--states=PENDING,CONFIGURING,RUNNING"]
    while subprocess.run(query, capture_output=True, check=True).stdout.strip():
        time.sleep(0.1)


def jobs_so_far() -> int:
    """How many jobs the cluster has ever been given."""
    said = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"^NEXT_JOB_ID\s*=\s*(\d+)", said, re.MULTILINE)
    if found is None:
        raise RuntimeError("Slurm does not say the number of its next job")
    return int(found[1])
