"""Images made ready on a node, once for all that want them: Podman and Charliecloud, under a real agent."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.containers import Prepared, counting
from tests.fixtures.registry import registry
from tests.integration.runtimes.conftest import packages

from .agent_spool import Spool, processes_with, wait_for
from .container_spools import box, make, mounts, podman, root, squashfs
from .test_faults import running_slots, started

__all__ = ["box", "make", "packages", "podman", "registry", "root", "squashfs"]


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
