"""Servers that KBase's clients talk to, without an engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.kbase import KBaseServer, KBaseServices, kbase_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KBaseServer]:
    with kbase_server(tmp_path / "home") as made:
        yield made


@pytest.fixture
def services() -> Iterator[KBaseServices]:
    made = KBaseServices({})
    yield made
    made.close()


@pytest.fixture
def shared(tmp_path: Path, services: KBaseServices) -> Iterator[KBaseServer]:
    """With KBase's services: alice may write in workspace 1 and read in 2, bob may read in 1; 3 is for all to read."""
    with kbase_server(
        tmp_path / "home", endpoint=None, workspace_url=services.endpoint, catalog_url=services.endpoint
    ) as made:
        services.tokens = {token: name for name, token in made.tokens.items()}
        services.permissions = {1: {"alice": "a", "bob": "r"}, 2: {"alice": "r"}, 3: {"*": "r"}, 4: {"carol": "a"}}
        yield made
