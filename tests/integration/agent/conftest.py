"""Fixtures: the agent as one file, and spools that are cleaned up whatever a test did."""

from __future__ import annotations

import os
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import packhorse.agent

from .agent_spool import Spool, processes_with

SOURCES = Path(packhorse.agent.__file__).parent


@pytest.fixture(scope="session")
def zipapp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent as it is shipped: one file."""
    path = tmp_path_factory.mktemp("zipapp") / "agent.pyz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__main__.py", "from agent.__main__ import main\n\nmain()\n")
        for source in sorted(SOURCES.rglob("*.py")):
            archive.write(source, f"agent/{source.relative_to(SOURCES)}")
    return path


@pytest.fixture
def make_spool(tmp_path: Path, zipapp: Path) -> Iterator[Callable[..., Spool]]:
    made: list[Spool] = []

    def make(root: Path | None = None, **allocation: Any) -> Spool:
        mark = {"MARK": f"packhorse-test-{os.getpid()}-{tmp_path.name}"}
        spool = Spool(root or tmp_path / f"spool{len(made)}", zipapp, **{"env": mark} | allocation)
        made.append(spool)
        return spool

    yield make
    for spool in made:
        spool.close()
    for pid in processes_with(f"packhorse-test-{os.getpid()}-{tmp_path.name}"):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def spool(make_spool: Callable[..., Spool]) -> Spool:
    made = make_spool()
    made.template()
    return made


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """In the environment of every task of this test."""
    return f"packhorse-test-{os.getpid()}-{tmp_path.name}"
