"""Sessions: a worker that serves many requests, a shell that runs many commands, and how they die."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .agent_spool import Spool, processes_with

WORKER = """
import json, os, sys, time
served = 0
for line in sys.stdin:
    request = json.loads(line)
    what, *rest = request["arguments"]
    served += 1
    code, output = 0, "%d %d" % (os.getpid(), served)
    if what == "die": os._exit(7)
    if what == "rubbish": print("hello"); sys.stdout.flush(); continue
    if what == "sleep": time.sleep(float(rest[0]))
    if what == "fail": code = 3; sys.stderr.write("it failed\\n"); sys.stderr.flush()
    if what == "hog": hog = bytearray(b"x") * (300 << 20); time.sleep(1)
    if what == "burn": sum(range(3000000))
    if what == "say": output = rest[0].encode().decode("unicode_escape")
    if what == "double": output = json.dumps({"double": 2 * float(rest[0])})
    print(json.dumps({"exitCode": code, "output": output, "requestId": 0})); sys.stdout.flush()
"""


@pytest.fixture
def worker(make_spool: Callable[..., Spool], tmp_path: Path) -> Spool:
    program = tmp_path / "worker.py"
    program.write_text(WORKER)
    spool = make_spool(cores=1)
    spool.template("w", session="worker", start=[sys.executable, "-S", str(program), "--persistent_worker"])
    spool.template("plain")
    return spool


def ask(spool: Spool, *arguments: str, **fields: object) -> dict[str, object]:
    return spool.task(*arguments, t="w", **fields)


def test_one_process_serves_all(worker: Spool) -> None:
    ends = worker.run(*[ask(worker, "hello") for _ in range(50)])
    answers = [worker.output(task).split() for task in range(1, 51)]
    assert len({pid for pid, _ in answers}) == 1 and [int(count) for _, count in answers] == list(range(1, 51))
    assert all(end["exit"] == 0 for end in ends.values())


def test_answers_of_any_length_are_in_the_log(worker: Spool) -> None:
    """Short ones come with the report, long ones by a file."""
    sizes = [1, 2048, 2049, 5, 60_000, 7]
    ends = worker.run(*[ask(worker, "say", "x" * size, result="text", max_result_bytes=100_000) for size in sizes])
    assert [worker.output(task) for task in range(1, 7)] == [b"x" * size for size in sizes]
    assert [ends[task]["result"] for task in range(1, 7)] == ["x" * size for size in sizes]


def test_a_short_answer_may_be_no_result(worker: Spool) -> None:
    ends = worker.run(
        ask(worker, "say", "{", result="json"), ask(worker, "say", "xy", result="text", max_result_bytes=1)
    )
    assert [ends[task]["why"] for task in (1, 2)] == ["result", "result"]
    assert (worker.output(1), worker.output(2)) == (b"{", b"xy")


def test_results_failures_and_usage(worker: Spool) -> None:
    ends = worker.run(
        ask(worker, "double", "2.5", result="json"), ask(worker, "fail"), ask(worker, "burn"), ask(worker, "hello")
    )
    assert ends[1]["result"] == {"double": 5.0}
    assert ends[2]["exit"] == 3 and ends[2]["tail"] == "it failed\n" and "why" not in ends[2]
    assert worker.output(2, "err") == b"it failed\n" and worker.output(3, "err") == b""
    assert ends[3]["cpu"] > 0.01 and ends[4]["cpu"] < 0.02


def test_answers_are_judged_as_what_a_program_prints(worker: Spool) -> None:
    ends = worker.run(
        ask(worker, "say", '{"growth": Infinity}', result="json"),
        ask(worker, "say", r'{"name": "\\ud800"}', result="json"),
        ask(worker, "say", r'"\ud800"', result="json"),
        ask(worker, "say", r"\0", result="text"),
        ask(worker, "say", "\U0001f600", result="text"),
        ask(worker, "hello", "caf\udce9"),
        ask(worker, "double", "1", result="json"),
    )
    told = [(ends[number].get("why"), ends[number].get("msg") or "") for number in range(1, 8)]
    assert [why for why, _ in told] == ["result", "result", "result", "result", None, "inputs", None]
    words = [
        "$.growth is Infinity, which JSON does not have",
        "$.name holds a lone surrogate",
        "not UTF-8",
        "NUL character",
        "",
        "caf",
        "",
    ]
    assert all(word in said for (_, said), word in zip(told, words, strict=True)), told
    assert ends[7]["result"] == {"double": 2.0}


@pytest.mark.parametrize(("what", "words"), [("die", "exited with 7"), ("rubbish", "not a WorkResponse")])
def test_a_worker_that_breaks_fails_only_its_task(worker: Spool, what: str, words: str) -> None:
    ends = worker.run(ask(worker, "hello"), ask(worker, what), ask(worker, "hello"), ask(worker, "hello"))
    assert ends[2]["why"] == "worker" and words in ends[2]["msg"]
    assert [ends[task]["exit"] for task in (1, 3, 4)] == [0, 0, 0]
    assert worker.output(1).split()[0] != worker.output(3).split()[0] == worker.output(4).split()[0]


def test_walltime_of_a_request(worker: Spool, mark: str) -> None:
    ends = worker.run(ask(worker, "sleep", "30", walltime_s=0.5), ask(worker, "hello"))
    assert ends[1]["why"] == "walltime" and ends[1]["wall"] < 3 and ends[2]["exit"] == 0
    assert not processes_with(mark)


@pytest.mark.parametrize("limits", ["", "sampled"])
def test_memory_of_a_request(worker: Spool, limits: str) -> None:
    ends = worker.run(
        ask(worker, "hello", memory_mb=120),
        ask(worker, "hog", memory_mb=120),
        ask(worker, "hello", memory_mb=120),
        PACKHORSE_LIMITS=limits,
    )
    assert [ends[task].get("why") for task in (1, 2, 3)] == [None, "memory", None]


def test_workers_and_plain_tasks_mix(worker: Spool) -> None:
    ends = worker.run(
        *[ask(worker, "hello") if number % 3 else worker.task("/bin/echo", "plain", t="plain") for number in range(30)]
    )
    assert all(end["exit"] == 0 for end in ends.values()) and worker.output(1) == b"plain\n"


def test_no_such_worker(worker: Spool) -> None:
    worker.template("n", session="worker", start=["/no/such/worker"])
    assert worker.run(worker.task("x", t="n"))[1]["why"] == "spawn"


@pytest.fixture
def shell(make_spool: Callable[..., Spool]) -> Spool:
    spool = make_spool(cores=1)
    spool.template(session="shell", start=["/bin/sh"])
    return spool


def test_shell_runs_commands_verbatim(shell: Spool) -> None:
    awkward = 'it\'s a "test" $HOME `id` \\ * ; & | > < \n é'
    ends = shell.run(
        shell.task("printf", "%s", awkward),
        shell.sh("echo $PPID $X; pwd; exit 4", env={"X": "a b'c"}),
        shell.sh("echo $PPID; cat; kill -9 $$"),
        shell.task("/no/such"),
        shell.sh("touch f; ls; echo err >&2"),
        shell.sh("ls"),
    )
    assert shell.output(1) == awkward.encode()
    assert ends[2]["exit"] == 4 and shell.output(2).splitlines()[0].endswith(b" a b'c")
    assert ends[3]["exit"] == 137 and ends[3]["sig"] == 9
    assert ends[4]["exit"] == 127
    assert shell.output(5) == b"f\n" and shell.output(5, "err") == b"err\n" and shell.output(6) == b""


def test_shell_is_killed_and_started_again(shell: Spool, mark: str) -> None:
    ends = shell.run(
        shell.sh("sleep 40", walltime_s=0.4),
        shell.sh("setsid sleep 41 & echo $!"),
        shell.sh("kill -9 $PPID"),
        shell.sh("exit 0"),
    )
    assert ends[1]["why"] == "walltime" and ends[2]["exit"] == 0 and ends[4]["exit"] == 0
    assert ends[3].get("why") in ("worker", None)
    assert not processes_with(mark) and not Path(f"/proc/{int(shell.output(2))}").exists()
    assert os.getpid()
