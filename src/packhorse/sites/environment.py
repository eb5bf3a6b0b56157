"""Which variables of an environment go where: the only place that decides. Pure.

docs/operators/environment.md has it as a table.

A job is started by a program that may itself be part of a job, or of a service with secrets. What the next one sees is
therefore composed: of what is ours, by one of two lists, and of what the site's configuration passes on. The agent does
the same with its own environment, which the batch scheduler made, before a task sees it: ``for_agents`` is what it is
told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

#: What may be passed on: a name, or the beginning of names.
PASSED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?\Z")

#: Batch schedulers and launchers: what they tell their own jobs and ranks, and the options that their commands read
#: there.
_SLURM = (
    *(
        "SLURM_*",
        "SLURMD_*",
        "SLURMCTLD_*",
        "SPANK_*",
        "SBATCH_*",
        "SRUN_*",
        "SALLOC_*",
        "SQUEUE_*",
        "SACCT_*",
        "SCANCEL_*",
    ),
    *(
        "SINFO_*",
        "SCONTROL_*",
        "SATTACH_*",
        "SBCAST_*",
        "SCRONTAB_*",
        "SPRIO_*",
        "SSHARE_*",
        "SSTAT_*",
        "SREPORT_*",
        "STRIGGER_*",
    ),
)
_SCHEDULERS = (
    *(
        "PBS_*",
        "MOAB_*",
        "LSB_*",
        "LSF_*",
        "LS_JOBPID",
        "LS_SUBCWD",
        "LS_EXEC_T",
        "LSFUSER",
        "JSM_*",
        "COBALT_*",
        "OAR_*",
        "FLUX_*",
    ),
    *("HQ_*", "PJM_*", "CONDOR_*", "_CONDOR_*"),
    *("SGE_*", "PE_HOSTFILE", "JOB_ID", "JOB_SCRIPT", "NSLOTS", "NHOSTS", "NQUEUES"),
)
_LAUNCHERS = (
    *(
        "PMI_*",
        "PMI2_*",
        "PMIX_*",
        "OMPI_*",
        "PRTE_*",
        "PRRTE_*",
        "ORTE_*",
        "MPI_*",
        "MPIEXEC_*",
        "MPIRUN_*",
        "MPISPAWN_*",
        "HYDRA_*",
    ),
    *("HYDI_*", "I_MPI_*", "MV2_*", "MVP_*", "PALS_*", "ALPS_*", "GMPI_*"),
)
_OURS = ("PACKHORSE_*",)
_OUTER = (*_SLURM, *_SCHEDULERS, *_LAUNCHERS, *_OURS)
#: Names that look like a launcher's, and say where a library is installed: modules set them.
_INSTALLED = frozenset(
    {
        *(
            "I_MPI_ROOT",
            "MPI_HOME",
            "MPI_ROOT",
            "MPI_BIN",
            "MPI_LIB",
            "MPI_INCLUDE",
            "MPI_MAN",
            "MPI_SYSCONFIG",
            "MPI_COMPILER",
        ),
        *("MPI_SUFFIX", "MPI_FORTRAN_MOD_DIR", "MPI_PYTHON_SITEARCH", "MPI_PYTHON2_SITEARCH", "MPI_PYTHON3_SITEARCH"),
    }
)
#: Which node one is on; of the job it says nothing.
_NODE = "SLURMD_NODENAME"
#: Grid Engine's names that others use too: its own where it is at work.
_GRID_ENGINE = frozenset({"TASK_ID", "QUEUE", "REQUEST", "REQNAME", "RESTARTED", "JOB_NAME", "PE", "ARC"})
_GRID_ENGINE_SIGNS = ("PE_HOSTFILE", "SGE_TASK_ID", "SGE_O_HOST", "SGE_JOB_SPOOL_DIR")

#: Which cluster is meant.
_CLUSTER = ("SLURM_CONF",)
#: What a process that is nobody's session has.
_LISTED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ")
_OF_THIS_MACHINE = ("TMPDIR", "XDG_RUNTIME_DIR")
#: The way to the internet, for work that needs it.
_OUTWARD = (
    *(
        "http_proxy",
        "https_proxy",
        "ftp_proxy",
        "all_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    ),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "REGISTRY_AUTH_FILE"),
)
#: What srun tells the step that it starts, and what another srun would take for its own options.
_OF_A_STEP = (
    *(
        "SLURM_STEP_*",
        "SLURM_STEPID",
        "SLURM_PROCID",
        "SLURM_LOCALID",
        "SLURM_NODEID",
        "SLURM_GTIDS",
        "SLURM_TASK_PID",
        "SLURM_SRUN_*",
    ),
    *(
        "SLURM_LAUNCH_*",
        "SLURM_CPU_BIND*",
        "SLURM_MEM_BIND*",
        "SLURM_DISTRIBUTION",
        "SLURM_PMI*",
        "SLURM_MPI_TYPE",
        "SLURM_EXPORT_ENV",
    ),
    *("SLURM_OVERLAP", "SLURM_WAIT", "SLURM_KILL_BAD_EXIT", "SLURM_NO_KILL", "SLURM_UMASK", "SRUN_*"),
)


class Purpose(Enum):
    """What something is run for."""

    COMMAND = "command"
    """The batch scheduler's commands, whose environment its jobs get, and small ones of our own."""
    BACKGROUND = "background"
    """Long work beside the tasks, which may need the internet: images, data."""
    LOOK = "look"
    """To see what a person finds there on logging in."""


