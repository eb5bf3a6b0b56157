"""Executing, signalling and sweeping, each in a process of its own: it ends whatever is below it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAD = """
import os, signal, sys, time
from packhorse.agent import proc
from packhorse.agent.outcome import Outcome, Verdict
from packhorse.agent.processes import Programs, become_subreaper, kill_descendants
become_subreaper()
programs, outcome = Programs(), Outcome()
null = os.open(os.devnull, os.O_RDWR)
def run(*argv):
    programs.run(list(argv), os.environ, null, null, null, outcome)
"""


def check(body: str) -> None:
    done = subprocess.run([sys.executable, "-c", HEAD + body], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def test_a_program_is_run_and_measured() -> None:
    check("run('sh', '-c', 'exit 3'); assert outcome.exit == 3 and outcome.peak > 0 and not programs.running")


def test_what_it_left_behind_is_swept_and_counted() -> None:
    check(
        "run('sh', '-c', 'setsid sleep 100 & exit 0'); assert outcome.exit == 0 and not proc.children_of(os.getpid())"
    )


def test_a_signal_that_comes_while_a_program_is_being_started_reaches_it() -> None:
    check("programs.signaled = signal.SIGTERM; run('sleep', '100'); assert outcome.sig == signal.SIGTERM")


def test_a_signal_reaches_all_that_runs_but_what_is_kept() -> None:
    check("""
programs.start(["sleep", "100"], os.environ, null, null, null)
programs.kept.add(programs.running)
signal.signal(signal.SIGALRM, lambda *_: programs.signal(signal.SIGKILL))
signal.setitimer(signal.ITIMER_REAL, 0.3)
run("sh", "-c", "setsid sleep 100 & wait")
assert outcome.sig == signal.SIGKILL and proc.children_of(os.getpid()) == list(programs.kept)
kill_descendants()
assert not proc.children_of(os.getpid())
""")


def test_what_ends_a_container_is_not_ended() -> None:
    check("programs.shielded = True; programs.signaled = signal.SIGTERM; run('true'); assert outcome.exit == 0")


@pytest.mark.parametrize("argv", ["'/no/such/program'", "'a\\0b'"])
def test_what_cannot_be_started_is_a_verdict(argv: str) -> None:
    check(f"""
try:
    run({argv})
except Verdict as verdict:
    assert verdict.why == "spawn" and verdict.msg
    sys.exit(0)
sys.exit("no verdict")
""")
