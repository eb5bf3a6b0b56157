"""What must hold whatever is killed, canceled, drained or full: nothing lost, nothing doubled, nothing left running."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .agent_spool import Spool, processes_with, wait_for


def pids_in(spool: Spool, task: int) -> list[int]:
    """Process ids that a running task printed."""
    return [int(word) for word in spool.output(task).split()]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def child_commands(pid: int) -> list[bytes]:
    return [Path(f"/proc/{child}/cmdline").read_bytes() for child in children(pid)]


def running_slots(agent: subprocess.Popen[bytes]) -> list[int]:
    """The slot processes of an agent."""
    return [pid for pid in children(agent.pid) if b"--slot" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def started(spool: Spool, *tasks: int) -> bool:
    return set(tasks) <= {record["id"] for record in spool.records("start")}


def test_killed_agent_leaves_no_process_and_no_files(spool: Spool, mark: str) -> None:
    spool.block(spool.sh("sleep 91 & setsid sleep 92 & trap '' TERM; sleep 93; sleep 94"), spool.sh("sleep 95"))
    agent = spool.start()
    wait_for(lambda: started(spool, 1, 2) and len(processes_with(mark)) >= 5, what="tasks running")
    agent.kill()
    agent.wait()
    wait_for(lambda: not processes_with(mark), what="no process left")
    wait_for(lambda: not list((spool.root / "scratch").iterdir()), what="scratch removed")
    wait_for(lambda: not list((spool.root / "work").iterdir()), what="work folders removed")
    assert spool.ends() == {}


def test_killed_slot_loses_only_its_task(spool: Spool, mark: str) -> None:
    spool.block(spool.sh("echo before; setsid sleep 91 & sleep 92"), *[spool.task("/bin/true") for _ in range(20)])
    agent = spool.start()
    wait_for(lambda: started(spool, 1) and len(spool.ends()) == 20 and spool.output(1) == b"before\n")
    slot = wait_for(
        lambda: [pid for pid in running_slots(agent) if any(b"sleep" in command for command in child_commands(pid))]
    )[0]
    spool.block(*[spool.task("/bin/true") for _ in range(20)])
    os.kill(slot, signal.SIGKILL)
    assert agent.wait(20) == 0
    ends = spool.ends()
    assert ends[1]["why"] == "lost" and spool.output(1) == b"before\n"
    assert all(ends[task]["exit"] == 0 for task in range(2, 42))
    assert not processes_with(mark)


def test_killed_task_is_its_own_signal(spool: Spool) -> None:
    spool.block(spool.sh("echo $$; exec sleep 91"))
    agent = spool.start()
    os.kill(wait_for(lambda: pids_in(spool, 1))[0], signal.SIGSEGV)
    assert agent.wait(20) == 0
    assert spool.ends()[1]["sig"] == signal.SIGSEGV and "why" not in spool.ends()[1]


def test_cancel_running_queued_prefetched_and_future(make_spool: Callable[..., Spool], mark: str) -> None:
    spool = make_spool(linger_s=1.0)
    spool.template()
    spool.block(
        *[spool.task("/bin/true") for _ in range(30)]
    )  # so that the template counts as short, and is prefetched
    spool.block(*[spool.sh("echo x; sleep 30") for _ in range(10)])
    spool.control(cancel=[[41, 1], [41, 2]])
    agent = spool.start()
    ran = wait_for(
        lambda: [found for found in [[r["id"] for r in spool.records("start") if r["id"] > 30]] if len(found) == 2]
    )[0]
    spool.control(cancel=[[task, 1] for task in range(31, 41)])
    wait_for(lambda: len(spool.ends()) == 40, timeout=5, what="cancel within seconds")
    spool.block(spool.sh("echo never"), spool.task("/bin/true"))
    assert agent.wait(20) == 0
    ends = spool.ends()
    assert {ends[task]["why"] for task in range(31, 42)} == {"canceled"} and ends[42]["exit"] == 0
    assert all(spool.output(task) == b"x\n" for task in ran) and not processes_with(mark)


def test_sigterm_gives_back_and_drains(make_spool: Callable[..., Spool]) -> None:
    spool = make_spool(grace_s=3.0, kill_grace_s=1.0)
    spool.template()
    spool.block(
        spool.sh("sleep 1; echo done"),
        spool.sh("trap '' TERM; sleep 60; sleep 61"),
        *[spool.task("/bin/true") for _ in range(10)],
    )
    spool.block(spool.task("/bin/true"))
    agent = spool.start()
    wait_for(lambda: started(spool, 1, 2))
    agent.terminate()
    assert agent.wait(6) == 0
    ends = spool.ends()
    assert sorted(ends) == [1, 2] and ends[1]["exit"] == 0 and ends[2]["why"] == "drained"
    assert sorted(key for record in spool.records("back") for key in record["tasks"]) == [
        [task, 1] for task in range(3, 13)
    ]
    assert spool.records()[-1]["why"] == "signal" and len(list((spool.root / "bundle").iterdir())) == 1


def test_second_sigterm_is_quick(spool: Spool) -> None:
    spool.block(spool.sh("sleep 60"))
    agent = spool.start()
    wait_for(lambda: started(spool, 1))
    agent.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        agent.wait(1)
    agent.terminate()
    assert agent.wait(4) == 0 and spool.ends()[1]["why"] == "drained"


def test_a_program_that_is_terminated_just_before_its_job_is_was_ended_with_it(spool: Spool) -> None:
    """Batch systems signal the programs of a job in no order: an srun of the task's may fail before the agent hears
    anything.
    """
    spool.block(spool.sh("echo $$; exec sleep 60"))
    agent = spool.start()
    wait_for(lambda: started(spool, 1) and pids_in(spool, 1))
    os.kill(pids_in(spool, 1)[0], signal.SIGTERM)
    time.sleep(0.5)
    assert spool.ends() == {}
    agent.terminate()
    assert agent.wait(4) == 0 and spool.ends()[1]["why"] == "drained"


def test_a_program_that_somebody_terminates_has_failed(spool: Spool) -> None:
    spool.block(spool.sh("echo $$; exec sleep 60"))
    agent = spool.start()
    wait_for(lambda: started(spool, 1) and pids_in(spool, 1))
    os.kill(pids_in(spool, 1)[0], signal.SIGTERM)
    assert agent.wait(10) == 0
    assert spool.ends()[1]["sig"] == signal.SIGTERM and "why" not in spool.ends()[1]


def test_walltime_of_the_agent(make_spool: Callable[..., Spool]) -> None:
    spool = make_spool(walltime_s=4.0, grace_s=2.0, kill_grace_s=1.0)
    spool.template(walltime_s=None)
    ends = spool.run(*[spool.sh("sleep 30") for _ in range(3)], timeout=6)
    assert sorted(end["why"] for end in ends.values()) == ["drained", "drained"]
    assert spool.records("back")[0]["why"] == "drain" and spool.records("stop")[0]["why"] == "walltime"


def test_close(make_spool: Callable[..., Spool]) -> None:
    spool = make_spool(linger_s=60.0)
    spool.template()
    spool.block(spool.sh("sleep 0.5"))
    agent = spool.start()
    wait_for(lambda: spool.records("claim"))
    spool.control(close=True)
    assert agent.wait(5) == 0
    assert spool.records("stop")[0]["why"] == "closed" and spool.ends()[1]["exit"] == 0


def test_blocks_that_come_while_it_lingers(make_spool: Callable[..., Spool]) -> None:
    spool = make_spool(linger_s=2.0)
    spool.template()
    agent = spool.start()
    wait_for(lambda: spool.records("agent"))
    spool.block(spool.task("/bin/true"))
    wait_for(spool.ends, timeout=1.5)
    assert agent.wait(10) == 0


def test_three_agents_race_for_200_blocks(spool: Spool) -> None:
    for _ in range(200):
        spool.block(*[spool.task("/bin/true") for _ in range(3)])
    agents = [spool.start() for _ in range(3)]
    assert [agent.wait(60) for agent in agents] == [0, 0, 0]
    assert sorted(spool.ends()) == list(range(1, 601))
    claims = [record["block"] for record in spool.records("claim")]
    assert len(claims) == len(set(claims)) == 200 and len(list((spool.root / "journal").glob("*.jsonl"))) == 3


def test_2000_tasks(spool: Spool) -> None:
    for _ in range(10):
        spool.block(*[spool.task("/bin/true") for _ in range(200)])
    agent = spool.start()
    assert agent.wait(60) == 0
    ends = spool.ends()
    assert len(ends) == 2000 and all(end["exit"] == 0 for end in ends.values())


def test_output_of_short_tasks_never_mixes(spool: Spool) -> None:
    ends = spool.run(*[spool.sh(f"echo {task}; echo e{task} >&2; exit {task % 3}") for task in range(1, 201)])
    assert all(
        spool.output(task) == f"{task}\n".encode() and spool.output(task, "err") == f"e{task}\n".encode()
        for task in ends
    )
    assert [ends[task]["exit"] for task in range(1, 201)] == [task % 3 for task in range(1, 201)]


def test_logs_can_be_followed(spool: Spool) -> None:
    spool.block(spool.sh("echo one; sleep 1.5; echo two; sleep 1.5; echo three"))
    agent = spool.start()
    for text in (b"one\n", b"one\ntwo\n"):
        wait_for(lambda text=text: spool.output(1) == text, what=f"{text!r} followed")
        assert not spool.ends()
    assert agent.wait(10) == 0 and spool.output(1) == b"one\ntwo\nthree\n"


def test_a_long_task_holds_no_prefetched_task(spool: Spool) -> None:
    """A template that was quick until now turns slow: what waited behind it runs elsewhere."""
    spool.block(
        *[spool.task("/bin/true") for _ in range(40)], spool.sh("sleep 3"), *[spool.sh("sleep 0.01") for _ in range(20)]
    )
    agent = spool.start()
    wait_for(lambda: len(spool.ends()) == 60, timeout=2.5)
    assert agent.wait(10) == 0 and spool.ends()[41]["exit"] == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], stderr=subprocess.DEVNULL
    ).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("script", [":", "echo some output; echo more >&2"])
def test_full_disk_loses_nothing(
    make_spool: Callable[..., Spool], small_disk: Path, tmp_path: Path, script: str
) -> None:
    spool = make_spool(root=small_disk / "spool", scratch=str(tmp_path / "scratch"), linger_s=1.0)
    spool.template()
    spool.block(*[spool.sh(f"echo {number}; {script}" if script != ":" else ":") for number in range(1, 41)])
    spool.block(spool.sh(":"))
    filler = small_disk / "filler"
    spool.block(
        spool.sh(f"head -c 2000000 /dev/zero > {filler} 2>/dev/null; sleep 0.3"),
        *[spool.sh("echo " + "y" * 3000) for _ in range(40)],
    )
    agent = spool.start()
    wait_for(lambda: filler.exists() and filler.stat().st_size > 100000)
    wait_for(lambda: shutil.disk_usage(small_disk).free == 0)
    with pytest.raises(subprocess.TimeoutExpired):
        agent.wait(3)
    assert len(spool.ends()) < 82
    filler.unlink()
    assert agent.wait(20) == 0
    ends = spool.ends()
    assert sorted(ends) == list(range(1, 83)) and spool.records()[-1]["k"] == "stop"
    assert all(spool.output(task) == b"y" * 3000 + b"\n" for task in range(43, 83))


def oldest_python() -> str | None:
    """A Python 3.6, if this machine has one."""
    for found in sorted(Path.home().glob(".pyenv/versions/3.6*/bin/python3.6")):
        return str(found)
    found = shutil.which("python3.6")
    return found if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0 else None


def test_python36(spool: Spool) -> None:
    python = oldest_python()
    if python is None:
        pytest.skip("no Python 3.6 here")
    spool.template("w", walltime_s=0.3)
    spool.block(
        *[spool.sh("echo hi; exit 5") for _ in range(50)],
        spool.sh("sleep 20", t="w"),
        spool.task("/no/such"),
        spool.sh("setsid sleep 99 & exit 0"),
    )
    agent = spool.start(python=python)
    assert agent.wait(30) == 0, (spool.root / "job.out").read_text()
    ends = spool.ends()
    assert len(ends) == 53 and ends[1]["exit"] == 5 and spool.output(7) == b"hi\n"
    assert ends[51]["why"] == "walltime" and ends[52]["why"] == "spawn" and ends[53]["exit"] == 0
