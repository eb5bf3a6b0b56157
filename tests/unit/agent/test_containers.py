"""What the agent decides about containers and background jobs without running any."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.agent.background.diskusage import DiskUsage, free_bytes
from packhorse.agent.background.fetching import start_fetch
from packhorse.agent.background.main import has_ended, open_journal
from packhorse.agent.leaf import NoLeaf, oom_kills, remove_tree
from packhorse.agent.mounts import mounts_below, unescape
from packhorse.agent.outcome import Outcome, Verdict
from packhorse.agent.processes import Programs
from packhorse.agent.slot.attach import wait_for_lock
from packhorse.agent.slot.containers import Containers, containers_of, fill
from packhorse.agent.slot.sessions import Sessions
from packhorse.agent.supervisor.cgroup import divide
from packhorse.agent.supervisor.cleanup import Cleanup
from packhorse.agent.supervisor.handle import SlotHandle
from packhorse.agent.supervisor.task import Task, read_task
from packhorse.agent.supervisor.watch import MAKE_READY_S, watch

TOKENS = {"work": "@7f3a.work@", "cgroup": "@7f3a.cgroup@"}


@pytest.mark.parametrize(
    ("head", "cgroup", "expected"),
    [
        (["run", "--mount=source=@7f3a.work@,target=@7f3a.work@"], None, ["run", "--mount=source=/w,target=/w"]),
        (
            ["--cgroup-manager=cgroupfs", "--cgroup-parent=@7f3a.cgroup@"],
            "/c",
            ["--cgroup-manager=cgroupfs", "--cgroup-parent=/c"],
        ),
        (["run", "--cgroup-manager=cgroupfs", "--cgroup-parent=@7f3a.cgroup@", "i"], None, ["run", "i"]),
        (["run", "--cgroup-parent=@7f3a.cgroup@", "i"], None, ["run", "i"]),
        (["--cgroup-manager=cgroupfs", "run"], None, ["--cgroup-manager=cgroupfs", "run"]),
    ],
)
def test_tokens(head: list[str], cgroup: str | None, expected: list[str]) -> None:
    assert fill(head, TOKENS, {"work": "/w", "cgroup": cgroup}) == expected


@given(st.lists(st.text(max_size=30)))
def test_what_has_no_token_stays_as_it_is(arguments: list[str]) -> None:
    assert fill(arguments, TOKENS, {"work": "/w", "cgroup": None}) == arguments


def test_the_containers_of_a_task() -> None:
    own, other = {"image": "a"}, {"image": "b"}
    assert containers_of({"container": own}) == [own]
    assert containers_of({"container": own, "steps": [{}, {"container": other}, {"container": None}]}) == [own, other]
    assert containers_of({"steps": [{}]}) == containers_of({}) == []


def test_sessions_of_two_containers_are_two() -> None:
    def template_of(key: str) -> dict[str, Any]:
        return {"key": key, "session": "shell", "start": ["sh"], "container": {"image": key}}

    one, two, same = (read_task(json.dumps({"id": 1, "t": key}).encode(), template_of) for key in "aba")
    assert one.session == same.session != two.session
    line = {"id": 1, "t": "a", "container": {"image": "c"}}
    assert read_task(json.dumps(line).encode(), template_of).session not in (one.session, two.session)


def refusal(action: Any, *arguments: Any) -> tuple[str, str]:
    with pytest.raises(Verdict) as verdict:
        action(*arguments)
    return verdict.value.why, verdict.value.msg


def test_locks_are_in_a_folder_of_the_users_own(tmp_path: Path) -> None:
    programs = Programs()
    os.close(wait_for_lock(programs, str(tmp_path / "own"), "sha256:1/../x"))
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["sha256-1----x.lock"]
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to("own")
    (tmp_path / "file").touch()
    for name in ("open", "link", "file"):
        why, msg = refusal(wait_for_lock, programs, str(tmp_path / name), "i")
        assert why == "image" and "must be a folder of this user's own" in msg
    assert refusal(wait_for_lock, programs, str(tmp_path / "no" / "such"), "i")[0] == "image"
    programs.signaled = 15
    assert refusal(wait_for_lock, programs, str(tmp_path / "own"), "i")[0] == "image"


def test_a_container_that_makes_no_sense() -> None:
    context = SimpleNamespace(work="/w", capture_paths=[("/c/0.out", "/c/0.err")], leaf=NoLeaf())
    containers = Containers(context, {"name": "n", "mounts": "/m", "locks": "/l"})  # type: ignore[arg-type]
    why, msg = refusal(containers.begin, {"image": "i", "head": ["@x@"], "tokens": {"other": "@x@"}})
    assert why == "inputs" and "'other'" in msg
    task = {"session": "shell", "start": ["sh"], "container": {"image": "i", "head": [], "binds_capture": None}}
    why, msg = refusal(Sessions(context).serve, task, {}, 0, Outcome(), containers)  # type: ignore[arg-type]
    assert why == "inputs" and "binds_capture" in msg


def test_walltime_waits_while_an_image_is_made_ready_but_not_for_ever() -> None:
    task, told = Task((1, 1), b"", "t"), []
    task.started, task.paused, task.walltime = 100.0, 101.0, 5.0
    slot = SlotHandle.__new__(SlotHandle)
    slot.sent, slot.paths = deque([task]), [("/o", "/e")]
    slot.signal = lambda task, how: told.append(how)  # type: ignore[method-assign]
    node = SimpleNamespace(
        slots=SimpleNamespace(busy=lambda: [slot]),
        drain=SimpleNamespace(kill_grace_s=1.0),
        ledger=SimpleNamespace(journal=SimpleNamespace(add=told.append), log_refuses=lambda now: True),
    )
    watch(node, 101.0 + MAKE_READY_S)  # type: ignore[arg-type]
    assert task.verdict is None and "T" not in told
    watch(node, 102.0 + MAKE_READY_S)  # type: ignore[arg-type]
    assert task.verdict == "image" and "took longer than 3600 s" in str(task.msg) and told[-1] == "T"


TABLE = r"""22 1 0:20 / / rw - ext4 /dev/vda rw
36 22 0:30 / /scratch/packhorse-n\0401/2.mnt/1 rw,nosuid - fuse.squashfuse squashfuse ro
37 36 0:31 / /scratch/packhorse-n\0401/2.mnt/1/sub rw - tmpfs tmpfs rw
38 22 0:32 / /scratch/packhorse-n\04012 rw - tmpfs tmpfs rw
short
"""


def test_mounts_below_a_folder() -> None:
    found = mounts_below("/scratch/packhorse-n 1", TABLE)
    assert found == ["/scratch/packhorse-n 1/2.mnt/1/sub", "/scratch/packhorse-n 1/2.mnt/1"]


@given(st.text(st.characters(codec="ascii", exclude_characters="\0")))
def test_paths_in_the_kernels_tables(path: str) -> None:
    written = "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in path)
    assert unescape(written) == path


def test_cleanup_runs_one_after_the_other_and_twice_if_they_fail(tmp_path: Path) -> None:
    cleanup, log = Cleanup(), tmp_path / "log"
    note = ["sh", "-c", f'echo "$1" >> {log}; exit "$2"', "sh"]
    cleanup.add([[*note, "1", "0"], [*note, "2", "3"], ["/no/such/program"], [*note, "3", "0"]])
    cleanup.finish(20.0)
    assert log.read_text().split() == ["1", "2", "2", "3"]
    assert not cleanup.pid and not cleanup.waiting


def test_cgroups_with_cgroups_of_containers(tmp_path: Path) -> None:
    """With plain folders and files, which look like the kernel's as far as this goes."""
    leaf = tmp_path / "leaf"
    for folder, kills in ((leaf, 1), (leaf / "libpod-1", 2), (leaf / "libpod-1" / "inner", 3), (leaf / "conmon", 0)):
        folder.mkdir()
        (folder / "memory.oom_control").write_text(f"under_oom 0\noom_kill {kills}\n")
    assert oom_kills(str(leaf), 1) == 6
    assert oom_kills(str(tmp_path / "gone"), 1) == -1
    assert not remove_tree(str(leaf)), "a plain folder is not empty, as a cgroup in use is not"
    for file in leaf.rglob("memory.oom_control"):
        file.unlink()
    assert remove_tree(str(leaf)) and not leaf.exists() and remove_tree(str(leaf))


