"""100 genomes assembled in containers on all cores of this machine, against one after another on the same cores."""

from __future__ import annotations

import csv
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.fixtures.registry import running_registry

from bench.container_room import CORES, INSTALL, Bare, bare, room
from bench.harness import Figures, folder, record, timed
from bench.parts import parts
from packhorse.domain.run import AppRun
from packhorse.sites.runtimes.base import Bind

REPOSITORY = Path(__file__).parents[1]
APP = REPOSITORY / "apps" / "assembly"
PUSH = REPOSITORY / "deploy" / "images" / "push.sh"
RUNTIME = "charliecloud"
SAMPLES = 100
# that are assembled one after another, before and again after: a piece of each genome; the others would take as long
SERIAL = 16
AT_ONCE = 32  # that the barest loops on all cores assemble
PART_BP = 50_000


def measure() -> Figures:
    """assembly_speedup, assembly_busy, and how busy the barest loop on all cores is."""
    subprocess.run([INSTALL], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    with running_registry() as registry, folder() as place:
        subprocess.run([PUSH, "assembly", f"{registry.address}/packhorse"], check=True, stdout=subprocess.DEVNULL)
        samples = place / "samples"
        simulate = [
            str(APP / "simulate.py"),
            "--samples",
            str(SAMPLES),
            "--part-bp",
            str(PART_BP),
            "--folder",
            str(samples),
        ]
        subprocess.run([sys.executable, *simulate], check=True, stdout=subprocess.DEVNULL)
        with (samples / "table.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        work = place / "work"
        work.mkdir()
        print(f"one after another: a sample of {SERIAL}, extrapolated to {SAMPLES}", flush=True)
        with (
            bare(place, RUNTIME, registry, "assembly", "1.0", (APP, samples, work)) as alone,
            room(place / "room", RUNTIME, registry, binds=[samples]) as ours,
        ):
            request = AppRun(app=str(APP), over=rows, image="packhorse/assembly:1.0", gather=False)
            ours.run(request.model_copy(update={"over": rows[:CORES]}))  # the image is prepared
            before = timed(lambda: _one_after_another(alone, rows[:SERIAL], samples, work))
            with parts() as spent:
                usage = ours.run(request)[0]
            after = timed(lambda: _one_after_another(alone, rows[:SERIAL], samples, work))
            barest_s, barest_cpu_s = _as_many_as_cores(alone, rows[:AT_ONCE], samples, work)
    elapsed_s = usage.elapsed_s or 0.0
    rounds: dict[str, Any] = {
        "serial_s": [before, after],
        "serial": SERIAL,
        "samples": SAMPLES,
        "elapsed_s": elapsed_s,
        "cpu_s": usage.cpu_s,
        "processor_time": spent.as_shares(),
        "barest": {"samples": AT_ONCE, "elapsed_s": barest_s, "cpu_s": barest_cpu_s},
    }
    figures = {
        "assembly_s_each": round(elapsed_s / SAMPLES * CORES, 2),
        "assembly_busy": round(usage.cpu_s / (CORES * elapsed_s), 3),
        "assembly_barest_busy": round(barest_cpu_s / (CORES * barest_s), 3),
        "assembly_vs_barest": round(elapsed_s / SAMPLES / (barest_s / AT_ONCE), 3),
        "assembly_speedup": round((before + after) / 2 / SERIAL * SAMPLES / elapsed_s, 2),
    }
    record("assembly", figures, rounds)
    return figures


def _as_many_as_cores(alone: Bare, rows: list[dict[str, str]], samples: Path, work: Path) -> tuple[float, float]:
    """(seconds, processor seconds) of the barest way to use all cores: a loop for each core, each assembly with one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = used.ru_utime + used.ru_stime
    places = [work / str(core) for core in range(CORES)]
    for place in places:
        place.mkdir()
    left = iter(rows)  # shared, so that no core is done long before the others

    def loop(place: Path) -> None:
        for row in left:
            _assemble(alone, row, samples, work, place, 1)

    with ThreadPoolExecutor(CORES) as pool:
        took_s = timed(lambda: list(pool.map(loop, places)))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return took_s, used.ru_utime + used.ru_stime - began_s


def _one_after_another(alone: Bare, rows: list[dict[str, str]], samples: Path, work: Path) -> None:
    """Each has all cores, as it would have by hand."""
    for row in rows:
        _assemble(alone, row, samples, work, work, CORES)


def _assemble(alone: Bare, row: dict[str, str], samples: Path, work: Path, here: Path, threads: int) -> None:
    """One assembly in a container that sees ``work``, in the folder ``here`` of it."""
    binds = tuple(Bind(str(path), str(path)) for path in (APP, samples, work))
    arguments = [word for name, value in row.items() for word in (f"--{name}", value)]
    command = ["python3", f"{APP}/assemble.py", *arguments, "--threads", str(threads), "--memory-gb", "1"]
    subprocess.run(alone.command(*command, binds=binds, workdir=str(here)), check=True, capture_output=True)
