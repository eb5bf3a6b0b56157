"""100,000 × ``true`` as a pipeline of five steps, a task after one of the step before, against as many in one step."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bench.harness import Figures, bracketed, complete, folder, make_app, python, ratio, record, scaled
from bench.parts import memory_mb, parts
from packhorse.domain.run import AppRun
from packhorse.engine.embedded import Embedded

TASKS = scaled(100_000, 100)
STEPS = 5
ROUNDS = 1

_RUN = """
import json, sys
from pathlib import Path
from bench.pipeline import run_steps
from packhorse.logs import configure_logs
configure_logs()
print(json.dumps(run_steps(int(sys.argv[1]), Path(sys.argv[2]))))
"""


def write_pipeline(home: Path, steps: int) -> str:
    """A pipeline of this many steps, all of which run /bin/true: the first over rows, each other one for each task of
    the one before.
    """
    make_app(home / "chain", "true", ["/bin/true"], "parameters:\n  i: {type: integer}\n")
    one = {"app": "./true", "params": {"i": "{i}"}}
    chain = {f"s{step}": {**one, **({"each": f"s{step - 1}"} if step else {"over": "rows"})} for step in range(steps)}
    about = {"packhorse": 1, "name": "chain", "version": "1", "parameters": {"i": {"type": "integer"}}}
    (home / "chain" / "app.yaml").write_text(json.dumps({**about, "steps": chain}), encoding="utf-8")
    return str(home / "chain")


def run_steps(steps: int, home: Path) -> dict[str, Any]:
    """Runs TASKS tasks in so many steps here: seconds, who used the processors, and what this process held at the
    most.
    """
    room = Embedded(home)
    app = write_pipeline(home, steps)
    with room.run_engine() as engine:
        engine.leading.wait(10)
        with parts() as spent:
            took_s = complete(room, AppRun(app=app), ({"i": index} for index in range(TASKS // steps)))
    room.close()
    return {"s": took_s, "processor_time": spent.as_shares(), "peak_mb": memory_mb(os.getpid(), "VmHWM")}


def measure() -> Figures:
    """pipeline_ratio."""
    found: dict[int, list[dict[str, Any]]] = {1: [], STEPS: []}

    def seconds(steps: int) -> float:
        with folder() as home:
            found[steps].append(json.loads(python(_RUN, str(steps), str(home))))
        return float(found[steps][-1]["s"])

    pairs = bracketed(lambda: seconds(STEPS), lambda: seconds(1), ROUNDS)
    figures = {
        "pipeline_ms_per_task": round(min(took for took, _ in pairs) / TASKS * 1000, 3),
        "pipeline_engine_mb": round(max(one["peak_mb"] for one in found[STEPS]), 1),
        "pipeline_ratio": round(ratio(pairs), 3),
    }
    record("pipeline", figures, found)
    return figures
