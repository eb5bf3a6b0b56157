"""Servers that data comes from, and engine rooms that know them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.domain.config import ShockConfig
from packhorse.staging import data as machine
from tests.fixtures.s3server import s3  # noqa: F401 (a fixture)
from tests.fixtures.shockserver import TOKEN, ShockServer
from tests.fixtures.sshd import noisy_sshd  # noqa: F401 (a fixture)
from tests.fixtures.webserver import WebServer, web_server


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other quickly; how long they are apart is a matter of unit tests."""
    monkeypatch.setattr(machine, "FIRST_BACKOFF_S", 0.02)


@pytest.fixture
def shock() -> Iterator[ShockServer]:
    server = ShockServer()
    yield server
    server.stop()


@pytest.fixture
def shock_config(shock: ShockServer, tmp_path: Path) -> ShockConfig:
    """[data.shock."shock.test"]."""
    token = tmp_path / "shock-token"
    token.write_text(f"{TOKEN}\n")
    return ShockConfig(url=f"http://127.0.0.1:{shock.port}", token_file=token)
