"""A server with an engine, for a module's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.kbase import KBaseServer, kbase_server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KBaseServer]:
    """EE2's door over an engine, on SQLite."""
    with kbase_server(tmp_path_factory.mktemp("kbase") / "home", engine=True) as server:
        yield server
