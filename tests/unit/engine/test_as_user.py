"""What one user may ask for: every method is asked about another's run."""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.errors import InvalidRequest, NotAllowed, NotFound, TooLarge
from packhorse.domain.history import HistoryRow
from packhorse.domain.run import AppRun
from packhorse.domain.users import User
from packhorse.engine.embedded import Embedded
from packhorse.engine.requests.service import UserService
from tests.fixtures.room import make_app

#: What else a method is given, beside a run or a task.
GIVEN: dict[str, Any] = {
    "stream": "stdout",
    "path": "x",
    "seen_done": 0,
    "timeout_s": 0.0,
    "tell": lambda: None,
    "target": io.BytesIO(),
}
METHODS = {
    name: inspect.signature(method).parameters
    for name, method in inspect.getmembers(UserService, inspect.isfunction)
    if not name.startswith("_")
}
OF_ONE = sorted(name for name, parameters in METHODS.items() if {"run_id", "task_id"} & set(parameters))


@pytest.fixture
def room(home: Path) -> Iterator[Embedded]:
    room = Embedded(home)
    yield room
    room.close()


@pytest.fixture
def run_id(room: Embedded, tmp_path: Path) -> str:
    """A run of Alice's."""
    app = make_app(tmp_path / "app", command="['true']")
    return room.service.as_user(User("alice", admin=True)).submit(AppRun(app=app), [{"i": 1}]).id


@pytest.mark.parametrize("method", OF_ONE)
def test_what_is_anothers_is_not_there(room: Embedded, run_id: str, method: str) -> None:
    ids = {"run_id": run_id, "task_id": f"{run_id}.0"}
    values = {name: value for name, value in {**ids, **GIVEN}.items() if name in METHODS[method]}
    with pytest.raises(NotFound, match=f"There is no run '{run_id}'"):
        getattr(room.service.as_user(User("bob")), method)(**values)
    assert room.mine.run(run_id).counts == {"QUEUED": 1}, "an admin sees it, and nothing came of it"


def test_lists_are_of_ones_own(room: Embedded, run_id: str) -> None:
    bob = room.service.as_user(User("bob"))
    assert not bob.runs().items
    assert [run.id for run in room.service.as_user(User("alice")).runs().items] == [run_id]


def test_only_an_admin_examines_the_server(room: Embedded) -> None:
    with pytest.raises(NotAllowed, match="Only an admin"):
        room.service.as_user(User("alice")).doctor()
    assert room.mine.doctor()


def test_only_an_admin_takes_history_in_and_out(room: Embedded) -> None:
    """It is that of all users; what is estimated from it is for everybody."""
    alice, row = room.service.as_user(User("alice")), HistoryRow(ended_at=1.0, app="t", wall_s=5.0)
    for asked in (alice.history, lambda: alice.add_history([row])):
        with pytest.raises(NotAllowed, match="Only an admin"):
            asked()
    assert room.mine.add_history([row, row]) == 2
    assert [one.wall_s for one in room.mine.history().items] == [5.0, 5.0]
    with pytest.raises(TooLarge, match="the limit is"):
        room.mine.add_history([row] * 5001)


def test_a_run_that_would_be_refused_is_not_estimated(room: Embedded, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", command="['true']", more="resources: {ram_gb: 0.5}\n")
    with pytest.raises(InvalidRequest, match="was not accepted"):
        room.mine.estimate(AppRun(app=app, over=[{"i": "many"}]))
    expected = room.mine.estimate(AppRun(app=app, over=[{"i": 1}, {"i": 2}]))
    [step] = expected.steps
    assert (step.tasks, step.history, step.memory_mb.asked, step.memory_mb.median) == (2, 0, 500, None)
    assert (expected.core_hours, expected.queue_wait_s) == (None, None)
    assert not room.mine.runs().items, "nothing was submitted"
