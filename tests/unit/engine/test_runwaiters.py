"""Those who wait for runs: told of their own run, whatever it does, by one look for all of them.

No engine runs here.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packhorse.domain.errors import NotFound, Unavailable
from packhorse.domain.run import AppRun
from packhorse.domain.users import User
from packhorse.engine.embedded import Embedded
from tests.fixtures.room import make_app, wait_for


@pytest.fixture
def run_of_three(embedded: Embedded, tmp_path: Path) -> str:
    request = AppRun(app=make_app(tmp_path / "app", command="[/bin/true]"), over=[{"i": 1}, {"i": 2}, {"i": 3}])
    return embedded.mine.submit(request).id


def test_a_wait_ends_with_the_step_that_was_waited_for(embedded: Embedded, run_of_three: str) -> None:
    mine = embedded.mine
    with ThreadPoolExecutor() as threads:
        first, all_three = (threads.submit(mine.wait, run_of_three, seen, 60) for seen in (0, 3))
        mine.cancel_task(f"{run_of_three}.1")
        assert first.result(30).done == 1
        assert not all_three.done()
        mine.cancel_run(run_of_three)
        assert all_three.result(30).ended
    assert mine.wait(run_of_three, 3, 60).ended, "of one that has ended at once"


def test_a_wait_ends_with_its_time_and_with_the_run_as_it_is_then(embedded: Embedded, run_of_three: str) -> None:
    view = embedded.mine.wait(run_of_three, 0, 0.05)
    assert (view.done, view.tasks, view.ended) == (0, 3, False)


def test_nobody_waits_for_the_run_of_another(embedded: Embedded, run_of_three: str) -> None:
    with pytest.raises(NotFound):
        embedded.service.as_user(User("somebody")).wait(run_of_three, 0, 60)


def test_two_hundred_who_wait_are_one_query_a_look_and_leave_no_thread(embedded: Embedded, run_of_three: str) -> None:
    told: list[int] = []
    looks: list[str] = []
    with ExitStack() as stack:
        for number in range(200):
            stack.enter_context(embedded.mine.waiting(run_of_three, 0, lambda n=number: told.append(n)))  # type: ignore[misc]
        sa.event.listen(embedded.database.engine, "before_cursor_execute", lambda *of: looks.append(of[2]))
        wait_for(lambda: len(_selects(looks)) >= 5, 30, "five looks")
        assert len([thread for thread in threading.enumerate() if thread.name == "packhorse-waiting"]) == 1
        assert not told
        embedded.mine.cancel_run(run_of_three)
        wait_for(lambda: len(told) == 200, 30, "all of them to be told")
    assert sorted(told) == list(range(200)), "each once"
    wait_for(
        lambda: not [one for one in threading.enumerate() if one.name == "packhorse-waiting"], 30, "the thread to leave"
    )
    assert len(_selects(looks)) < 50


def _selects(statements: list[str]) -> list[str]:
    return [one for one in statements if "sum(" in one.lower()]


def test_who_waits_hears_that_the_store_is_away(
    embedded: Embedded, run_of_three: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(range(3))
    read = embedded.database.read

    def away() -> Any:
        if next(answers, None) is None:
            raise Unavailable("The database does not answer.")
        return read()

    monkeypatch.setattr(embedded.database, "read", away)
    with pytest.raises(Unavailable):
        embedded.mine.wait(run_of_three, 0, 60)
