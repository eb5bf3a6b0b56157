"""Work folders that are kept across attempts, progress, and failures while the job is being ended."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from .agent_spool import Spool, wait_for


def test_a_second_attempt_finds_what_the_first_left_and_success_clears_it(make_spool: Callable[..., Spool]) -> None:
    spool = make_spool(cores=1)  # one after the other
    kept = spool.root / "out" / "1.work"
    source = spool.root / "reads.fq"
    source.write_text("reads")
    fields = {"work": str(kept), "progress": "^Completed step", "inputs": [{"path": "reads.fq", "source": str(source)}]}
    script = (
        "cat reads.fq; echo 'Completed step a' >&2; test -e first || { touch first; exit 1; }; cat first; echo x >"
        " result"
    )
    spool.template("r", outputs=[{"path": "result", "optional": False}])
    first = spool.sh(script, t="r", **fields)
    again = first | {"n": 2}
    spool.block(first)
    spool.block(again, spool.sh("pwd; ls", t="t"))
    spool.template()
    agent = spool.start()
    assert agent.wait(60) == 0
    ends = {(end["id"], end["n"]): end for end in spool.records("end")}
    assert (ends[1, 1]["exit"], ends[1, 1]["progress"]) == (1, 1)
    assert (ends[1, 2]["exit"], ends[1, 2]["progress"]) == (0, 1)
    assert ends[1, 2]["files"] == [{"path": "result", "size": 2}]
    assert not kept.exists()
    assert b"first" not in spool.output(2), "the next task is in the slot's own, empty folder"


def test_a_pattern_that_is_none_counts_nothing(spool: Spool) -> None:
    ends = spool.run(spool.sh("echo '('", work=str(spool.root / "out" / "k"), progress="("))
    assert (ends[1]["exit"], ends[1]["progress"]) == (0, 0)


def test_a_program_that_fails_while_its_job_is_ended_was_ended_with_it(spool: Spool) -> None:
    """As the ranks of a task do, which Slurm signals by itself."""
    flag = spool.root / "out" / "flag"
    spool.block(
        spool.sh(f"while [ ! -e {flag} ]; do sleep 0.05; done; exit 143"),
        spool.sh(f"while [ ! -e {flag} ]; do sleep 0.05; done"),
    )
    agent = spool.start()
    wait_for(lambda: len(spool.records("start")) == 2, what="two running tasks")
    agent.send_signal(signal.SIGTERM)
    time.sleep(0.5)  # it looks for signals ten times a second
    flag.touch()
    assert agent.wait(30) == 0
    ends = spool.ends()
    assert (ends[1]["why"], ends[1]["exit"]) == ("drained", 143)
    assert "exit code 143" in ends[1]["msg"]
    assert "why" not in ends[2]


def test_whatever_an_attempt_left_in_the_place_of_its_inputs(make_spool: Callable[..., Spool]) -> None:
    """Links to somewhere are not written through, closed folders are opened, another link is in the place of the work
    folder.
    """
    spool = make_spool(cores=1)
    spool.template()
    kept, precious = spool.root / "out" / "1.work", spool.root / "precious"
    precious.write_text("of somebody else")
    (spool.root / "reads").write_text("reads")
    inputs = [{"path": "conf", "content": "k=21"}, {"path": "reads", "source": str(spool.root / "reads")}]
    first = spool.sh(
        f"rm conf reads; ln -s {precious} conf; echo mine > reads; chmod 0 .; exit 1", work=str(kept), inputs=inputs
    )
    second = spool.sh(
        f"cat conf reads; rm -rf {kept}; ln -s {spool.root} {kept}; exit 1", work=str(kept), inputs=inputs
    )
    third = spool.sh("cat conf reads; pwd", work=str(kept), inputs=inputs)
    ends = spool.run(first, second, third)
    assert [ends[task]["exit"] for task in (1, 2, 3)] == [1, 1, 0]
    assert spool.output(2) == b"k=21reads" and spool.output(3) == f"k=21reads{kept}\n".encode()
    assert precious.read_text() == "of somebody else" and not kept.exists() and not kept.is_symlink()
