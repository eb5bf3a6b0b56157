"""From a job's end in Slurm until the API says so, in a server that watches quiet allocations."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.harness import serving
from packhorse.client import Client
from packhorse.domain.failures import FailureClass
from packhorse.domain.states import TaskState

QUIET_S = 20.0  # in which nothing happens before the first job ends: the scheduler is asked ever more rarely meanwhile
APART_S = (
    5.0  # from one end to the next, so that together they fall on every moment between two questions to the scheduler
)
GIVE_UP_S = 60.0
ENDINGS = ("canceled", "killed")
_AT_WORK = {"PENDING", "CONFIGURING", "RUNNING"}
_LIVING = {*_AT_WORK, "COMPLETING"}


Seen = tuple[float, float, float]


def ends(folder: Path, jobs: int) -> dict[str, list[Seen]]:
    """By ending, for each of ``jobs`` jobs, seconds from the cause until Slurm says that it ends, until it has ended
    with its last process (it is no longer COMPLETING), and until the API says that its run has ended with its task.

    Each job runs one task that sleeps, at a site of its own, so that no end lets the engine look after another one
    sooner. squeue and the API are asked in turn, some ten times a second.
    """
    names = [f"cluster{number}" for number in range(jobs)]
    config = folder / "packhorse.toml"
    config.write_text("".join(_site(name, folder) for name in names))
    app = folder / "sleep"
    app.mkdir()
    (app / "app.yaml").write_text("packhorse: 1\nname: sleep\nversion: '1'\ncommand: [sleep, '600']\n")
    with serving(folder / "home", str(config)) as client:
        never = {failure.value: 0 for failure in FailureClass}
        runs = [client.run(str(app), resources={"site": name}, retry=never) for name in names]
        give_up = time.monotonic() + GIVE_UP_S
        while not all(view.counts == {TaskState.RUNNING: 1} for view in client.runs()):
            if time.monotonic() > give_up:
                raise RuntimeError(
                    f"after {GIVE_UP_S:g} s not all tasks run: {[view.counts for view in client.runs()]}"
                )
            time.sleep(0.1)
        time.sleep(QUIET_S)
        spools = [next((folder / name / "spool").iterdir()) for name in names]
        return _watched(client, {spool: run.id for spool, run in zip(spools, runs, strict=True)})


def _end(job: Path, way: str) -> None:
    """Ends the job of a spool.

    Slurm gives one that is canceled time to drain; one whose script is killed takes all it runs along at once,
    and no agent says a word."""
    if way == "canceled":
        subprocess.run(["scancel", f"--name={job.name}"], check=True)
    else:
        os.kill(int((job / "job.pid").read_text()), signal.SIGKILL)


def _watched(client: Client, jobs: dict[Path, str]) -> dict[str, list[Seen]]:
    """Ends the jobs of these spools, and looks at Slurm and at their runs until all are over."""
    waiting = list(jobs)
    told: dict[Path, float] = {}
    ending: dict[Path, float] = {}
    ended: dict[Path, float] = {}
    visible: dict[Path, float] = {}
    began = time.monotonic()
    while len(ended) < len(jobs) or len(visible) < len(jobs):
        if waiting and time.monotonic() >= began + len(told) * APART_S:
            job = waiting.pop(0)
            told[job] = time.monotonic()
            _end(job, ENDINGS[len(told) % 2])
        states = _states()
        now = time.monotonic()
        ending |= {job: now for job in told if states.get(job.name) not in _AT_WORK and job not in ending}
        ended |= {job: now for job in told if states.get(job.name) not in _LIVING and job not in ended}
        over = {view.id for view in client.runs() if view.ended}
        now = time.monotonic()
        visible |= {job: now for job in told if jobs[job] in over and job not in visible}
        if now > began + GIVE_UP_S + len(jobs) * APART_S:
            raise RuntimeError(f"of {len(jobs)} jobs {len(ended)} have ended, and {len(visible)} of their runs")
        time.sleep(0.05)
    found: dict[str, list[Seen]] = {way: [] for way in ENDINGS}
    for number, (job, at) in enumerate(told.items(), start=1):
        found[ENDINGS[number % 2]].append((ending[job] - at, ended[job] - at, visible[job] - at))
    return found


def _states() -> dict[str, str]:
    """The states of our jobs, by name."""
    query = ["squeue", "--me", "--noheader", "--states=all", "--format=%j %T"]
    lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split() for line in lines)


def _site(name: str, folder: Path) -> str:
    """Its part of the configuration file."""
    return (
        f'[sites.{name}]\nscheduler = "slurm"\nroot = {json.dumps(str(folder / name))}\npython ='
        f" {json.dumps(sys.executable)}\n"
    )
