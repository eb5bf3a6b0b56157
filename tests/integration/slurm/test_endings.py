"""Every way in which a job of a real cluster can end, and what becomes of the tasks that were in it: the table of
docs/failures.md.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.states import TaskState
from packhorse.domain.views import AttemptView, RunView, TaskDetail
from packhorse.engine.embedded import Embedded
from packhorse.sites.schedulers.options import SchedulerOptions
from packhorse.sites.schedulers.slurm import SlurmScheduler
from packhorse.sites.site import Site
from packhorse.sites.transports.local import LocalTransport
from tests.fixtures.room import make_app, submit, wait_for
from tests.fixtures.slurm import TestCluster
from tests.fixtures.truth import assert_each_ended_once

Open = Callable[..., Embedded]
SLEEPS = "[/bin/sh, -c, 'sleep 60']"
FIRST_SLEEPS = "[/bin/sh, -c, 'test -e {folder}/again || {{{{ touch {folder}/again; sleep 60; }}}}']"


def cluster_site(root: Path, options: SchedulerOptions | None = None, **fields: Any) -> Site:
    """The test cluster as a site."""
    return Site(
        "cluster",
        str(root),
        LocalTransport(),
        SlurmScheduler(options),
        python=sys.executable,
        poll_s=(0.5, 3.0),
        **fields,
    )


@pytest.fixture
def open_room(slurm: TestCluster, tmp_path: Path) -> Iterator[Open]:
    """Opens an engine room whose only site is the cluster; its engine runs until the test is over."""
    with contextlib.ExitStack() as stack:

        def opened(options: SchedulerOptions | None = None, **fields: Any) -> Embedded:
            room = Embedded(tmp_path / "home", sites=[cluster_site(slurm.folder("site"), options, **fields)])
            stack.callback(room.close)
            stack.enter_context(room.run_engine())
            return room

        yield opened


def task_of(room: Embedded, run: RunView, index: int = 0) -> TaskDetail:
    return room.mine.task(f"{run.id}.{index}")


def await_end(room: Embedded, run: RunView, seconds: float = 90) -> dict[TaskState, int]:
    wait_for(lambda: room.mine.run(run.id).ended, seconds, "the run's end")
    assert_each_ended_once(room)
    return room.mine.run(run.id).counts


def await_running(room: Embedded, run: RunView, index: int = 0) -> str:
    """The job id of a task once it runs."""
    wait_for(lambda: task_of(room, run, index).state is TaskState.RUNNING, 60, "the task's start")
    with room.database.read() as connection:
        return str(
            connection.exec_driver_sql(
                "select job_id from allocations where state = 'RUNNING' order by seq desc"
            ).scalar()
        )


def first_attempt(room: Embedded, run: RunView, index: int = 0) -> AttemptView:
    return task_of(room, run, index).attempts[0]


def test_exit_codes_and_memory_concern_only_the_task(open_room: Open, tmp_path: Path) -> None:
    """A task that exits 3 and one that goes over its own memory, among others in one job."""
    script = "case $0 in 2) exit 3;; 3) exec {python} -c 'x = bytearray(300000000); import time; time.sleep(5)';; esac"
    command = f'[/bin/sh, -c, "{script.format(python=sys.executable)}", "{{i}}"]'
    app = make_app(tmp_path / "app", command=command, more="resources: {ram_gb: 0.1}\nretry: {out_of_memory: 0}\n")
    room = open_room(max_allocations=1)
    run = submit(room, app, 6)
    assert await_end(room, run) == {TaskState.COMPLETE: 4, TaskState.EXECUTOR_ERROR: 2}
    assert (task_of(room, run, 2).failure, task_of(room, run, 2).exit_code) == ("app", 3)
    over_limit = task_of(room, run, 3)
    assert over_limit.failure == "out_of_memory"
    assert "memory limit of 0.1 GB" in (over_limit.reason or "")


def test_a_job_out_of_memory_is_out_of_memory_for_who_ate_it(open_room: Open, tmp_path: Path) -> None:
    """A task without a limit of its own takes more than the job has."""
    script = "import sys; x = bytearray(4_000_000_000 if sys.argv[1] == '0' else 1)"
    app = make_app(tmp_path / "app", command=f"[{sys.executable}, -c, \"{script}\", '{{i}}']")
    room = open_room(SchedulerOptions(extra=("--mem=300M",)), max_allocations=1)
    run = submit(room, app, 3, retry={"out_of_memory": 0, "node_lost": 0})
    assert await_end(room, run)[TaskState.COMPLETE] == 2
    assert task_of(room, run).failure == "out_of_memory"


def test_scancel_by_somebody_else_is_a_preemption_that_is_tried_again(
    slurm: TestCluster, open_room: Open, tmp_path: Path
) -> None:
    app = make_app(tmp_path / "app", command=FIRST_SLEEPS.format(folder=slurm.folder("flags")))
    room = open_room()
    run = submit(room, app, 1)
    slurm.run("scancel", await_running(room, run))
    assert await_end(room, run) == {TaskState.COMPLETE: 1}
    assert first_attempt(room, run).failure == "preempted"


def test_requeue_by_an_administrator_is_refused_and_harms_nothing(
    slurm: TestCluster, open_room: Open, tmp_path: Path
) -> None:
    app = make_app(tmp_path / "app", command="[sleep, '3']")
    room = open_room()
    run = submit(room, app, 1)
    with pytest.raises(subprocess.CalledProcessError):
        slurm.run("scontrol", "requeue", await_running(room, run))
    assert await_end(room, run) == {TaskState.COMPLETE: 1}
    assert len(task_of(room, run).attempts) == 1


def test_a_lost_node_loses_what_it_was_running(slurm: TestCluster, open_room: Open, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", command=FIRST_SLEEPS.format(folder=slurm.folder("flags")))
    room = open_room()
    run = submit(room, app, 1)
    node = slurm.run("squeue", "-h", "-o", "%N", "-j", await_running(room, run)).strip()
    slurm.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        assert await_end(room, run) == {TaskState.COMPLETE: 1}
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):  # it may be back by itself
            slurm.run("scontrol", "update", f"nodename={node}", "state=resume")
    lost = first_attempt(room, run)
    assert lost.failure in ("node_lost", "preempted"), "preempted where the agent had time to drain"
    assert lost.evidence is not None


def test_a_preempted_job_is_tried_again(slurm: TestCluster, open_room: Open, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", command=FIRST_SLEEPS.format(folder=slurm.folder("flags")))
    room = open_room(SchedulerOptions(queue="preemptible"))
    run = submit(room, app, 1, resources={"cpu_cores": 2})
    node = slurm.run("squeue", "-h", "-o", "%N", "-j", await_running(room, run)).strip()
    slurm.run("sbatch", f"--nodelist={node}", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    assert await_end(room, run) == {TaskState.COMPLETE: 1}
    assert first_attempt(room, run).failure == "preempted"


def test_a_held_job_says_so_and_goes_on_when_released(slurm: TestCluster, open_room: Open, tmp_path: Path) -> None:
    room = open_room(SchedulerOptions(extra=("--hold",)))
    run = submit(room, make_app(tmp_path / "app", command="[/bin/true]"), 1)
    wait_for(lambda: "held" in (task_of(room, run).reason or ""), 30, "the reason")
    assert "job " in (task_of(room, run).reason or "")
    with room.database.read() as connection:
        job_id = str(connection.exec_driver_sql("select job_id from allocations").scalar())
    slurm.run("scontrol", "release", job_id)
    assert await_end(room, run) == {TaskState.COMPLETE: 1}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (SchedulerOptions(account="nobody"), "Invalid account"),
        (SchedulerOptions(qos="small", extra=("--nodes=2",)), "QOSMaxNodePerJobLimit"),
    ],
)
def test_a_refused_job_fails_its_tasks_with_the_schedulers_words(
    open_room: Open, tmp_path: Path, options: SchedulerOptions, words: str
) -> None:
    room = open_room(options)
    run = submit(room, make_app(tmp_path / "app", command="[/bin/true]"), 2, retry={"scheduler": 0})
    assert await_end(room, run) == {TaskState.SYSTEM_ERROR: 2}
    task = task_of(room, run)
    assert task.failure == "scheduler"
    assert words in (task.reason or "")


def test_more_than_the_cluster_has_is_refused_at_once(open_room: Open, tmp_path: Path) -> None:
    room = open_room()
    with pytest.raises(Exception, match="asks for 5 nodes and 'cluster' has"):
        submit(room, make_app(tmp_path / "app", command="[/bin/true]"), 1, resources={"nodes": 5})


def test_a_full_queue_is_waited_for(open_room: Open, tmp_path: Path) -> None:
    """The QOS allows two jobs: further allocations wait, and the tasks run in the two."""
    room = open_room(SchedulerOptions(qos="few"), max_allocations=4)
    run = submit(room, make_app(tmp_path / "app", command="[sleep, '0.1']"), 200)
    assert await_end(room, run) == {TaskState.COMPLETE: 200}


def test_a_controller_that_is_away_for_a_while_is_waited_for(
    slurm: TestCluster, open_room: Open, tmp_path: Path
) -> None:
    app = make_app(tmp_path / "app", command="[sleep, '1']")
    room = open_room()
    before = submit(room, app, 6)
    await_running(room, before)
    slurm.service("stop", "slurmctld")
    try:
        meanwhile = submit(room, app, 2)
        wait_for(lambda: room.mine.run(before.id).ended, 60, "the end of what runs: agents go on by themselves")
    finally:
        slurm.service("start", "slurmctld")
    assert await_end(room, meanwhile) == {TaskState.COMPLETE: 2}


def test_accounting_that_is_away_holds_nothing_up(slurm: TestCluster, open_room: Open, tmp_path: Path) -> None:
    slurm.service("stop", "slurmdbd")
    try:
        room = open_room()
        run = submit(room, make_app(tmp_path / "app", command="[/bin/true]"), 20)
        assert await_end(room, run) == {TaskState.COMPLETE: 20}
    finally:
        slurm.service("start", "slurmdbd")


def test_a_job_that_its_time_limit_ends_is_a_preemption(slurm: TestCluster, open_room: Open, tmp_path: Path) -> None:
    """Somebody lowers the job's time limit below what the agent was told:

    Slurm ends it, and the task is tried again.
    """
    command = FIRST_SLEEPS.replace("sleep 60", "sleep 150")
    app = make_app(tmp_path / "app", command=command.format(folder=slurm.folder("flags")))
    room = open_room()
    run = submit(room, app, 1)
    slurm.run("scontrol", "update", f"jobid={await_running(room, run)}", "timelimit=1")
    assert await_end(room, run, 140) == {TaskState.COMPLETE: 1}
    ended = first_attempt(room, run)
    assert ended.failure == "preempted"
