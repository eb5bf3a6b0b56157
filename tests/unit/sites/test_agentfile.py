"""The agent's file is what its sources say, every time."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from packhorse.sites import agentfile
from packhorse.sites.agentfile import agent_file, agent_name


def test_the_same_sources_have_the_same_name() -> None:
    first = agent_name()
    agent_name.cache_clear()
    assert agent_name() == first
    assert agent_file()[0] == first


def test_it_holds_the_agent_and_nothing_else_of_ours() -> None:
    name, data = agent_file()
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert name.startswith("agent-")
    assert "__main__.py" in names
    assert {entry.split("/")[0] for entry in names} == {"__main__.py", "agent"}
    assert all(f"{entry}c" in names for entry in names if entry.endswith(".py") and entry != "__main__.py")


def loaded_from(data: bytes, folder: Path) -> str:
    """The file that a slot's program is loaded from."""
    path = folder / "agent.pyz"
    path.write_bytes(data)
    code = (
        f"import sys; sys.path[:] = [{str(path)!r}, *sys.path]\nimport agent.slot.main; print(agent.slot.main.__file__)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip().removeprefix(f"{path}/")


def test_this_python_takes_the_bytecode(tmp_path: Path) -> None:
    assert loaded_from(agent_file()[1], tmp_path) == "agent/slot/main.pyc"


def test_another_python_takes_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agentfile, "MAGIC_NUMBER", b"\x00\x00\r\n")
    assert loaded_from(agent_file.__wrapped__()[1], tmp_path) == "agent/slot/main.py"
