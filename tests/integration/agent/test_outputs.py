"""Outputs under a real agent, whichever way the task runs: on the host, in steps, in sessions, in a kept work folder,
in containers.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.containers import Prepared
from tests.fixtures.registry import registry
from tests.integration.runtimes.conftest import packages

from .agent_spool import Spool
from .container_spools import make, ready, root

__all__ = ["make", "packages", "registry", "root"]

NOBODY = 65534
SCRIPT = """
    mkdir -p run1/deep work more && echo 1 > run1/deep/f && echo bam > work/reads.bam && echo m > more/m &&
    printf x > "$(printf 'more/caf\\351')" && ln -s run1 latest && ln -s "$PWD/work/reads.bam" run1/reads.bam &&
    ln -s ../more/m run1/m && ln -s deep/f run1/f && ln -s "$PWD/in" run1/in && chmod 500 run1/deep && chmod 555 run1 &&
    mkdir -p shut/in/side && touch shut/in/side/f && chmod 000 shut/in && chmod 000 shut
"""
WANTED = ["run1/deep/f", "latest", "run1", "more", "more/*"]


IN_BOX = 'ln() { busybox ln "$@"; }; chown() { busybox chown "$@"; }\n'  # the test image has links for few of them


def declared(paths: list[str]) -> list[dict[str, Any]]:
    return [{"path": path, "glob": "*" in path} for path in paths]


def check(spool: Spool, task: int, end: dict[str, Any]) -> None:
    """All is kept, as root sees it."""
    assert end.get("exit") == 0 and "why" not in end, str(end)
    assert {file["path"]: file["size"] for file in end["files"]} == {
        "run1/deep/f": 2, "latest": 2 + 4 + 5, "run1": 2 + 4 + 5, "more": 3, "more/m": 2, "more/caf\udce9": 1,
    }  # fmt: skip
    out = spool.root / "out" / str(task)
    assert sorted(os.listdir(out)) == ["latest", "more", "run1"]
    assert (out / "latest").readlink() == Path("run1") and (out / "run1/m").readlink() == Path("../more/m")
    assert [(out / "run1" / name).read_text() for name in ("f", "reads.bam", "in", "m")] == [
        "1\n",
        "bam\n",
        "reads",
        "m\n",
    ]
    assert not (out / "run1/reads.bam").is_symlink() and not (out / "run1/in").is_symlink()
    assert [stat.S_IMODE((out / "run1" / name).stat().st_mode) for name in (".", "deep")] == [0o555, 0o500]
    assert os.listdir(os.fsencode(out / "more")) in ([b"m", b"caf\xe9"], [b"caf\xe9", b"m"])


@pytest.fixture(params=["root", "user"])
def ours(
    request: pytest.FixtureRequest, make_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Spool]:
    """A spool whose agents run as root, or as an ordinary user."""
    folder = Path(tempfile.mkdtemp(prefix="packhorse-outputs-"))
    folder.chmod(0o755)
    spool = make_spool(folder / "spool", cores=1)
    (folder / "reads").write_text("reads")
    if request.param == "user":
        if os.getuid() != 0:
            pytest.skip("only root becomes another user")
        shutil.copy(spool.zipapp, folder / "agent.pyz")
        spool.zipapp = folder / "agent.pyz"
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(folder)], check=True)
        began = subprocess.Popen

        def as_nobody(command: list[str], **how: Any) -> Any:
            user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if str(spool.zipapp) in command else {}
            return began(["/usr/bin/python3", *command[1:]] if user else command, **how, **user)

        monkeypatch.setattr(subprocess, "Popen", as_nobody)
    yield spool
    spool.close()
    monkeypatch.undo()
    shutil.rmtree(folder)


def test_every_way_on_the_host(ours: Spool) -> None:
    reads = [{"path": "in", "source": str(ours.root.parent / "reads")}]
    ours.template(outputs=declared(WANTED), inputs=reads)
    ours.template("s", session="shell", start=["/bin/sh"], outputs=declared(WANTED), inputs=reads)
    kept = str(ours.root / "out" / "4.work")
    ends = ours.run(
        ours.sh(SCRIPT, inputs=reads),
        ours.task(steps=[{"argv": ["/bin/sh", "-c", SCRIPT]}, {"argv": ["/bin/true"], "cwd": "more"}], inputs=reads),
        ours.sh(SCRIPT, t="s", inputs=reads),
        ours.sh(SCRIPT, work=kept, inputs=reads),
        ours.sh(SCRIPT + "mkfifo more/pipe; ln -s /etc/shadow more/away", inputs=reads),
        ours.sh("ls -A", outputs=[]),
    )
    for task in range(1, 5):
        check(ours, task, ends[task])
    assert ends[5]["why"] == "outputs" and "more/pipe is a named pipe" in ends[5]["msg"]
    assert "more/away leads out of the work folder, to /etc/shadow" in ends[5]["msg"]
    assert ours.output(6) == b""
    assert sorted(os.listdir(ours.root / "out")) == ["1", "2", "3", "4"], "no kept work folder, nothing half moved"
    assert os.listdir(ours.root / "work") == []


def test_what_an_attempt_left_in_a_kept_work_folder_stays_when_its_outputs_are_refused(ours: Spool) -> None:
    kept = ours.root / "out" / "1.work"
    ours.template(outputs=declared(["a", "b"]))
    end = ours.run(
        ours.sh(
            "echo 1 > a; mkdir b; chmod 0 b; ln -s /etc b2; mkfifo c",
            work=str(kept),
            outputs=declared(["a", "b", "c", "b2"]),
        )
    )[1]
    assert end["why"] == "outputs" and "c is a named pipe" in end["msg"] and "b2 leads out" in end["msg"]
    assert sorted(os.listdir(kept)) == ["a", "b", "b2", "c"] and stat.S_IMODE((kept / "b").stat().st_mode) == 0
    assert os.listdir(ours.root / "out") == ["1.work"]


@pytest.mark.parametrize("kind", ["podman", "charliecloud"])
def test_in_a_container(kind: str, make: Callable[..., Spool], request: pytest.FixtureRequest) -> None:
    """Absolute links that it made, files that it gave to another user, and its own root as `root`."""
    box: Prepared = ready(kind, request)
    spool = make()
    (spool.root / "reads").write_text("reads")
    reads = [{"path": "in", "source": str(spool.root / "reads")}]
    spool.template(container=box.container(), outputs=declared(WANTED))
    spool.template(
        "s",
        session="shell",
        start=["/bin/sh"],
        container=box.container(shell=True, stdin=True),
        outputs=declared(WANTED),
    )
    theirs = "mkdir o; echo x > o/f; mkdir left; touch left/f; chmod 700 o left; chown -R 1234:1234 o left"
    ends = spool.run(
        spool.sh(IN_BOX + SCRIPT, inputs=reads),
        spool.sh(IN_BOX + SCRIPT, t="s", inputs=reads),
        spool.sh(
            IN_BOX + theirs if kind == "podman" and os.getuid() == 0 else "mkdir o; echo x > o/f",
            outputs=declared(["o"]),
        ),
        spool.sh(
            IN_BOX + "mkdir -p root/data/out; echo y > root/data/y; ln -s /data/y root/data/out/l",
            root="root",
            outputs=declared(["/data/out"]),
        ),
    )
    check(spool, 1, ends[1])
    check(spool, 2, ends[2])
    assert ends[3]["files"] == [{"path": "o", "size": 2}] and (spool.root / "out/3/o/f").read_text() == "x\n"
    assert (
        ends[4]["files"] == [{"path": "/data/out", "size": 2}]
        and (spool.root / "out/4/data/out/l").read_text() == "y\n"
    )
    assert os.listdir(spool.root / "work") == []
