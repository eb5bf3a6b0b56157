"""Tasks in containers, for real: Podman and Charliecloud under a real agent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.containers import Prepared, counting, prepare, why_not
from tests.fixtures.registry import registry
from tests.integration.runtimes.conftest import packages

from .agent_spool import Spool, processes_with, wait_for
from .test_faults import running_slots, started

__all__ = ["packages", "registry"]

ODD = ["", " ", "a b", "--help", "'", '"', "$HOME", "a\nb", "*", "\\", "é", "`id`"]
MADE: dict[str, Prepared] = {}
_numbers = count(1)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """Not below /tmp, of which each container has its own; with a short name."""
    folder = Path(f"/var/tmp/pha-{os.getpid()}")
    folder.mkdir()
    yield folder
    for made in MADE.values():
        made.forget()
    MADE.clear()
    shutil.rmtree(folder)


def ready(kind: str, request: pytest.FixtureRequest) -> Prepared:
    """A runtime with its image prepared, once for all tests here."""
    request.getfixturevalue("packages")
    if reason := why_not(kind):
        pytest.skip(reason)
    if kind not in MADE:
        MADE[kind] = prepare(kind, request.getfixturevalue("registry"), request.getfixturevalue("root"))
    return MADE[kind]


@pytest.fixture(params=["podman", "charliecloud"])
def box(request: pytest.FixtureRequest) -> Prepared:
    return ready(str(request.param), request)


@pytest.fixture
def podman(request: pytest.FixtureRequest) -> Prepared:
    return ready("podman", request)


@pytest.fixture
def squashfs(request: pytest.FixtureRequest) -> Prepared:
    return ready("charliecloud-squashfs", request)


@pytest.fixture
def make(make_spool: Callable[..., Spool], root: Path) -> Iterator[Callable[..., Spool]]:
    """Spools that containers see; afterwards no container of theirs may exist, and no cgroup."""
    made: list[Spool] = []

    def spool(**allocation: Any) -> Spool:
        folder = root / f"{next(_numbers)}"
        made.append(make_spool(folder, **{"cores": 1, **allocation}))
        return made[-1]

    yield spool
    for each in made:
        for name in {record["agent"] for record in each.records("agent")}:
            assert name not in containers() and not leaves(name)


def containers() -> str:
    """The names of Podman's containers, running or not."""
    return subprocess.run(
        ["podman", "ps", "--all", "--format={{.Names}}"], capture_output=True, text=True, check=True
    ).stdout


def leaves(agent: str) -> list[str]:
    """Cgroups that an agent or its containers have left, in any hierarchy."""
    return [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if f"/packhorse-{agent}" in folder]


def mounts(folder: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]


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


def test_an_image_is_made_ready_once_for_all_slots_and_agents(
    podman: Prepared, make_spool: Callable[..., Spool], root: Path
) -> None:
    """The image comes from an archive, under a name of its own; two agents with two slots each want it at once."""
    name, archive, calls = "localhost/packhorse-test:attach", root / "archive.tar", root / "attach.calls"
    subprocess.run(
        ["podman", "save", "--quiet", f"--output={archive}", podman.runtime.prepared(podman.image)], check=True
    )
    subprocess.run(["podman", "image", "rm", "--force", "--ignore", name], check=True, capture_output=True)
    load = (
        f"sleep 0.3 && podman load --quiet --input={archive} && podman tag {podman.runtime.prepared(podman.image)}"
        f" {name}"
    )
    counted = counting("sh", calls)
    container = podman.container(
        attach={"ready": ["podman", "image", "exists", name], "run": [[counted, "-c", load]], "mount": None}
    )
    container["head"] = [name if word == podman.runtime.prepared(podman.image) else word for word in container["head"]]
    spool = make_spool(root / "attach")
    spool.template(container=container, walltime_s=5.0)
    for _ in range(4):
        spool.block(spool.sh("sleep 0.5"), spool.sh("sleep 0.5"))
    agents = [spool.start(), spool.start()]
    assert [agent.wait(60) for agent in agents] == [0, 0]
    ends = spool.ends()
    assert len(ends) == 8 and all(end["exit"] == 0 for end in ends.values())
    assert calls.read_text().split() == ["-c"]
    subprocess.run(["podman", "image", "rm", "--force", name], check=True, capture_output=True)


