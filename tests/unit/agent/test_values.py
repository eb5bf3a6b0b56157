"""The agent's small pure parts: records, tasks from lines, quoting, responses, cgroup paths, capture, paths in the work
folder.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packhorse.agent.journal import Appender
from packhorse.agent.leaf import parse_oom_kills
from packhorse.agent.outcome import Outcome, Verdict, end_record, tail_text
from packhorse.agent.slot.quote import command_text, is_name
from packhorse.agent.slot.result import parse_result
from packhorse.agent.slot.session import parse_response
from packhorse.agent.staging import inside
from packhorse.agent.supervisor.capture import Follow
from packhorse.agent.supervisor.cgroup import folder_of, mounts, own_paths
from packhorse.agent.supervisor.records import amend
from packhorse.agent.supervisor.task import BadTask, Task, read_task

# -- records


def outcome(**fields: Any) -> Outcome:
    made = Outcome()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"exit": 0}, {"exit": 0}),
        ({"exit": 3}, {"exit": 3, "tail": "T"}),
        ({"sig": 9}, {"sig": 9, "tail": "T"}),
        ({"why": "spawn", "msg": 'no "x"\n'}, {"why": "spawn", "msg": 'no "x"\n', "tail": "T"}),
        ({"exit": 0, "result": {"a": None}}, {"exit": 0, "result": {"a": None}, "tail": "T"}),
        ({"exit": 0, "result": 0}, {"exit": 0, "result": 0, "tail": "T"}),
        ({}, {"tail": "T"}),
    ],
)
def test_end_record(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    line = end_record(7, 2, 1.5, 2.5, 1.0, outcome(cpu=0.5, peak=10, rd=1, wr=2, **fields), "T")
    common = {"k": "end", "id": 7, "n": 2, "t0": 1.5, "t1": 2.5, "wall": 1.0, "cpu": 0.5, "peak": 10, "rd": 1, "wr": 2}
    assert json.loads(line) == common | expected and b"\n" not in line


def test_a_verdict_stands_only_if_its_kill_met_the_task_alive() -> None:
    task = Task((1, 1), b"", "t")
    task.verdict, task.msg = "canceled", "m"
    record = b'{"k":"end","id":1,"exit":0,"result":5}'
    assert json.loads(amend(record, task, False, [])) == {"k": "end", "id": 1, "exit": 0, "result": 5}
    killed = json.loads(amend(record, task, True, [("out", 0, 2)]))
    assert killed["why"] == "canceled" and "result" not in killed and killed["log"] == [["out", 0, 2]]
    assert json.loads(amend(b'{"why":"memory"}', task, True, []))["why"] == "memory"


@given(st.binary(max_size=6000))
def test_tail(data: bytes) -> None:
    tail = tail_text(data) or ""
    assert len(tail) <= 2048 and data.decode("utf-8", "replace").endswith(tail[1:])


@pytest.mark.parametrize(("code", "sig"), [(0, None), (1, None), (128, None), (137, 9), (255, None)])
def test_exit_codes_that_a_shell_reports(code: int, sig: int | None) -> None:
    made = Outcome()
    made.exited(code)
    assert (made.exit, made.sig) == (code, sig)


# -- lines of blocks


def template_of(key: str) -> dict[str, Any]:
    if key != "t":
        raise FileNotFoundError(key)
    return {
        "key": "t",
        "cores": 2,
        "memory_mb": 1,
        "walltime_s": 5,
        "session": "worker",
        "start": ["w"],
        "env": {"A": "1"},
    }


def test_the_line_wins_over_the_template() -> None:
    task = read_task(b'{"id": 1, "n": 3, "t": "t", "memory_mb": null, "cores": 0}', template_of)
    assert (task.key, task.cores, task.memory, task.walltime) == ((1, 3), 1.0, 0, 5.0)
    plain = read_task(b'{"id": 2, "n": 1, "t": "t"}', template_of)
    assert (plain.cores, plain.memory) == (2.0, 1 << 20)
    assert plain.session == task.session != read_task(b'{"id": 2, "t": "t", "env": {"A": "2"}}', template_of).session


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b"{", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"id": "1"}', None),
        (b'{"id": true}', None),
        (b"\xff", None),
        (b'{"id": 1}', (1, 1)),
        (b'{"id": 1, "n": 2, "t": "gone"}', (1, 2)),
        (b'{"id": 1, "t": "t", "cores": [1]}', (1, 1)),
        (b'{"id": 1, "t": "t", "walltime_s": "soon"}', (1, 1)),
    ],
)
def test_bad_lines(line: bytes, key: tuple[int, int] | None) -> None:
    with pytest.raises(BadTask) as bad:
        read_task(line, template_of)
    assert bad.value.key == key


# -- shell text

WORDS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=20)


@settings(max_examples=50, deadline=None)
@given(words=st.lists(WORDS, max_size=5), value=WORDS)
def test_a_shell_reads_back_what_was_quoted(words: list[str], value: str) -> None:
    program = 'for word; do printf "%s\\0" "$word"; done; printf "%s\\0" "$V"'
    text = command_text(
        ["/bin/sh", "-c", program, "sh", *words],
        {"V": value, "not a name": "x"},
        "/",
        "/dev/stderr",
        "/dev/null",
        "mark",
    )
    done = subprocess.run(["/bin/sh"], input=text.encode(), capture_output=True, check=True)
    assert done.stdout == b"mark 0\n"
    assert done.stderr.decode().split("\0")[:-1] == [*words, value]


@pytest.mark.parametrize(
    ("name", "ok"), [("A_1", True), ("1A", False), ("a b", False), ("é", False), ("", False), ("a=b", False)]
)
def test_names(name: str, ok: bool) -> None:
    assert is_name(name) is ok


# -- sessions and results


def test_responses() -> None:
    assert parse_response(b'{"exitCode": 3, "output": "\\u00e9", "requestId": 0}') == (3, "é".encode())
    assert parse_response(b"{}") == (0, b"")


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"[]",
        b"3",
        b'{"exitCode": "0"}',
        b'{"output": 1}',
        b'{"requestId": 4}',
        b"\xff{}",
        b'{"exitCode": true}',
        b'{"exitCode": 4294967296}',
        b"[" * 100_000,
    ],
)
def test_bad_responses(line: bytes) -> None:
    with pytest.raises(Verdict) as verdict:
        parse_response(line)
    assert verdict.value.why == "worker"


def test_results() -> None:
    assert parse_result("é".encode(), "text") == "é" and parse_result(b" [1, null]\n", "json") == [1, None]
    for data in (b"\xff", b"", b"{", b"Infinity", b"[" * 100000):
        with pytest.raises(Verdict):
            parse_result(data, "json")


# -- cgroups

V1 = """30 25 0:26 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
31 25 0:27 /slurm /cg/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(
    ("controller", "own", "folder"),
    [
        ("memory", "4:memory:/slurm/uid_5/job_7/step_0", "/sys/fs/cgroup/memory/slurm/uid_5/job_7/step_0"),
        ("cpuacct", "3:cpu,cpuacct:/slurm/job_7", "/cg/cpu/job_7"),
        ("cpuacct", "3:cpu,cpuacct:/slurm", "/cg/cpu"),
        ("cpuacct", "3:cpu,cpuacct:/slurmish", None),
        ("", "0::/user.slice/a:b", "/sys/fs/cgroup/unified/user.slice/a:b"),
        ("pids", "4:memory:/", None),
    ],
)
def test_the_folder_of_the_own_cgroup(controller: str, own: str, folder: str | None) -> None:
    assert folder_of(controller, own_paths(own), mounts(V1)) == folder


