"""A site that is taken out of the configuration while something lies there, or goes on there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from packhorse.domain.errors import Conflict
from packhorse.domain.states import TaskState
from packhorse.engine.embedded import Embedded
from packhorse.sites.site import local_site
from tests.fixtures.room import make_app, submit, wait_for

APP = "[/bin/sh, -c, 'echo said; echo kept > kept.txt; test $0 = 0', '{i}']"
OUTPUT = "outputs:\n  kept: {path: kept.txt}\n"


@pytest.fixture
def opened(home: Path, database_url: str) -> Iterator[Callable[..., Embedded]]:
    """Packhorse with sites of these names."""
    rooms: list[Embedded] = []

    def open_with(*names: str) -> Embedded:
        sites = [local_site(str(home / name), name=name, linger_s=0.5) for name in names]
        rooms.append(Embedded(home, database_url=database_url, sites=sites))
        return rooms[-1]

    yield open_with
    for room in rooms:
        room.close()


def test_what_lies_there_is_refused_by_name_and_there_again_with_the_site(
    opened: Callable[..., Embedded], tmp_path: Path
) -> None:
    both = opened("first", "second")
    app = make_app(tmp_path / "app", command=APP, more=OUTPUT)
    with both.run_engine():
        run = submit(both, app, 2, resources={"site": "second"})
        wait_for(lambda: both.mine.run(run.id).ended, 40, "the run's end")
    one = opened("first")
    for refused in (
        lambda: one.mine.log(f"{run.id}.0", "stdout"),
        lambda: one.mine.output_path(f"{run.id}.0", "kept.txt"),
        lambda: one.mine.retry(run.id),
    ):
        with pytest.raises(Conflict, match="Site 'second' is not in the configuration any more") as refusal:
            refused()
        assert "Add it to packhorse.toml again" in refusal.value.hint
    assert one.mine.task(f"{run.id}.0").reason is None, "what has ended has its own reason"
    again = opened("first", "second")
    assert again.mine.log(f"{run.id}.0", "stdout").data == b"said\n"
    assert again.mine.output_path(f"{run.id}.0", "kept.txt").read_text() == "kept\n"


def test_what_is_to_go_on_there_says_so_and_can_be_canceled(opened: Callable[..., Embedded], tmp_path: Path) -> None:
    both = opened("first", "second")
    app = make_app(tmp_path / "app", command=APP)
    run, other = (submit(both, app, 2, resources={"site": "second"}) for _ in range(2))
    one = opened("first")
    with one.run_engine():
        for reason in (
            one.mine.tasks(run.id).items[1].reason,
            one.mine.task(f"{run.id}.1").reason,
        ):
            assert (
                reason == "Site 'second' is not in the configuration any more. The task goes on when it is there again."
            )
        check = next(check for check in one.mine.doctor() if check.name == "open runs")
        assert not check.ok and "2 open runs wait for it" in check.detail
        assert one.mine.cancel_run(other.id).counts == {TaskState.CANCELED: 2}
    again = opened("first", "second")
    with again.run_engine():
        wait_for(lambda: again.mine.run(run.id).ended, 40, "the run's end")
    assert again.mine.run(run.id).counts == {TaskState.COMPLETE: 1, TaskState.EXECUTOR_ERROR: 1}
    assert "open runs" not in [check.name for check in again.mine.doctor()]
