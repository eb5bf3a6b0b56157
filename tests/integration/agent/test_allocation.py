"""Agents and their allocation: several share a bundle, drain, stop, and never take what does not fit."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from packhorse.agent.supervisor.pack import MAX_PASSED

from .agent_spool import Spool, processes_with, wait_for


def test_three_agents_share_a_bundle_and_nothing_is_lost_or_done_twice(spool: Spool) -> None:
    for _ in range(40):
        spool.block(*(spool.task("/bin/true") for _ in range(10)))
    agents = [spool.start() for _ in range(3)]
    assert [agent.wait(60) for agent in agents] == [0, 0, 0]
    assert set(spool.ends()) == set(range(1, 401))
    claims = Counter(record["block"] for record in spool.records("claim"))
    assert claims == Counter({f"{number:08d}": 1 for number in range(40)})


def test_sigterm_drains_what_runs_may_finish_and_the_rest_is_given_back(spool: Spool) -> None:
    spool.block(*(spool.sh("sleep 1") for _ in range(8)))
    agent = spool.start()
    wait_for(lambda: spool.records("start"), what="a running task")
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 0
    ends = spool.ends()
    back = [task for record in spool.records("back") for task, _ in record["tasks"]]
    assert all(end.get("exit") == 0 for end in ends.values())
    assert 1 <= len(ends) <= 4
    assert sorted([*ends, *back]) == list(range(1, 9)), "each has ended or was given back"
    assert {record["why"] for record in spool.records("back")} == {"drain"}
    assert spool.records("stop")[-1]["why"] == "signal"


def test_a_drain_ends_what_does_not_finish_in_its_grace(make_spool: Callable[..., Spool], mark: str) -> None:
    spool = make_spool(grace_s=0.5, kill_grace_s=0.5)
    spool.template()
    spool.block(spool.sh("sleep 100"))
    agent = spool.start()
    wait_for(lambda: spool.records("start"), what="a running task")
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 0
    assert spool.ends()[1]["why"] == "drained"
    assert processes_with(mark) == []


def test_what_does_not_fit_the_node_or_the_time_left_is_given_back(make_spool: Callable[..., Spool]) -> None:
    spool = make_spool(walltime_s=100.0, grace_s=10.0)
    spool.template()
    spool.run(
        spool.task("/bin/true", cores=3.0),
        spool.task("/bin/true", memory_mb=9000),
        spool.task("/bin/true", walltime_s=95.0),
        spool.task("/bin/true"),
    )
    assert set(spool.ends()) == {4}
    assert {task: record["why"] for record in spool.records("back") for task, _ in record["tasks"]} == {
        1: "nofit",
        2: "nofit",
        3: "walltime",
    }


def test_a_node_drains_for_what_was_passed_often_enough_and_claims_nothing_meanwhile(spool: Spool) -> None:
    spool.template("small", walltime_s=60.0)
    spool.block(spool.sh("sleep 4"))
    unclaimed = f"ls {spool.root}/bundle | wc -l"
    spool.block(spool.sh(unclaimed, cores=2.0, result="text"))
    for _ in range(120):
        spool.block(spool.sh("sleep 0.01", t="small"))
    agent = spool.start()
    assert agent.wait(60) == 0
    ends = spool.ends()
    before = [task for task, end in ends.items() if end["t0"] < ends[2]["t0"]]
    assert len(before) == 1 + MAX_PASSED
    assert int(ends[2]["result"]) >= 120 - MAX_PASSED - 1, "what it cannot run now is left for others"


def test_a_node_does_not_drain_for_what_has_no_time_left(make_spool: Callable[..., Spool]) -> None:
    spool = make_spool(walltime_s=100.0, grace_s=10.0)
    spool.template()
    spool.run(spool.sh("sleep 1"), spool.task("/bin/true", cores=2.0, walltime_s=95.0), spool.task("/bin/true"))
    order = [(record["k"], record.get("id")) for record in spool.records() if record["k"] in ("back", "end")]
    assert order == [("back", None), ("end", 3), ("end", 1)]


def test_cancel_of_what_runs_and_of_what_waits(spool: Spool, mark: str) -> None:
    spool.block(*(spool.sh("sleep 100") for _ in range(5)))
    agent = spool.start()
    wait_for(lambda: len(spool.records("start")) == 2, what="two running tasks")
    began = time.monotonic()
    spool.control(cancel=[[task, 1] for task in range(1, 6)])
    assert agent.wait(30) == 0
    assert time.monotonic() - began < 10
    assert {task: end["why"] for task, end in spool.ends().items()} == dict.fromkeys(range(1, 6), "canceled")
    assert processes_with(mark) == []


def test_a_killed_agent_leaves_nothing_running(spool: Spool, mark: str) -> None:
    spool.block(spool.sh("setsid sleep 100 & sleep 100"), spool.sh("sleep 100"))
    agent = spool.start()
    wait_for(lambda: len(spool.records("start")) == 2, what="two running tasks")
    agent.kill()
    agent.wait()
    wait_for(lambda: not processes_with(mark), what="the end of all tasks")


def test_blocks_may_come_while_the_agent_lingers_and_close_ends_it(make_spool: Callable[..., Spool]) -> None:
    spool = make_spool(linger_s=30.0)
    spool.template()
    agent = spool.start()
    for number in range(3):
        spool.block(spool.task("/bin/true"))
        wait_for(lambda number=number: len(spool.ends()) == number + 1, what="the block's end")
    spool.control(close=True)
    assert agent.wait(10) == 0
    assert spool.records("stop")[-1]["why"] == "closed"


def test_an_agent_that_gets_no_task_ends_the_slot_that_it_started_beforehand(make_spool: Callable[..., Spool]) -> None:
    spool = make_spool(linger_s=0.2)
    agent = spool.start()
    assert agent.wait(60) == 0
    assert (spool.root / "job.out").read_text() == ""
    assert [record["why"] for record in spool.records("stop")] == ["idle"]
    slots = [path for path in Path("/proc").glob("[0-9]*/cmdline") if is_slot_of(path, str(spool.zipapp))]
    assert slots == []


def test_the_first_slot_gets_none_of_the_numbers_of_standard_files(spool: Spool) -> None:
    spool.block(spool.sh("cat; echo out; echo err >&2"))
    command = f'exec "{sys.executable}" -I -S "{spool.zipapp}" "{spool.root}" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", command], timeout=60, check=False).returncode == 0
    assert spool.output(1) == b"out\n" and spool.output(1, "err") == b"err\n"


def is_slot_of(cmdline: Path, zipapp: str) -> bool:
    try:
        words = cmdline.read_bytes().decode().split("\0")
    except OSError:
        return False
    return zipapp in words and "--slot" in words