@pytest.mark.parametrize(
    ("text", "kills"),
    [
        (b"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 3),
        (b"low 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n", 1),
        (b"under_oom 0\n", -1),
    ],
)
def test_kill_counters(text: bytes, kills: int) -> None:
    assert parse_oom_kills(text) == kills


# -- capture


def test_following_and_finishing_make_one_whole(tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    out.write_bytes(b"one")
    err.write_bytes(b"")
    log = Appender(str(tmp_path / "log"))
    log.append(b"somebody else's")
    follow = Follow((str(out), str(err)), False)
    follow.copy_new(log, 100)
    ranges = follow.take_ranges()
    out.write_bytes(b"one two")
    err.write_bytes(b"e")
    follow.copy_rest(log, 100, (7, 1))
    ranges += follow.take_ranges()
    data = (tmp_path / "log").read_bytes()
    assert b"".join(data[at : at + size] for name, at, size in ranges if name == "out") == b"one two"
    assert out.read_bytes() == err.read_bytes() == b""


# -- paths


@pytest.mark.parametrize("path", ["", "/a", "..", "a/../..", "a/../b", "link/x", "x\0y", "\ud800"])
def test_paths_that_leave_the_work_folder(tmp_path: Path, path: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "link").symlink_to(tmp_path)
    with pytest.raises(Verdict):
        inside(str(work), path, "outputs")


@pytest.mark.parametrize("path", ["a", "a/b", "./a", "a//b", "here/x"])
def test_paths_that_stay(tmp_path: Path, path: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "here").symlink_to("a")
    assert inside(str(tmp_path), path, "outputs").startswith(str(tmp_path))
