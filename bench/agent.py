"""The agent alone, on a bundle that is ready, against xargs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.harness import Figures, bracketed, folder, ratio, record, scaled, timed, xargs
from packhorse.domain import render
from packhorse.domain.resources import Resources
from packhorse.sites.agentfile import agent_file
from packhorse.sites.base import Shape
from packhorse.sites.site import BLOCK, local_site

TASKS = scaled(5000)
ROUNDS = 5
BLOCK_TASKS = 250


def make_spool(root: Path) -> tuple[Path, Path]:
    """(agent's file, spool) with TASKS × true in blocks."""
    site = local_site(str(root), linger_s=0)
    limits = site.limits()[0]
    site.prepare_spool("a-bench", Shape(limits.cores, limits.memory_mb))
    spool = Path(site.spool("a-bench"))
    document = {
        "session": "none",
        "start": None,
        "env": {},
        **render.limits(Resources()),
        "outputs": [],
        "result": "none",
    }
    key = render.template_key(document)
    (spool / f"templates/{key}.json").write_text(json.dumps({"key": key, **document}))
    for number, start in enumerate(range(0, TASKS, BLOCK_TASKS), start=1):
        lines = [
            json.dumps({"id": index, "n": 1, "t": key, "argv": ["/bin/true"]})
            for index in range(start, min(start + BLOCK_TASKS, TASKS))
        ]
        (spool / "bundle" / BLOCK.format(number)).write_text("\n".join(lines) + "\n")
    return root / "agents" / agent_file()[0], spool


def alone() -> float:
    """Seconds from the agent's start to its end, with all tasks ended."""
    with folder() as root:
        program, spool = make_spool(root)
        took = timed(lambda: subprocess.run([sys.executable, "-I", "-S", str(program), str(spool)], check=True))
        ends = sum(
            line.startswith('{"k":"end"') for path in spool.glob("journal/*") for line in path.read_text().splitlines()
        )
        if ends != TASKS:
            raise RuntimeError(f"{ends} tasks ended instead of {TASKS}")
        return took


def measure() -> Figures:
    """agent_ratio: from the agent's start to its end."""
    alone()
    rounds = bracketed(alone, lambda: xargs(TASKS), ROUNDS)
    figures = {"agent_ratio": round(ratio(rounds), 3)}
    record("agent", figures, rounds)
    return figures
