"""Agents die, tasks are killed, disks fill, journals are damaged, the database goes away, clocks jump."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packhorse.domain.errors import Unavailable
from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.users import User
from packhorse.domain.views import TaskView
from packhorse.engine.embedded import Embedded
from packhorse.engine.reconciler import Engine
from packhorse.sites.site import local_site
from packhorse.store.database import NoRoom
from packhorse.store.schema import journals
from tests.fixtures.postgres import Postgres
from tests.fixtures.room import EngineProcess, make_app, submit, wait_for
from tests.fixtures.truth import assert_each_ended_once, attempts_by_task, executions

WITNESS = "[/bin/sh, -c, 'echo $$ > {folder}/pid-$0; sleep {sleep_s}; echo \"$0\" >> {folder}/witness', '{{i}}']"


@pytest.fixture
def room(home: Path) -> Iterator[Embedded]:
    room = Embedded(home, linger_s=0.5)
    yield room
    room.close()


def witness_app(folder: Path, sleep_s: float) -> str:
    return make_app(folder / "app", command=WITNESS.format(folder=folder, sleep_s=sleep_s))


def counts(room: Embedded, run_id: str) -> dict[TaskState, int]:
    return room.mine.run(run_id).counts


def wait_for_end(room: Embedded, run_id: str, timeout_s: float = 60) -> dict[TaskState, int]:
    wait_for(lambda: room.mine.run(run_id).ended, timeout_s, "the run's end")
    return counts(room, run_id)


def task(room: Embedded, run_id: str, index: int) -> TaskView:
    return room.mine.task(f"{run_id}.{index}")


def agent_pids(home: Path) -> list[int]:
    """The supervisors that run on this home's spool."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if (
                len(command) > 4
                and str(home).encode() in command[-2]
                and b"agent-" in command[3]
                and b"--slot" not in command
            ):
                found.append(int(entry.name))
    return found


def test_a_killed_agent_loses_only_what_it_was_running(room: Embedded, home: Path, tmp_path: Path) -> None:
    with room.run_engine():
        run = submit(room, witness_app(tmp_path, 1.0), 8)
        wait_for(lambda: counts(room, run.id).get(TaskState.COMPLETE, 0) >= 2, 30, "the first results")
        # long before the next two end: what has ended and is not in the journal yet is executed again
        for pid in agent_pids(home):
            os.kill(pid, signal.SIGKILL)
        assert wait_for_end(room, run.id) == {TaskState.COMPLETE: 8}
    assert_each_ended_once(room)
    repeated = [index for index, attempts in attempts_by_task(room).items() if attempts > 1]
    assert 1 <= len(repeated) <= 2 * 2, "what ran, and what was prefetched"
    # the killed agent's tasks died with it: nothing wrote twice
    assert executions(tmp_path / "witness") == dict.fromkeys(range(8), 1)
    lost = room.mine.task(f"{run.id}.{repeated[0] % (1 << 20)}")
    assert lost.attempts[0].failure == "node_lost"
    assert "died before the task ended" in (lost.attempts[0].evidence or {})["message"]


def test_a_killed_task_fails_alone_with_its_signal_and_is_not_retried(room: Embedded, tmp_path: Path) -> None:
    with room.run_engine():
        run = submit(room, witness_app(tmp_path, 0.5), 6)
        pid = int(
            wait_for(lambda: (tmp_path / "pid-0").exists() and (tmp_path / "pid-0").read_text(), 30, "the first task")
        )
        os.kill(pid, signal.SIGKILL)
        assert wait_for_end(room, run.id) == {TaskState.COMPLETE: 5, TaskState.EXECUTOR_ERROR: 1}
    failed = task(room, run.id, 0)
    assert (failed.failure, failed.attempt) == ("app", 1)
    assert "SIGKILL" in (failed.reason or "")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 12 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount the small disk that this test fills")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Writes to a file until the disk is full."""
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(descriptor, b"x" * 4096):
            pass
    except OSError:
        pass
    finally:
        os.close(descriptor)


def test_a_full_disk_under_the_spool_delays_and_loses_nothing(small_disk: Path, home: Path, tmp_path: Path) -> None:
    site = local_site(str(small_disk / "site"), linger_s=0.5)
    room = Embedded(home, sites=[site])
    with room.run_engine():
        run = submit(room, witness_app(tmp_path, 0.01), 300)
        wait_for(lambda: counts(room, run.id).get(TaskState.COMPLETE, 0) >= 20, 30, "the first results")
        fill(small_disk / "ballast")
        full_at = counts(room, run.id).get(TaskState.COMPLETE, 0)
        time.sleep(2)
        assert not room.mine.run(run.id).ended, f"the disk was full at {full_at}"
        (small_disk / "ballast").unlink()
        assert wait_for_end(room, run.id, 90) == {TaskState.COMPLETE: 300}
    assert_each_ended_once(room)
    assert executions(tmp_path / "witness") == dict.fromkeys(range(300), 1)
    room.close()


