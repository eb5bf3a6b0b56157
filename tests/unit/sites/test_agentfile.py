"""The agent's file is what its sources say, every time."""

from __future__ import annotations

import io
import zipfile

from packhorse.sites.agentfile import agent_file


def test_the_same_sources_give_the_same_file() -> None:
    first = agent_file()
    agent_file.cache_clear()
    assert agent_file() == first


def test_it_holds_the_agent_and_nothing_else_of_ours() -> None:
    name, data = agent_file()
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert name.startswith("agent-")
    assert "__main__.py" in names
    assert {entry.split("/")[0] for entry in names} == {"__main__.py", "agent"}