@pytest.mark.parametrize("session", [False, True])
def test_an_image_that_somebody_removes_is_made_ready_again(
    podman: Prepared, make: Callable[..., Spool], session: bool
) -> None:
    name, prepared = f"localhost/packhorse-test:removed-{os.getpid()}", podman.runtime.prepared(podman.image)
    attach = {"ready": ["podman", "image", "exists", name], "run": [["podman", "tag", prepared, name]], "mount": None}
    container = podman.container(attach=attach, shell=session, stdin=session)
    container["head"] = [name if word == prepared else word for word in container["head"]]
    spool = make(linger_s=30.0)
    spool.template(container=container, **({"session": "shell", "start": ["/bin/sh"]} if session else {}))
    other = spool.template("other", container=podman.container(attach=attach, shell=False)) if session else "t"
    agent = spool.start()
    try:
        for number, script in enumerate(("exit 0", "exit 125", "true", "true"), 1):
            spool.block(spool.sh(script, t=other) if script.startswith("exit") else spool.sh(script))
            wait_for(lambda number=number: len(spool.ends()) == number, what="the task's end")
            if number == 2:
                subprocess.run(["podman", "untag", name], check=True)
    finally:
        subprocess.run(["podman", "untag", name], check=False, capture_output=True)
    spool.control(close=True)
    assert agent.wait(30) == 0
    ends = spool.ends()
    assert (ends[1]["exit"], ends[2]["exit"], ends[2].get("why")) == (0, 125, None), "the task's own code is its own"
    assert ends[3]["why"] == "image" and "somebody has removed it since" in ends[3]["msg"]
    assert ends[4]["exit"] == 0


def test_an_image_that_cannot_be_made_ready(squashfs: Prepared, make: Callable[..., Spool]) -> None:
    spool = make()
    spool.template()
    failing = squashfs.container(
        attach={"ready": ["false"], "run": [["true"], ["sh", "-c", "echo no space >&2; exit 3"], ["touch", "no"]]}
    )
    missing = squashfs.container(attach={"ready": None, "run": [["/no/such/program"]]})
    unmounted = squashfs.container(attach={"mount": ["squashfuse", "-f", "/no/such/file", str(squashfs.image.mounted)]})
    ends = spool.run(
        *[spool.task("true", container=container) for container in (failing, missing, unmounted)], spool.sh("echo fine")
    )
    assert [ends[task]["why"] for task in (1, 2, 3)] == ["image"] * 3, ends
    assert "exited with 3. no space" in ends[1]["msg"] and "/no/such/program: no such program" in ends[2]["msg"]
    assert "squashfuse" in ends[3]["msg"] and ends[4]["exit"] == 0


def test_a_task_that_is_canceled_while_its_image_is_made_ready(
    squashfs: Prepared, make: Callable[..., Spool], mark: str
) -> None:
    """And one that waits for it in another slot."""
    number = str(300_000_000 + os.getpid())
    container = squashfs.container(attach={"ready": ["false"], "run": [["sleep", number]]}) | {"image": "sha256:slow"}
    spool = make(cores=2)
    spool.template(container=container)
    spool.block(spool.sh("echo never"), spool.sh("echo never"))
    agent = spool.start()
    wait_for(lambda: len(processes_with(f"sleep\0{number}")) == 1 and len(running_slots(agent)) == 2)
    spool.control(cancel=[[1, 1], [2, 1]])
    assert agent.wait(30) == 0
    assert [end["why"] for end in spool.ends().values()] == ["canceled"] * 2 and spool.output(1) == spool.output(
        2
    ) == b""
    assert not processes_with(mark)


def test_the_least_recently_used_mounts_leave(squashfs: Prepared, make: Callable[..., Spool]) -> None:
    spool = make()
    images = [squashfs.container() | {"image": f"sha256:{number}"} for number in range(9)]
    flag = spool.root / "flag"
    again = [*images, images[1], images[0]]
    tasks = [spool.sh("true", container=container) for container in again]
    spool.block(*tasks, spool.sh(f"while [ ! -e {flag} ]; do sleep 0.05; done", container=images[1]))
    spool.template()
    agent = spool.start()
    wait_for(lambda: started(spool, 12))
    assert len(mounts(spool.root)) == 8
    flag.touch()
    assert agent.wait(30) == 0
    assert [end["exit"] for end in spool.ends().values()] == [0] * 12
    assert not mounts(spool.root)


def test_walltime_does_not_count_making_ready(squashfs: Prepared, make: Callable[..., Spool]) -> None:
    spool = make()
    slow = squashfs.container() | {
        "attach": squashfs.container()["attach"] | {"ready": ["false"], "run": [["sleep", "2.5"]]}
    }
    slow["attach"]["mount"] = ["squashfuse", "-f", f"{squashfs.image.folder}/image.sqfs", slow["tokens"]["mounted"]]
    spool.template(container=slow, walltime_s=2.0)
    end = spool.run(spool.sh("echo done"))[1]
    assert end["exit"] == 0 and end["wall"] < 2.0