def test_a_submission_for_which_there_is_no_room_takes_none(small_disk: Path, tmp_path: Path) -> None:
    """On a disk that holds everything: the refusal is a sentence, and what fits is accepted and runs as if nothing had
    been.
    """
    room = Embedded(small_disk / "home", sites=[local_site(str(small_disk / "home/site"), linger_s=0.5)])
    app = make_app(tmp_path / "app", command="[/bin/true]")
    with room.run_engine():
        assert wait_for_end(room, submit(room, app, 1).id) == {TaskState.COMPLETE: 1}
        fill(small_disk / "ballast")
        other = make_app(tmp_path / "other", command="[/bin/true]", name="u")
        (tmp_path / "other/large").write_bytes(os.urandom(200_000))
        with pytest.raises(Unavailable, match=r"no room in the database .*/home/packhorse.db: .* full") as refusal:
            submit(room, other, 1)
        assert "Make room there" in refusal.value.hint
        (small_disk / "ballast").unlink()
        assert wait_for_end(room, submit(room, other, 1).id) == {TaskState.COMPLETE: 1}
        with pytest.raises(Unavailable, match="full but for"):
            submit(room, app, 160_000)
        assert wait_for_end(room, submit(room, app, 20).id) == {TaskState.COMPLETE: 20}
        assert len(room.mine.runs().items) == 3
    room.close()


def test_a_database_that_cannot_be_opened_for_want_of_room_says_so(small_disk: Path, tmp_path: Path) -> None:
    """SQLite itself speaks of an error of the disk then."""
    home = small_disk / "home"
    room = Embedded(home, sites=[])
    room.close()
    fill(small_disk / "ballast")
    with pytest.raises(NoRoom, match=r"no room in the database .*/home/packhorse.db") as refusal:
        Embedded(home, sites=[])
    assert "Make room there" in refusal.value.hint
    (small_disk / "ballast").unlink()
    room = Embedded(home, sites=[])
    assert room.mine.runs().items == []
    room.close()


GARBAGE = [
    b"this is not JSON\n",
    b"\xff\xfe\x00garbage\x00\n",
    b'{"k": "end"}\n',
    b'{"k": "end", "id": "x", "n": 1}\n',
    b'{"k": "end", "id": 1048576, "n": 1, "t0": "yesterday", "exit": []}\n',
    b'{"k": "unheard of", "id": 1}\n',
    b'["a", "list"]\n',
    b"null\n",
]


def test_garbage_in_a_journal_is_skipped_and_counted(room: Embedded, home: Path, tmp_path: Path) -> None:
    with EngineProcess(home) as engine:
        run = submit(room, witness_app(tmp_path, 0.2), 16)
        wait_for(lambda: counts(room, run.id).get(TaskState.COMPLETE, 0) >= 2, 30, "the first results")
        engine.kill()
    wait_for(lambda: not agent_pids(home), 30, "the agent's end")
    journal = next(iter((home / "site/spool").glob("*/journal/*.jsonl")))
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:-1], *GARBAGE, lines[-1]]))
    with EngineProcess(home):
        assert wait_for_end(room, run.id) == {TaskState.COMPLETE: 16}
    assert_each_ended_once(room)
    assert executions(tmp_path / "witness") == dict.fromkeys(range(16), 1)
    with room.database.read() as connection:
        assert connection.execute(sa.select(sa.func.sum(journals.c.bad_lines))).scalar_one() >= 6


def test_a_record_that_was_cut_off_counts_as_never_written(room: Embedded, home: Path, tmp_path: Path) -> None:
    """The agent dies in the middle of a line: the task of that line is executed again."""
    with EngineProcess(home) as engine:
        run = submit(room, witness_app(tmp_path, 0.4), 2)
        wait_for(lambda: (tmp_path / "witness").exists(), 30, "a task's end")
        engine.kill()
    wait_for(lambda: not agent_pids(home), 30, "the agent's end")
    journal = next(iter((home / "site/spool").glob("*/journal/*.jsonl")))
    whole = journal.read_bytes()
    last_end = whole.rindex(b'{"k":"end"')
    journal.write_bytes(whole[: last_end + 30])
    with EngineProcess(home):
        assert wait_for_end(room, run.id) == {TaskState.COMPLETE: 2}
    assert_each_ended_once(room)
    assert sorted(attempts_by_task(room).values()) == [1, 2]


