"""What several tests of outputs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .outputs import USERS, Task, place


@pytest.fixture(params=USERS)
def task(request: pytest.FixtureRequest) -> Iterator[Task]:
    """A task's folders, as root and as an ordinary user."""
    with place(request.param) as folder:
        yield Task(folder)
