"""Tasks in containers, for real: Podman and Charliecloud under a real agent."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.containers import Prepared
from tests.fixtures.registry import registry
from tests.integration.runtimes.conftest import packages

from .agent_spool import Spool, processes_with, wait_for
from .container_spools import box, containers, leaves, make, mounts, podman, root, squashfs
from .test_faults import running_slots, started

__all__ = ["box", "make", "packages", "podman", "registry", "root", "squashfs"]

ODD = ["", " ", "a b", "--help", "'", '"', "$HOME", "a\nb", "*", "\\", "é", "`id`"]


def test_what_a_task_sees_and_leaves(box: Prepared, make: Callable[..., Spool]) -> None:
    spool = make(env={"OF_THE_AGENT": "1"})
    spool.template(
        container=box.container({"FROM_TASK": "a 'b'"}),
        env={"FROM_TASK": "on the host"},
        outputs=[{"path": "o", "optional": True}],
    )
    (spool.root / "data").write_text("reads")
    script = """printf "[%s]" "$FROM_IMAGE" "$FROM_TASK" "${OF_THE_AGENT-none}" "$PACKHORSE_TASK" "$PACKHORSE_MEMORY_MB"
                cat in; echo e >&2; mkdir o; touch o/f"""
    ends = spool.run(
        spool.sh(script, inputs=[{"path": "in", "source": str(spool.root / "data")}]),
        spool.task("sh", "-c", "printf '[%s]' \"$@\"; exit 7", "sh", *ODD),
        spool.sh("kill -SEGV $$"),
        spool.sh("echo '{\"growth\": 1}'", result="json", work=str(spool.root / "kept"), progress="growth"),
        spool.task("no-such-program"),
    )
    assert spool.output(1) == b"[yes][a 'b'][none][1][200]reads" and spool.output(1, "err") == b"e\n"
    status = (spool.root / "out" / "1" / "o" / "f").stat()
    assert (ends[1]["exit"], status.st_uid, status.st_gid) == (0, os.getuid(), os.getgid())
    assert (ends[2]["exit"], spool.output(2).decode()) == (7, "".join(f"[{word}]" for word in ODD))
    assert ends[3]["sig"] == signal.SIGSEGV
    assert (ends[4]["exit"], ends[4]["result"], ends[4]["progress"]) == (0, {"growth": 1}, 1) and not (
        spool.root / "kept"
    ).exists()
    assert ends[5]["exit"] not in (0, None) and "o such file" in ends[5]["tail"]


@pytest.mark.parametrize("limits", ["", "sampled"])
def test_memory(box: Prepared, make: Callable[..., Spool], limits: str) -> None:
    """The limit holds, the peak is that of the container, and a kill that the task hides is told of."""
    spool = make()
    spool.template(container=box.container(), memory_mb=150)
    hog = "dd if=/dev/zero of=/dev/null bs={}M count=1; {}"
    if limits:
        end = spool.run(
            spool.sh("dd if=/dev/zero bs=40M | tail -c 400000000 | sleep 30", walltime_s=20), PACKHORSE_LIMITS=limits
        )[1]
        assert end["why"] == "memory"
        return
    ends = spool.run(
        spool.sh(hog.format(70, "sleep 0.3")),
        spool.sh(hog.format(400, "exit 0")),
        spool.sh(hog.format(400, "sleep 60")),
        timeout=30,
    )
    if spool.records("agent")[0]["limits"] == "sampled":
        pytest.skip("no memory cgroup that we may divide")
    assert (ends[1]["exit"], 70 < ends[1]["peak"] / 2**20 < 110) == (0, True)
    assert (ends[2]["why"], ends[3]["why"], ends[3]["wall"] < 10) == ("memory", "memory", True)
    assert ends[2]["peak"] > 120 << 20


def test_usage_is_the_containers(box: Prepared, make: Callable[..., Spool]) -> None:
    spool = make()
    spool.template(container=box.container())
    end = spool.run(
        spool.sh("dd if=/dev/zero of=big bs=1M count=30; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; rm big")
    )[1]
    assert end["exit"] == 0 and end["wr"] >= 30 << 20 and 0.2 < end["cpu"] < 2 * end["wall"]


def test_cancel_ends_the_whole_tree(box: Prepared, make: Callable[..., Spool], mark: str) -> None:
    spool = make()
    spool.template(container=box.container({"MARK": mark}))
    tree = "trap '' TERM; setsid sleep 1001 & sleep 1002 & echo ready; wait; sleep 1003"
    spool.block(spool.sh(tree), spool.sh("echo next"))
    agent = spool.start()
    wait_for(lambda: spool.output(1) == b"ready\n")
    spool.control(cancel=[[1, 1]])
    assert agent.wait(30) == 0
    assert (spool.ends()[1]["why"], spool.ends()[2]["exit"], spool.output(2)) == ("canceled", 0, b"next\n")
    assert not processes_with(mark)


@pytest.mark.parametrize("who", ["agent", "slot"])
def test_who_is_killed_leaves_nothing(box: Prepared, make: Callable[..., Spool], mark: str, who: str) -> None:
    spool = make()
    spool.template(container=box.container({"MARK": mark}))
    spool.block(spool.sh("setsid sleep 1001 & echo ready; sleep 1002"), spool.sh("echo next"))
    agent = spool.start()
    wait_for(lambda: started(spool, 1) and spool.output(1) == b"ready\n")
    name = spool.records("agent")[0]["agent"]
    if who == "agent":
        agent.kill()
        agent.wait()
        wait_for(lambda: not processes_with(mark))
        wait_for(lambda: name not in containers() and not list((spool.root / "work").iterdir()))
        wait_for(lambda: not list((spool.root / "scratch").glob("packhorse-" + name)))
        wait_for(lambda: not leaves(name))
        return
    os.kill(running_slots(agent)[0], signal.SIGKILL)
    assert agent.wait(30) == 0
    assert (spool.ends()[1]["why"], spool.ends()[2]["exit"]) == ("lost", 0)
    assert not processes_with(mark)


def test_a_shell_serves_many_tasks_in_one_container(podman: Prepared, make: Callable[..., Spool], mark: str) -> None:
    before = podman.count("run")
    spool = make()
    spool.template(
        "s", session="shell", start=["/bin/sh"], container=podman.container({"MARK": mark}, shell=True, stdin=True)
    )
    ends = spool.run(
        *[spool.sh(f"echo {number} $PACKHORSE_TASK; echo e >&2; exit {number % 3}", t="s") for number in range(1, 41)],
        spool.sh("setsid sleep 1001 >/dev/null 2>&1 & echo left", t="s"),
        spool.sh("ps | grep -c [s]leep; kill -9 $$", t="s"),
        spool.sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; dd if=/dev/zero of=f bs=1M count=3; ls", t="s"),
    )
    assert podman.count("run") - before == 1
    assert all(
        spool.output(task) == f"{task} {task}\n".encode() and spool.output(task, "err") == b"e\n"
        for task in range(1, 41)
    )
    assert [ends[task]["exit"] for task in range(1, 41)] == [task % 3 for task in range(1, 41)]
    assert spool.output(42) == b"0\n", "what the task before left behind has been ended"
    assert (ends[42]["sig"], ends[43]["exit"], spool.output(43)) == (9, 0, b"f\n")
    assert ends[43]["cpu"] > 0.04 > ends[40]["cpu"] and ends[43]["wr"] >= 3 << 20 > ends[40]["wr"]
    assert not processes_with(mark)


def test_a_session_that_is_killed_starts_again(box: Prepared, make: Callable[..., Spool], mark: str) -> None:
    spool = make()
    spool.template(
        "s", session="shell", start=["/bin/sh"], container=box.container({"MARK": mark}, shell=True, stdin=True)
    )
    hog = "dd if=/dev/zero of=/dev/null bs=400M count=1; true"
    ends = spool.run(
        spool.sh("sleep 1001", t="s", walltime_s=0.7),
        spool.sh("echo again", t="s"),
        spool.sh(hog, t="s"),
        spool.sh("echo more", t="s"),
    )
    assert (ends[1]["why"], ends[2]["exit"], ends[4]["exit"]) == ("walltime", 0, 0)
    assert (spool.output(2), spool.output(4)) == (b"again\n", b"more\n")
    if spool.records("agent")[0]["limits"] != "sampled":
        assert ends[3]["why"] == "memory"
    assert not processes_with(mark)


def test_a_worker_in_a_container(box: Prepared, make: Callable[..., Spool]) -> None:
    worker = 'n=0; while read -r line; do n=$((n+1)); echo "{\\"output\\": \\"$n\\", \\"requestId\\": 0}"; done'
    spool = make()
    spool.template("w", session="worker", start=["sh", "-c", worker], container=box.container(stdin=True))
    ends = spool.run(*[spool.task("x", t="w") for _ in range(10)])
    assert [end["exit"] for end in ends.values()] == [0] * 10
    assert [spool.output(task) for task in range(1, 11)] == [str(task).encode() for task in range(1, 11)]


def test_steps_each_have_their_container(podman: Prepared, squashfs: Prepared, make: Callable[..., Spool]) -> None:
    spool = make()
    spool.template(container=podman.container({"WHO": "podman"}))
    (spool.root / "in").write_text("input ")
    steps: list[dict[str, Any]] = [
        {"argv": ["sh", "-c", "cat; echo $WHO; exit 4"], "stdin": "in", "stdout": "d/one", "ignore_error": True,
         "container": podman.container({"WHO": "first"}, stdin=True)},
        {"argv": ["sh", "-c", "cat d/one; echo $WHO"], "container": squashfs.container({"WHO": "second"})},
        {"argv": ["sh", "-c", "echo $WHO; ls /app"]},
        {"argv": ["sh", "-c", "echo ${FROM_IMAGE-host}; exit 3"], "container": None},
    ]  # fmt: skip
    end = spool.run(spool.task(steps=steps, inputs=[{"path": "in", "source": str(spool.root / "in")}]))[1]
    assert spool.output(1) == b"input first\nsecond\npodman\nhost\n"
    assert end["exit"] == 3 and "why" not in end


def test_a_mount_is_kept_over_tasks_and_gone_at_the_end(
    squashfs: Prepared, make: Callable[..., Spool], mark: str
) -> None:
    spool = make(linger_s=2.0)
    spool.template(container=squashfs.container(), walltime_s=0.5)
    spool.block(
        *[spool.sh("readlink /proc/self/root; sleep 0.1; exit 0", walltime_s=60) for _ in range(3)],
        spool.sh("sleep 1001"),
    )
    agent = spool.start()
    wait_for(lambda: len(spool.ends()) == 3)
    servers = [
        pid
        for pid in processes_with("image.sqfs")
        if str(squashfs.image.folder) in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    assert len(servers) == 1 and len(mounts(spool.root)) == 1
    wait_for(lambda: len(spool.ends()) == 4)
    spool.block(spool.sh("echo after", walltime_s=60))
    assert agent.wait(30) == 0
    assert [spool.ends()[task].get("why") for task in range(1, 6)] == [None, None, None, "walltime", None]
    assert not mounts(spool.root) and not processes_with(mark)


@pytest.mark.parametrize("who", ["agent", "slot"])
def test_mounts_go_with_who_is_killed(squashfs: Prepared, make: Callable[..., Spool], mark: str, who: str) -> None:
    spool = make()
    spool.template(container=squashfs.container())
    spool.block(spool.sh("echo ready; sleep 1001"))
    agent = spool.start()
    wait_for(lambda: started(spool, 1) and spool.output(1) == b"ready\n")
    assert len(mounts(spool.root)) == 1
    killed = agent.pid if who == "agent" else running_slots(agent)[0]
    os.kill(killed, signal.SIGKILL)
    agent.wait(30)
    wait_for(lambda: not mounts(spool.root) and not processes_with(mark))
