"""What tests of the FBA app share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

APP = Path(__file__).resolve().parents[3] / "apps" / "fba"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own, for this process and those that it starts; the app's modules can be imported."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKHORSE_CACHE", str(folder))
        patch.syspath_prepend(str(APP))
        yield folder / "fba"
