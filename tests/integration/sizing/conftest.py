"""Rooms whose tasks are sized by what others used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.domain.config import EstimatesConfig
from packhorse.engine.embedded import Embedded
from tests.fixtures.truth import assert_each_ended_once


@pytest.fixture
def room(tmp_path: Path, database_url: str) -> Iterator[Embedded]:
    """Estimates are on; an engine runs."""
    config = EstimatesConfig.model_validate({"mode": "on"})
    embedded = Embedded(tmp_path / "home", database_url=database_url, estimates=config, linger_s=0.5)
    with embedded.run_engine():
        yield embedded
    assert_each_ended_once(embedded)
    embedded.close()
