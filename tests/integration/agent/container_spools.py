"""Spools for tasks in containers, with runtimes whose image is prepared once for a module of tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.containers import Prepared, prepare, why_not
from tests.fixtures.registry import registry
from tests.integration.runtimes.conftest import packages

from .agent_spool import Spool

__all__ = ["packages", "registry"]

MADE: dict[str, Prepared] = {}
_numbers = count(1)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """Not below /tmp, of which each container has its own; with a short name."""
    folder = Path(f"/var/tmp/pha-{os.getpid()}")
    folder.mkdir()
    yield folder
    for made in MADE.values():
        made.forget()
    MADE.clear()
    shutil.rmtree(folder)


def ready(kind: str, request: pytest.FixtureRequest) -> Prepared:
    """A runtime with its image prepared, once for all tests here."""
    request.getfixturevalue("packages")
    if reason := why_not(kind):
        pytest.skip(reason)
    if kind not in MADE:
        MADE[kind] = prepare(kind, request.getfixturevalue("registry"), request.getfixturevalue("root"))
    return MADE[kind]


@pytest.fixture(params=["podman", "charliecloud"])
def box(request: pytest.FixtureRequest) -> Prepared:
    return ready(str(request.param), request)


@pytest.fixture
def podman(request: pytest.FixtureRequest) -> Prepared:
    return ready("podman", request)


@pytest.fixture
def squashfs(request: pytest.FixtureRequest) -> Prepared:
    return ready("charliecloud-squashfs", request)


@pytest.fixture
def make(make_spool: Callable[..., Spool], root: Path) -> Iterator[Callable[..., Spool]]:
    """Spools that containers see; afterwards no container of theirs may exist, and no cgroup."""
    made: list[Spool] = []

    def spool(**allocation: Any) -> Spool:
        folder = root / f"{next(_numbers)}"
        made.append(make_spool(folder, **{"cores": 1, **allocation}))
        return made[-1]

    yield spool
    for each in made:
        for name in {record["agent"] for record in each.records("agent")}:
            assert name not in containers() and not leaves(name)


def containers() -> str:
    """The names of Podman's containers, running or not."""
    return subprocess.run(
        ["podman", "ps", "--all", "--format={{.Names}}"], capture_output=True, text=True, check=True
    ).stdout


def leaves(agent: str) -> list[str]:
    """Cgroups that an agent or its containers have left, in any hierarchy."""
    return [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if f"/packhorse-{agent}" in folder]


def mounts(folder: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]
