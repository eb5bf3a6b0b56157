"""Runs containers the way an agent does: a process group in a cgroup of its own, which is emptied when a task is
canceled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from packhorse.agent.supervisor.cgroup import folder_of, mounts, own_paths
from packhorse.sites.runtimes.base import Bind, ContainerSpec, Image, ImageConfig, Runtime

#: A path that the test image does not have. Charliecloud's image is prepared with it.
WORK = "/my work"
_numbers = count(1)


@dataclass(frozen=True)
class Result:
    """How a command ended. ``code`` is the exit code, or 128 and the signal, as shells say it."""

    code: int
    out: str
    err: str


@dataclass
class Site:
    """A runtime with the test image prepared.

    ``setup`` starts every command, such as one that changes the user; ``env`` is the host's.
    """

    runtime: Runtime
    image: str
    config: ImageConfig
    folder: Path
    uid: int = 0
    gid: int = 0
    setup: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def spec(self, *argv: str, **fields: Any) -> ContainerSpec:
        """A command in the work folder of a container."""
        given = {
            "image": self.image,
            "config": self.config,
            "binds": (self.bind,),
            "workdir": self.work,
            "uid": self.uid,
            "gid": self.gid,
        }
        return ContainerSpec(argv, **{**given, "name": f"packhorse-test-{os.getpid()}-{next(_numbers)}", **fields})

    @property
    def work(self) -> str:
        """The work folder as the task sees it."""
        return WORK if self.image else str(self.folder)

    @property
    def bind(self) -> Bind:
        """The work folder."""
        return Bind(str(self.folder), self.work)

    @contextlib.contextmanager
    def started(self, spec: ContainerSpec, cgroup: Path | None = None) -> Iterator[subprocess.Popen[str]]:
        """Starts the runtime; afterwards nothing of it is left, whatever a test did."""
        with subprocess.Popen(
            [*self.setup, *self.runtime.wrap(spec)],
            stdin=open(spec.stdin) if spec.stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            env=self.env,
            cwd=self.folder,
            preexec_fn=None if cgroup is None else _entering(cgroup),
        ) as process:
            try:
                yield process
            finally:
                self.cancel(process, spec, cgroup)

    def run(self, *argv: str, **fields: Any) -> Result:
        """Runs a command to its end."""
        spec = self.spec(*argv, **fields)
        with self.started(spec) as process:
            out, err = process.communicate(timeout=30)
        code = process.returncode
        return Result(code if code >= 0 else 128 - code, out, err)

    def cancel(self, process: subprocess.Popen[str], spec: ContainerSpec, cgroup: Path | None = None) -> None:
        """Kills the group, then what the runtime keeps elsewhere, then what is left in the cgroup."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.carry_out(self.runtime.end(spec))
        for pid in members(cgroup) if cgroup else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def carry_out(self, commands: list[list[str]]) -> None:
        """Runs a runtime's own commands, as the user."""
        for command in commands:
            done = subprocess.run(
                [*self.setup, *command], env=self.env, cwd="/", capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, f"{command}: {done.stderr}"

    @contextlib.contextmanager
    def mounted(self, image: Image) -> Iterator[None]:
        """Mounts a prepared image meanwhile, where the runtime needs that, as a slot of an agent does."""
        command = self.runtime.mount(image)
        if command is None or image.mounted is None:
            yield
            return
        folder = Path(image.mounted)
        folder.mkdir()
        with subprocess.Popen([*self.setup, *command], env=self.env, stdin=subprocess.DEVNULL) as server:
            try:
                wait_until(folder.is_mount)
                yield
            finally:
                self.carry_out([["fusermount", "-u", image.mounted]])
                server.wait(10)
                folder.rmdir()

    def forget(self, image: str) -> None:
        """Takes an image's name out of a node's storage again, which is everybody's: another process of these tests may
        still need it under another name.
        """
        if self.runtime.per_node:
            subprocess.run(
                [*self.setup, self.runtime.name, "image", "rm", image], env=self.env, cwd="/", capture_output=True
            )

    def options(self, **changes: Any) -> Site:
        """The same with other fields."""
        return replace(self, **changes)


def _entering(cgroup: Path) -> Callable[[], None]:
    def enter() -> None:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))

    return enter


def own_memory_cgroup() -> tuple[Path, str] | None:
    """The folder and path of this process's memory cgroup (v1), where it can make others; else None."""
    paths, mounted = own_paths(Path("/proc/self/cgroup").read_text()), mounts(Path("/proc/self/mountinfo").read_text())
    folder = folder_of("memory", paths, mounted)
    return (Path(folder), paths["memory"]) if folder and os.access(folder, os.W_OK) and os.getuid() == 0 else None


def members(cgroup: Path) -> set[int]:
    """All processes in a cgroup and below it."""
    found: set[int] = set()
    for file in cgroup.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            found |= {int(line) for line in file.read_text().split()}
    return found


def processes_of(*argv: str) -> set[int]:
    """The processes on this machine with exactly these arguments."""
    wanted, found = ("\0".join(argv) + "\0").encode(), set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cmdline").read_bytes() == wanted:
                found.add(int(entry.name))
    return found


def wait_until(condition: Callable[[], Any], timeout_s: float = 15) -> None:
    """Fails when ``condition`` does not come true."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, "it did not come true"
        time.sleep(0.02)
