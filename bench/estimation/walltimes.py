"""What predictions of the wall time are worth to a batch scheduler: replays of a log through an EASY scheduler."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

from bench.estimation import swf
from bench.estimation.easy import Easy, Planner, bounded_slowdown
from bench.estimation.planners import Clairvoyant, LastTwo, Ours, Requests
from bench.estimation.swf import Job

KNOWN = {"EASY": 92.6, "EASY-SJBF": 69.4, "EASY-SJBF, clairvoyant": 49.85}
"""Average bounded slowdown of KTH-SP2, as it is."""
_SHAKEN_S = 60.0
"""A replay is chaotic: each but the first has every submission moved by up to so much, and the mean counts."""

WAYS: dict[str, tuple[Callable[[], Planner], bool]] = {
    "EASY": (Requests, False),
    "EASY-SJBF": (Requests, True),
    "EASY-SJBF, clairvoyant": (Clairvoyant, True),
    "EASY++": (LastTwo, True),
    "packhorse": (Ours, True),
}


def report(logs: Sequence[Path], replays: int) -> dict[str, float]:
    """A table for each log; the figures are the worst over the logs."""
    figures = {"swf_vs_easypp": 0.0, "swf_killed": 0.0}
    for path in logs:
        log = swf.read(path)
        name = path.name.split(".")[0]
        print(f"{name}: average bounded slowdown of {len(log.jobs)} jobs on {log.processors} processors\n")
        print(f"| way | as it is | known | mean of {replays} replays | killed at the limit |")
        print("| --- | --- | --- | --- | --- |")
        means = {}
        for way, (make, shortest_first) in WAYS.items():
            slowdowns, killed = [], 0.0
            for number in range(replays):
                jobs = shaken(log.jobs, number)
                planner = make()
                waits = Easy(jobs, log.processors, planner, shortest_first).run()
                slowdowns.append(bounded_slowdown(jobs, waits))
                if isinstance(planner, Ours):
                    killed += sum(planner.limits[job.number] < job.runtime for job in jobs) / len(jobs) / replays
            means[way] = mean(slowdowns)
            known = f"{KNOWN[way]:.2f}" if name == "KTH-SP2" and way in KNOWN else "-"
            limits = f"{100 * killed:.2f} %" if way == "packhorse" else "-"
            print(f"| {way} | {slowdowns[0]:.2f} | {known} | {means[way]:.2f} | {limits} |", flush=True)
            figures["swf_killed"] = max(figures["swf_killed"], killed)
        print()
        figures["swf_vs_easypp"] = max(figures["swf_vs_easypp"], means["packhorse"] / means["EASY++"])
    return figures


def shaken(jobs: Sequence[Job], seed: int) -> list[Job]:
    """The jobs, each submitted up to a minute later; as they are for 0."""
    if seed == 0:
        return list(jobs)
    draw = random.Random(seed)
    moved = [replace(job, submit=job.submit + draw.uniform(0, _SHAKEN_S)) for job in jobs]
    return sorted(moved, key=lambda job: (job.submit, job.number))
