"""A task that asks for all cores of this machine, where no batch scheduler holds a node for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packhorse.domain.states import TaskState
from packhorse.engine.embedded import Embedded
from tests.fixtures.room import make_app, submit, wait_for

LOOK_S = 0.1
BOUND_S = 20.0
AHEAD = 20  # small tasks for each core that are kept waiting: more than the engine places ahead


def test_an_endless_stream_of_small_tasks_does_not_starve_a_task_of_all_cores(
    embedded: Embedded, tmp_path: Path
) -> None:
    cores = embedded.sites[0].limits()[0].cores
    small = make_app(tmp_path / "small", command="[sleep, '0.1{i}']", name="small")  # no two end at the same moment
    large = make_app(tmp_path / "large", command="['true']", name="large", more=f"resources: {{cpu_cores: {cores}}}\n")
    with embedded.run_engine(), _endless(embedded, small, AHEAD * cores) as runs:
        wait_for(lambda: _ended(embedded, runs), 20, "the end of small tasks")
        run = submit(embedded, large, 1)
        wait_for(lambda: embedded.mine.run(run.id).ended, BOUND_S, "the end of the large task")
        assert embedded.mine.run(run.id).counts == {TaskState.COMPLETE: 1}
        counts = embedded.mine.run(runs[-1]).counts
        assert counts.get(TaskState.QUEUED), "small tasks waited all the time"


@contextmanager
def _endless(room: Embedded, app: str, ahead: int) -> Iterator[list[str]]:
    """Keeps ``ahead`` tasks waiting until the end of the block; the runs that it made."""
    runs: list[str] = []
    stop = threading.Event()

    def feed() -> None:
        while not stop.wait(LOOK_S):
            waiting = sum(_queued(room, run) for run in runs[-4:])
            if waiting < ahead:
                runs.append(submit(room, app, ahead // 2).id)

    runs.append(submit(room, app, ahead).id)
    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield runs
    finally:
        stop.set()
        thread.join()
        for run in runs:
            room.mine.cancel_run(run)
        wait_for(lambda: all(room.mine.run(run).ended for run in runs), 20, "the end of all runs")


def _queued(room: Embedded, run: str) -> int:
    return room.mine.run(run).counts.get(TaskState.QUEUED, 0)


def _ended(room: Embedded, runs: list[str]) -> int:
    return sum(room.mine.run(run).counts.get(TaskState.COMPLETE, 0) for run in runs)