@dataclass(frozen=True, slots=True)
class Composer:
    """How environments at one site are composed.

    ``passes`` is its ``env_pass``; a name that is spelled out there passes always.

    ``own``: one's own work on one's own machine, which keeps one's own environment. Otherwise a short list of names
    passes. ``here``: what is started runs on this machine.
    """

    own: bool = False
    here: bool = False
    passes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if wrong := [name for name in self.passes if not PASSED.match(name)]:
            raise ValueError(f"no name of a variable: {wrong[0]!r}")

    def compose(
        self, ours: Mapping[str, str], purpose: Purpose = Purpose.COMMAND, *, prefix: str | None = None
    ) -> dict[str, str]:
        """What something that is started on this machine sees of ``ours``.

        ``prefix``: the virtual environment that we run in.
        """
        own = self.own or purpose is Purpose.LOOK
        listed = _Names(self.names(purpose))
        outer = outer_names(ours) if own else set()
        chosen = {name: value for name, value in ours.items() if name in listed or (own and name not in outer)}
        if not own and "PATH" in chosen:
            chosen["PATH"] = _without_programs_of_ours(
                chosen["PATH"], [prefix, ours.get("VIRTUAL_ENV"), ours.get("CONDA_PREFIX")]
            )
        return {name: value for name, value in chosen.items() if name and "=" not in name and "\0" not in name + value}

    def names(self, purpose: Purpose = Purpose.COMMAND) -> tuple[str, ...]:
        """Names, and beginnings of names, that pass in any case. All that passes of a login elsewhere."""
        here = _OF_THIS_MACHINE if self.here else ()
        outward = _OUTWARD if purpose is Purpose.BACKGROUND else ()
        return tuple(dict.fromkeys((*_LISTED, *_CLUSTER, *here, *outward, *self.passes)))

    def for_agents(self) -> dict[str, Any]:
        """What agents keep from tasks:

        ``hidden`` from all but those that start ranks, from which only ``of_step``; ``shown`` never.
        """
        return {
            "hidden": [*_OUTER, "ENVIRONMENT=BATCH"],
            "of_step": [*_OF_A_STEP, *_SCHEDULERS, *_LAUNCHERS, *_OURS, "ENVIRONMENT=BATCH"],
            "shown": [*sorted(_INSTALLED), _NODE, *self.passes],
        }


def outer_names(environment: Mapping[str, str]) -> set[str]:
    """Names of ``environment`` that belong to a job, a launcher, or a task or setting of ours, around us."""
    outer = _Names(_OUTER)
    found = {name for name in environment if name in outer and name not in _INSTALLED}
    if environment.get("ENVIRONMENT") == "BATCH":
        found.add("ENVIRONMENT")
    if any(sign in environment for sign in _GRID_ENGINE_SIGNS):
        found |= _GRID_ENGINE & environment.keys()
    return found


class _Names:
    """A set of names and of beginnings of names."""

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = tuple(patterns)
        self._whole = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
        self._beginnings = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))

    def __contains__(self, name: str) -> bool:
        return name in self._whole or name.startswith(self._beginnings)


def _without_programs_of_ours(path: str, prefixes: Iterable[str | None]) -> str:
    """A PATH without the programs of the virtual or conda environment that we were started in."""
    roots = [prefix.rstrip("/") for prefix in prefixes if prefix]
    own = {f"{root}/{folder}" for root in roots for folder in ("bin", "condabin")}
    return ":".join(folder for folder in path.split(":") if folder.rstrip("/") not in own) or path