def test_a_leaf_of_cgroups_v2_is_divided(tmp_path: Path) -> None:
    assert divide(str(tmp_path)) == str(tmp_path / "slot")
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory"
    assert divide(str(tmp_path)) == str(tmp_path), "what cannot be divided is used whole"


def test_disk_usage_is_looked_at_little_by_little(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / str(number)).write_bytes(bytes(5000))
    usage, now, looks = DiskUsage(str(tmp_path)), 0.0, 0
    while not usage.bytes:
        now, looks = now + 0.002, looks + 1
        usage.look(now, 0.002)
    assert looks > 1, "300 files are more than 2 % of 2 ms"
    assert 300 * 5000 <= usage.bytes < 300 * 9000
    (tmp_path / "0").write_bytes(bytes(5_000_000))
    usage.look(now + 0.5, 10)
    assert usage.bytes < 4_000_000, "not more often than once a second"
    usage.look(now + 1.5, 10)
    assert usage.bytes > 5_000_000


def test_disk_usage_of_nothing(tmp_path: Path) -> None:
    usage = DiskUsage(str(tmp_path / "not yet"))
    usage.look(0.0, 10)
    assert usage.bytes == 0
    assert free_bytes(str(tmp_path / "not" / "yet")) > 0


def test_journals_of_background_jobs(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert not has_ended(str(path))
    path.write_bytes(b'{"k":"errand"}\n{"k":"end","i"')
    assert not has_ended(str(path))
    journal = open_journal(str(path))
    journal.add({"k": "end", "i": 0})
    assert journal.flush() and has_ended(str(path))


class FetchFailed(Exception):
    def __init__(self, kind: str, msg: str) -> None:
        super().__init__(kind, msg)
        self.kind, self.msg = kind, msg


def fetch(step: dict[str, Any], progress: Any) -> dict[str, Any]:
    progress(17)
    if step["url"].endswith("gone"):
        raise FetchFailed("missing", "there is no such file")
    if step["url"].endswith("bug"):
        raise RuntimeError("a mistake")
    return {"size": 17}


@pytest.mark.parametrize(
    ("url", "code", "answer", "said"),
    [
        ("http://x/y", 0, {"fetched": {"size": 17}}, ""),
        ("http://x/gone", 1, {"failed": "missing"}, "there is no such file"),
        ("http://x/bug", 70, None, "RuntimeError: a mistake"),
    ],
)
def test_a_fetch_answers(
    url: str,
    code: int,
    answer: dict[str, Any] | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    module = ModuleType("packhorse.agent.background.fetch")
    module.__dict__.update(fetch=fetch, FetchFailed=FetchFailed)
    monkeypatch.setitem(sys.modules, "packhorse.agent.background.fetch", module)
    usage = DiskUsage("")
    pid, reader = start_fetch({"url": url}, usage.count)
    with os.fdopen(reader) as file:
        text = file.read()
    assert os.waitpid(pid, 0)[1] >> 8 == code
    assert (json.loads(text) if text else None) == answer
    assert said in capfd.readouterr().err
    usage.look(0.0, 1)
    assert usage.bytes == 17