def test_the_database_goes_away_and_comes_back(postgres: Postgres, home: Path, tmp_path: Path) -> None:
    """Away for 30 s; the engine waits, the agents go on."""
    room = Embedded(home, database_url=postgres.new_database(), linger_s=0.5)
    with room.run_engine():
        run = submit(room, witness_app(tmp_path, 0.02), 400)
        wait_for(lambda: counts(room, run.id).get(TaskState.COMPLETE, 0) >= 20, 30, "the first results")
        postgres.stop(remove=False)
        time.sleep(30)
        postgres.start()
        assert wait_for_end(room, run.id, 90) == {TaskState.COMPLETE: 400}
    assert_each_ended_once(room)
    assert executions(tmp_path / "witness") == dict.fromkeys(range(400), 1)
    room.close()


class JumpingClock:
    """A wall clock that somebody sets while it runs."""

    def __init__(self) -> None:
        self.jump_s = 0.0

    def now(self) -> float:
        return time.time() + self.jump_s

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0])
def test_a_clock_that_jumps_holds_nothing_up(room: Embedded, tmp_path: Path, jump_s: float) -> None:
    """A task that waits for its back-off, and one that runs, while the clock is set a day forward or back."""
    clock = JumpingClock()
    command = (
        "[/bin/sh, -c, 'test -e {folder}/again-$0 || {{{{ touch {folder}/again-$0; sleep 0.3; exit 1; }}}}', '{{i}}']"
    )
    app = make_app(tmp_path / "app", command=command.format(folder=tmp_path), more="retry: {app: 3}\n")
    engine = Engine(room.database, room.sites, clock)
    thread = threading.Thread(target=engine.run)
    thread.start()
    try:
        run = submit(room, app, 4)
        wait_for(lambda: attempts_by_task(room).total() >= 2, 30, "the first failures")
        clock.jump_s = jump_s
        assert wait_for_end(room, run.id, 40) == {TaskState.COMPLETE: 4}
    finally:
        engine.stop()
        thread.join(30)
    assert_each_ended_once(room)


def test_cancel_ends_the_whole_process_tree_within_seconds_and_for_good(room: Embedded, tmp_path: Path) -> None:
    script = "setsid sleep 300 & echo $! > {folder}/child-$0; sleep 300"
    app = make_app(tmp_path / "app", command=f"[/bin/sh, -c, '{script.format(folder=tmp_path)}', '{{i}}']")
    with room.run_engine():
        run = submit(room, app, 20)
        children = [
            int(wait_for(lambda path=tmp_path / f"child-{index}": path.exists() and path.read_text(), 30))
            for index in (0, 1)
        ]
        began = time.monotonic()
        room.mine.cancel_run(run.id)
        assert wait_for_end(room, run.id, 20) == {TaskState.CANCELED: 20}
        assert time.monotonic() - began < 15
        assert [pid for pid in children if is_alive(pid)] == []
    assert_each_ended_once(room)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_task_that_finishes_while_its_cancel_is_under_way_ends_in_one_state(room: Embedded, tmp_path: Path) -> None:
    """Cancels 200 short tasks one by one while they run: whatever the race, each ends once."""
    with room.run_engine():
        run = submit(room, witness_app(tmp_path, 0.01), 200)
        for index in range(200):
            room.mine.cancel_task(f"{run.id}.{index}")
        ended = wait_for_end(room, run.id)
    assert set(ended) <= {TaskState.COMPLETE, TaskState.CANCELED}
    assert_each_ended_once(room)


def test_a_newcomer_does_not_wait_behind_thousands(room: Embedded, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", command="[/bin/sleep, '0.02']")
    alice, bob = (room.service.as_user(User(name, admin=True)) for name in ("alice", "bob"))
    rows: Any = [{"i": index} for index in range(3000)]
    with room.run_engine():
        many = alice.submit(AppRun(app=app), rows)
        wait_for(lambda: counts(room, many.id).get(TaskState.COMPLETE, 0) >= 100, 30, "alice's first results")
        began = time.monotonic()
        one = bob.submit(AppRun(app=app), [{"i": 0}])
        wait_for(lambda: bob.run(one.id).ended, 20, "bob's result")
        waited_s = time.monotonic() - began
        assert not alice.run(many.id).ended
        alice.cancel_run(many.id)
        wait_for_end(room, many.id)
    assert waited_s < 8, "two seconds of work may lie before it, on a busy machine somewhat more"
