"""How a program is started on all ranks of an allocation, and what its end says. Pure functions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

EAGER_BYTES = 65536
"""ABYSS-P's ranks send each other some kB by MPI_Send and count on not having to wait for the receiver.

Above Open MPI's eager limit (4 kB through shared memory) two that send at once wait for ever:
github.com/BirolLab/abyss issues 20 and 155."""

MEMORY_SIGNS = (
    "std::bad_alloc",
    "Cannot allocate memory",
    "signal 9 (Killed)",
    "signal 7 (Bus error)",
    "oom-kill",
    "oom_kill",
    "Out Of Memory",
)
OUT_OF_MEMORY = 137
"""The exit code of a program that was killed; also ours where the log says that a rank ran out of memory."""


def choose_launcher(environment: Mapping[str, str]) -> str:
    """``srun`` within an allocation of Slurm, elsewhere ``mpirun``."""
    return "srun" if "SLURM_JOB_ID" in environment and shutil.which("srun", path=environment.get("PATH")) else "mpirun"


def launch_command(launcher: str, nodes: int, ranks: int, command: Sequence[str]) -> list[str]:
    """The command that starts ``command`` on ``ranks`` ranks spread evenly over ``nodes`` nodes.

    srun: Debian's Open MPI speaks PMIx; the step shares nodes with the one that the caller runs in (``--overlap``, all
    of its memory).
    """
    if launcher == "srun":
        return [
            "srun", "--mpi=pmix", f"--nodes={nodes}", f"--ntasks={ranks}", f"--ntasks-per-node={-(-ranks // nodes)}",
            "--overlap", "--mem=0", "--kill-on-bad-exit=1", *command,
        ]  # fmt: skip
    return ["mpirun", "-np", str(ranks), "--map-by", "node", "--bind-to", "none", "--oversubscribe", *command]


def launch_environment(environment: Mapping[str, str], *, as_root: bool) -> dict[str, str]:
    """The environment with what Open MPI needs here. What a site has set itself stays."""
    wanted = {
        "OMPI_MCA_mpi_yield_when_idle": "1",  # ranks may share a core
        "OMPI_MCA_btl_vader_eager_limit": str(EAGER_BYTES),
        "OMPI_MCA_btl_vader_max_send_size": str(2 * EAGER_BYTES),
        "OMPI_MCA_btl_tcp_eager_limit": str(EAGER_BYTES),
        "OMPI_MCA_btl_tcp_rndv_eager_limit": str(EAGER_BYTES),
        "OMPI_MCA_btl_tcp_max_send_size": str(2 * EAGER_BYTES),
    }
    if as_root:
        wanted |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {**wanted, **environment}


def out_of_memory_suspected(log: str) -> bool:
    """Whether the end of a log looks like memory exhaustion: a rank on another node is killed where nobody else sees
    it.
    """
    return any(sign in log for sign in MEMORY_SIGNS)
