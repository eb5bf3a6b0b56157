"""One task: how it ends, what it leaves, what it used."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from packhorse.sites.environment import Composer

from .agent_spool import Spool


def test_exit_code_signal_and_output(spool: Spool) -> None:
    ends = spool.run(
        spool.sh("echo hello; echo oops >&2; exit 3"),
        spool.sh("kill -9 $$"),
        spool.task("/bin/true"),
        spool.sh("printf '\\377\\000x'"),
    )
    assert ends[1]["exit"] == 3 and ends[1]["tail"] == "oops\n" and "why" not in ends[1]
    assert spool.output(1) == b"hello\n" and spool.output(1, "err") == b"oops\n"
    assert ends[2]["sig"] == 9 and "exit" not in ends[2] and "why" not in ends[2]
    assert ends[3]["exit"] == 0 and "log" not in ends[3]
    assert spool.output(4) == b"\xff\x00x"
    assert [record["k"] for record in spool.records()][:2] == ["agent", "claim"]
    assert spool.records()[-1]["why"] == "idle"


def test_nothing_is_left_behind(spool: Spool) -> None:
    spool.run(spool.sh("touch a; mkdir -p b/c; echo x; chmod 0 b"))
    assert list((spool.root / "work").iterdir()) == [] and list((spool.root / "scratch").iterdir()) == []


def test_environment(spool: Spool) -> None:
    spool.template("e", env={"A": "template", "B": "b"}, memory_mb=100, cores=2)
    ends = spool.run(
        spool.sh("echo $A $B $PACKHORSE_TASK $PACKHORSE_ATTEMPT $PACKHORSE_CORES $PACKHORSE_MEMORY_MB $MARK", t="e"),
        spool.sh("echo $A$B", t="e", n=2, env={"A": "line"}),
        spool.sh("trap; cat /proc/self/status | grep SigIgn"),
    )
    assert spool.output(1).startswith(b"template b 1 1 2 100 packhorse-test")
    assert spool.output(2) == b"line\n" and ends[2]["n"] == 2
    ignored = int(spool.output(3).split()[1], 16)
    assert not ignored & 1 << (signal.SIGPIPE - 1), "Python's ignored SIGPIPE must not leak into tasks"


def test_only_tasks_that_start_ranks_see_the_job_that_they_are_in(make_spool: Callable[..., Spool]) -> None:
    spool = make_spool(environment=Composer(passes=("LMOD_*",)).for_agents(), env={"SITE": "s"})
    spool.template()
    spool.template("ranks", launches=True, env={"OMP_NUM_THREADS": "2"})
    job = {
        "SLURM_JOB_ID": "7",
        "SLURM_NTASKS": "2",
        "ENVIRONMENT": "BATCH",
        "CUDA_VISIBLE_DEVICES": "1",
        "LMOD_CMD": "l",
    }
    step = {
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": "1",
        "PMI_RANK": "1",
        "PMIX_RANK": "1",
        "PACKHORSE_TOKEN": "t",
        "PACKHORSE_TASK": "9",
    }
    spool.run(spool.sh("env"), spool.sh("env", t="ranks"), spool.sh("env", launches=True), **job, **step)
    seen = [dict(line.split("=", 1) for line in spool.output(number).decode().splitlines()) for number in (1, 2, 3)]
    for found in seen:
        assert (
            not (step.keys() | {"ENVIRONMENT"}) & found.keys() - {"PACKHORSE_TASK"} and found["PACKHORSE_TASK"] != "9"
        )
        assert (found["CUDA_VISIBLE_DEVICES"], found["LMOD_CMD"], found["SITE"]) == ("1", "l", "s")
    assert [found.get("SLURM_JOB_ID") for found in seen] == [None, "7", "7"]
    assert [found.get("OMP_NUM_THREADS") for found in seen] == [
        os.environ.get("OMP_NUM_THREADS"),
        "2",
        os.environ.get("OMP_NUM_THREADS"),
    ]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/no/such/program"], "no such program"),
        (["no-such-program"], "no such program"),
        (["/etc/passwd"], "not executable"),
        ([], "not a command"),
    ],
)
def test_spawn(spool: Spool, argv: list[str], words: str) -> None:
    end = spool.run(spool.task() | {"argv": argv})[1]
    assert end["why"] == "spawn" and words in end["msg"]


def test_usage_is_measured(spool: Spool) -> None:
    code = (
        "b = bytearray(60 << 20); b[::4096] = b'x' * len(b[::4096]); open('f', 'wb').write(b[:5000000]);"
        " sum(range(3000000))"
    )
    end = spool.run(spool.task("python3", "-S", "-c", code))[1]
    assert end["exit"] == 0
    assert 55 << 20 < end["peak"] < 120 << 20
    assert end["wr"] >= 5_000_000 and end["rd"] > 1000
    assert 0.01 < end["cpu"] <= end["wall"] * 2 and end["t1"] >= end["t0"]


@pytest.mark.parametrize("limits", ["", "sampled"])
def test_memory_limit_hits_only_the_task_that_exceeds_it(spool: Spool, limits: str) -> None:
    spool.template("m", memory_mb=80)
    hog = "x = []\nimport time\nwhile True:\n  x.append(bytearray(b'x') * (4 << 20)); time.sleep(0.02)"
    ends = spool.run(
        spool.sh("sleep 0.6", t="m"),
        spool.task("python3", "-S", "-c", hog, t="m"),
        spool.sh("sleep 0.4", t="m"),
        spool.task("/bin/true"),
        PACKHORSE_LIMITS=limits,
    )
    assert {key: end.get("why") for key, end in ends.items()} == {1: None, 2: "memory", 3: None, 4: None}
    assert ends[2]["msg"] and ends[2]["peak"] > 60 << 20
    agent = spool.records("agent")[0]
    assert agent["limits"] == "sampled" if limits else agent["limits"] in ("cgroup-v1", "cgroup-v2", "sampled")


def test_walltime_kills_the_whole_tree(spool: Spool, mark: str) -> None:
    spool.template("w", walltime_s=0.4)
    ends = spool.run(
        spool.sh("trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 61; sleep 62' & sleep 63; sleep 64", t="w"),
        spool.sh("sleep 1"),
    )
    assert ends[1]["why"] == "walltime" and 1.2 < ends[1]["wall"] < 4
    assert ends[2]["exit"] == 0


def test_daemons_end_with_their_task(spool: Spool) -> None:
    end = spool.run(spool.sh("setsid sh -c 'echo $$ > /tmp/x; sleep 77' >/dev/null 2>&1 & echo $!; exit 0"))[1]
    assert end["exit"] == 0 and end["wall"] < 5
    assert not Path(f"/proc/{int(spool.output(1))}").exists()


def test_inputs(spool: Spool, tmp_path: Path) -> None:
    data = tmp_path / "reads.fq"
    data.write_text("ACGT")
    ends = spool.run(
        spool.sh(
            "cat d/reads.fq conf/k.txt",
            inputs=[{"path": "d/reads.fq", "source": str(data)}, {"path": "conf/k.txt", "content": "é=21"}],
        ),
        spool.task("/bin/true", inputs=[{"path": "../x", "content": ""}]),
        spool.task("/bin/true", inputs=[{"path": "/etc/x", "content": ""}]),
        spool.task("/bin/true", inputs=[{"path": "x", "source": "/no/such"}]),
        spool.task("/bin/true", inputs=[{"path": "l", "source": str(tmp_path)}, {"path": "l/evil", "content": ""}]),
        spool.sh("ls -A"),
    )
    assert spool.output(1) == "ACGTé=21".encode()
    assert [ends[key].get("why") for key in range(1, 7)] == [None, "inputs", "inputs", "inputs", "inputs", None]
    assert spool.output(6) == b"" and not (tmp_path / "evil").exists()


def test_outputs(spool: Spool) -> None:
    spool.template("o", outputs=[{"path": "r/a.txt", "optional": False}, {"path": "dir", "optional": True}])
    ends = spool.run(
        spool.sh("mkdir -p r dir/sub; echo abc > r/a.txt; echo de > dir/sub/f", t="o"),
        spool.sh("mkdir r; echo x > r/a.txt", t="o"),
        spool.sh(":", t="o"),
    )
    assert ends[1]["files"] == [{"path": "r/a.txt", "size": 4}, {"path": "dir", "size": 3}]
    assert (spool.root / "out/1/r/a.txt").read_text() == "abc\n" and (
        spool.root / "out/1/dir/sub/f"
    ).read_text() == "de\n"
    assert [file["path"] for file in ends[2]["files"]] == ["r/a.txt"]
    assert ends[3]["why"] == "outputs" and "left no r/a.txt" in ends[3]["msg"]


@pytest.mark.parametrize(
    ("path", "script"),
    [
        ("/etc/passwd", ":"),
        ("../x", ":"),
        ("a/../../x", ":"),
        ("p", "ln -s /etc/passwd p"),
        ("d/passwd", "ln -s /etc d"),
        (".", ":"),
        ("d", "mkdir d; ln -s /etc/passwd d/p"),
        ("d", "ln -s .. d"),
        ("gone", "ln -s nothing gone"),
    ],
)
def test_outputs_that_would_escape(spool: Spool, path: str, script: str) -> None:
    end = spool.run(spool.sh(script, outputs=[{"path": path}]))[1]
    assert end["why"] == "outputs" and path in end["msg"] and not (spool.root / "out/1").exists()


@pytest.mark.parametrize(
    ("kind", "script", "result"),
    [
        ("text", "printf 0.98", "0.98"),
        ("json", "echo '{\"a\": [1]}'", {"a": [1]}),
    ],
)
def test_result(spool: Spool, kind: str, script: str, result: object) -> None:
    assert spool.run(spool.sh(script, result=kind))[1]["result"] == result


@pytest.mark.parametrize(
    ("kind", "script"),
    [("json", "echo {"), ("json", "echo NaN"), ("text", "printf '\\377'"), ("text", "head -c 5000 /dev/zero")],
)
def test_bad_result(spool: Spool, kind: str, script: str) -> None:
    end = spool.run(spool.sh(script, result=kind))[1]
    assert end["why"] == "result" and end["msg"] and "result" not in end


def test_steps(spool: Spool) -> None:
    steps = [
        {
            "argv": ["/bin/sh", "-c", "cat; echo $X; pwd; exit 4"],
            "stdin": "in.txt",
            "stdout": "o/out.txt",
            "env": {"X": "y"},
            "cwd": "sub",
            "ignore_error": True,
        },
        {"argv": ["cat", "o/out.txt"]},
        {"argv": ["/bin/false"]},
        {"argv": ["echo", "never"]},
    ]
    ends = spool.run(
        spool.task(steps=steps, inputs=[{"path": "in.txt", "content": "in\n"}]),
        spool.task(steps=[{"argv": ["true"], "stdout": "../x"}]),
    )
    assert ends[1]["exit"] == 1
    lines = spool.output(1).decode().splitlines()
    assert lines[:2] == ["in", "y"] and lines[2].endswith("/sub") and len(lines) == 3
    assert ends[2]["why"] == "spawn"


def test_long_logs_are_cut(make_spool: object) -> None:
    spool = make_spool(max_log_bytes=1000)  # type: ignore[operator]
    spool.template()
    spool.run(spool.sh("head -c 3000 /dev/zero; echo err >&2"), spool.sh("head -c 30000000 /dev/zero; sleep 1.5; echo"))
    assert spool.output(1).startswith(bytes(1000)) and b"2000 more bytes of stdout" in spool.output(1)
    assert spool.output(1, "err") == b"err\n"
    assert len(spool.output(2)) < 1100 and b"more bytes" in spool.output(2)


def test_output_to_dev_stderr_and_removed_capture_files(spool: Spool) -> None:
    scratch = spool.root / "scratch"
    ends = spool.run(
        spool.sh("echo a; echo b > /dev/stderr; echo c >&2; exit 1"),
        spool.sh(f"echo d; rm -rf {scratch}/*; echo e"),
        spool.sh("echo f"),
    )
    assert ends[1]["tail"].endswith("c\n")
    assert spool.output(2) == b"d\ne\n" and spool.output(3) == b"f\n"


def test_bad_lines(spool: Spool) -> None:
    ends = spool.run(
        "{not json",
        json.dumps({"x": 1}),
        json.dumps({"id": 50, "n": 1, "t": "missing", "argv": ["true"]}),
        spool.task("/bin/true", cores="many"),
        spool.task("/bin/true", inputs="nonsense"),
        spool.task("/bin/true"),
    )
    assert len(spool.records("bad")) == 2
    assert ends[50]["why"] == "inputs" and "missing" in ends[50]["msg"]
    assert ends[1]["why"] == "inputs" and ends[2]["why"] == "inputs" and ends[3]["exit"] == 0


def test_what_cannot_run_here_is_given_back(make_spool: object) -> None:
    spool = make_spool(walltime_s=40.0, grace_s=10.0)  # type: ignore[operator]
    spool.template(walltime_s=5.0)
    ends = spool.run(
        spool.task("/bin/true", cores=3),
        spool.task("/bin/true", memory_mb=3000),
        spool.task("/bin/true", walltime_s=35),
        spool.task("/bin/true"),
        spool.task("/bin/true", walltime_s=None),
    )
    assert sorted(ends) == [4, 5]
    back = {tuple(key): record["why"] for record in spool.records("back") for key in record["tasks"]}
    assert back == {(1, 1): "nofit", (2, 1): "nofit", (3, 1): "walltime"}


def test_large_task_line(spool: Spool) -> None:
    text = "x" * 3_000_000
    end = spool.run(
        spool.sh("wc -c < big", inputs=[{"path": "big", "content": text}]),
        *[spool.task("/bin/true") for _ in range(50)],
    )
    assert spool.output(1).strip() == b"3000000" and len(end) == 51


def test_worker_is_root_or_not(spool: Spool) -> None:
    """A task runs as whoever runs the agent, in a folder that it may write to."""
    spool.run(spool.sh("id -u; touch here"))
    assert int(spool.output(1)) == os.getuid()


def test_wildcards_absolute_paths_and_folders(spool: Spool) -> None:
    ends = spool.run(
        spool.sh(
            "test -d scratch/deep && cp root/data/in.txt root/data/out.txt; touch root/data/.hidden.txt; mkdir p; echo"
            " 1 > p/a.txt",
            root="root",
            folders=["scratch/deep", "root/data"],
            inputs=[{"path": "/data/in.txt", "content": "in"}],
            outputs=[
                {"path": "/data/o*.txt", "glob": True},
                {"path": "p/[a-c].txt", "glob": True},
                {"path": "q*", "glob": True, "optional": True},
            ],
        ),
        spool.sh(":", outputs=[{"path": "*.txt", "glob": True}]),
        spool.sh("touch 'a*'", outputs=[{"path": "a*"}]),
        spool.task("/bin/true", folders=["../x"]),
    )
    assert ends[1]["files"] == [
        {"path": "/data/out.txt", "size": 2, "glob": "/data/o*.txt"},
        {"path": "p/a.txt", "size": 2, "glob": "p/[a-c].txt"},
    ]
    assert (spool.root / "out/1/data/out.txt").read_text() == "in" and (spool.root / "out/1/p/a.txt").exists()
    assert ends[2]["why"] == "outputs" and "*.txt" in ends[2]["msg"]
    assert ends[3]["files"] == [{"path": "a*", "size": 0}]
    assert ends[4]["why"] == "inputs" and "../x" in ends[4]["msg"]
