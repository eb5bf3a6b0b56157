"""What else runs many small tasks on a Slurm cluster: one job each, one array, steps in one allocation.

All on a sample, extrapolated.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.cluster import drain
from bench.harness import timed

#: A task's job: a core, and memory so that every core of the cluster has one. Its output goes nowhere, which costs the
#: peers least.
_TASK = "--nodes=1 --ntasks=1 --cpus-per-task=1 --output=/dev/null"


def peers(folder: Path, nodes: int, cores: int, memory_mb: int) -> dict[str, Callable[[Sequence[str]], float]]:
    """By name: seconds until all of some commands (of a shell, one a task) have run on ``nodes`` nodes of ``cores``
    cores.
    """

    def run(command: str) -> None:
        subprocess.run(command, shell=True, check=True, cwd=folder, stdout=subprocess.DEVNULL)

    def sbatch(commands: Sequence[str]) -> None:
        submit = f"xargs -d '\\n' -n1 sbatch {_TASK} --mem={memory_mb} --wrap"
        subprocess.run(
            submit, input="\n".join(commands), text=True, shell=True, check=True, cwd=folder, stdout=subprocess.DEVNULL
        )
        drain()

    def array(commands: Sequence[str]) -> None:
        (folder / "commands").write_text("\n".join(commands) + "\n")
        one = '#!/bin/sh\neval "$(sed -n "${SLURM_ARRAY_TASK_ID}p" commands)"\n'
        if len(set(commands)) == 1:
            one = f"#!/bin/sh\n{commands[0]}\n"
        (folder / "array.sh").write_text(one)
        run(f"sbatch {_TASK} --mem={memory_mb} --array=1-{len(commands)} array.sh")
        drain()

    def srun(commands: Sequence[str]) -> None:
        (folder / "commands").write_text("\n".join(commands) + "\n")
        step = f"srun --quiet {_TASK} --exact --mem={memory_mb} sh -c"
        steps = f"xargs -d '\\n' -a commands -P{nodes * cores} -n1 {step}"
        run(
            f"salloc --quiet --nodes={nodes} --ntasks-per-node={cores} --mem={memory_mb * cores} sh -c"
            f" {shlex.quote(steps)}"
        )

    ways: dict[str, Callable[[Sequence[str]], None]] = {"sbatch": sbatch, "array": array, "srun": srun}
    return {name: lambda commands, way=way: timed(lambda: way(commands)) for name, way in ways.items()}  # type: ignore[misc]


def extrapolated(peer: Callable[[Sequence[str]], float], sample: Sequence[str], tasks: int) -> float:
    """Seconds of ``tasks`` tasks: what one task alone takes counts once, then each further one costs what it costs in
    the sample.

    One alone is tried twice, since Slurm may let it wait for longer than a small sample takes.
    """
    alone = min(peer(sample[:1]) for _ in range(2))
    return alone + (peer(sample) - alone) / (len(sample) - 1) * (tasks - 1)
