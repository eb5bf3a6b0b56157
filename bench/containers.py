"""Containers: tasks of ``true`` in sessions against the host, and without against the bare runtime; how often images
are prepared.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.fixtures.registry import TestRegistry, running_registry

from bench.container_room import CORES, INSTALL, OPTIONS, Room, bare, room
from bench.harness import Figures, bracketed, folder, ratio, record, timed, true_app
from bench.parts import parts
from packhorse.domain.app import Session
from packhorse.domain.run import AppRun

IN_SESSIONS = 2000
ONE_EACH = {
    "charliecloud": 1000,
    "podman": 200,
}  # such that the loop takes seconds, and a run's own latency counts as in a real run
ROUNDS = {"charliecloud": 5, "podman": 3}
WANTING, RUNS = 500, 5  # tasks that want one image, and the runs that they come in, all at once
LARGE_MB = 500
BOX = "packhorse/box:1"
LARGE = "large"


def measure() -> Figures:
    """session_ratio and container_ratio of each runtime, first those of the one that starts quickest;
    image_preparations.
    """
    subprocess.run([INSTALL], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    rounds: dict[str, Any] = {}
    figures: Figures = {}
    with running_registry() as registry, folder() as place:
        for name in OPTIONS:
            figures |= _true(place, name, registry, rounds)
        figures |= _preparations(place, registry, rounds)
    quickest = min(OPTIONS, key=lambda name: figures[f"{name}_ms_per_container"])
    for figure in ("session_ratio", "container_ratio"):
        figures[figure] = figures[f"{quickest}_{figure}"]
    record("containers", figures, rounds)
    return figures


def _true(place: Path, name: str, registry: TestRegistry, rounds: dict[str, Any]) -> Figures:
    """``true`` so many times. The image is prepared before.

    Sessions: that agents and containers start counts, on both sides. Without sessions, an agent is there, as xargs is.
    """
    number = ONE_EACH[name]
    with bare(place, name, registry, "box", "1", [place]) as alone, room(place / name, name, registry) as ours:
        app = true_app(place / name)

        def run(tasks: int, session: Session, image: str = BOX, *, warm: bool = False) -> float:
            rows = [{"i": index} for index in range(tasks)]
            if warm:
                ours.run(AppRun(app=app, over=rows[:2], session=session, image=image))
            return ours.elapsed_s(AppRun(app=app, over=rows, session=session, image=image), warm=warm)

        run(20, Session.NONE)  # the node has the image now
        alone.loop(20, "/bin/true")
        start_s = min(timed(lambda: alone.loop(1, "/bin/true")) for _ in range(3))
        sessions = bracketed(
            lambda: run(IN_SESSIONS, Session.SHELL), lambda: run(IN_SESSIONS, Session.SHELL, "none"), ROUNDS[name]
        )
        single = bracketed(
            lambda: run(number, Session.NONE, warm=True),
            lambda: timed(lambda: alone.loop(number, "/bin/true")),
            ROUNDS[name],
        )
        of_sessions, of_single = (
            _processor_time(ours, app, tasks, session)
            for tasks, session in ((IN_SESSIONS, Session.SHELL), (number, Session.NONE))
        )
    shares = {"sessions": of_sessions, "single": of_single}
    rounds[name] = {"sessions": sessions, "single": single, "processor_time": shares}
    return {
        f"{name}_start_ms": round(start_s * 1000, 1),
        f"{name}_ms_per_container": round(min(took for _, took in single) / number * 1000, 1),
        f"{name}_session_ratio": round(ratio(sessions), 3),
        f"{name}_container_ratio": round(ratio(single), 3),
    }


def _processor_time(ours: Room, app: str, tasks: int, session: Session) -> dict[str, float]:
    """Whose the processor is during a run, with an agent and its sessions there before."""
    requests = [
        AppRun(app=app, over=[{"i": i} for i in range(number)], session=session, image=BOX) for number in (CORES, tasks)
    ]
    ours.run(requests[0])
    with parts() as spent:
        ours.run(requests[1], warm=True)
    return spent.as_shares()


def _preparations(place: Path, registry: TestRegistry, rounds: dict[str, Any]) -> Figures:
    """How often an image of 500 MB is prepared for 500 tasks that all want it before it is there, and how often for 500
    more.
    """
    _push_large(place, registry)
    with room(place / LARGE, "charliecloud", registry) as ours:
        app = true_app(place / LARGE)
        run = AppRun(app=app, over=[{"i": index} for index in range(WANTING // RUNS)], image=f"packhorse/{LARGE}:1")
        counted, seconds = [], []
        for _ in range(2):
            seconds.append(timed(lambda: ours.run(*[run] * RUNS)))
            counted.append(ours.preparations())
    rounds["preparations"] = {"count_after": counted, "seconds": seconds}
    return {"image_preparations": counted[0], "image_preparations_again": counted[1] - counted[0]}


def _push_large(place: Path, registry: TestRegistry) -> None:
    """The image 'box' with so many random bytes, which no compression makes fewer."""
    layout = f"{shutil.copytree(registry.layout, place / 'layout')}:box"
    with open("/dev/urandom", "rb") as source, (place / "random").open("wb") as target:
        for _ in range(LARGE_MB):
            target.write(source.read(1_000_000))
    subprocess.run(["umoci", "insert", "--image", layout, "--tag", LARGE, place / "random", "/random"], check=True)
    target_name = f"docker://{registry.name(LARGE)}:1"
    source_name = f"oci:{place / 'layout'}:{LARGE}"
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", source_name, target_name]
    subprocess.run(copy, check=True)
    (place / "random").unlink()
