"""What is known of kinds of sites beforehand, so that little has to be asked when one is added."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from packhorse.domain.errors import InvalidRequest

#: What a key of ``[sites.NAME]`` may be given.
Value = str | int | float | Sequence[str] | Mapping[str, str]

_VARIABLE = re.compile(r"\$(\w+)")


@dataclass(frozen=True)
class Profile:
    """A kind of site. ``settings`` are keys of ``[sites.NAME]``, each of which may be given otherwise."""

    title: str
    settings: Mapping[str, Value]
    roots: tuple[str, ...]
    """Where its root may be, the first that is known there: paths that begin with ``~`` or a variable of the user's
    login there.
    """
    required: frozenset[str] = frozenset()
    """Keys that it cannot do without and whose value nobody can know beforehand."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values that are usual there, for a person to choose from; others may be given too."""
    picks_queue: bool = False
    """The site picks the partition by itself, so that none is suggested."""
    note: str = ""
    """What a person has to know."""


PROFILES: Mapping[str, Profile] = {
    "slurm": Profile(
        title="any Slurm cluster",
        settings={"scheduler": "slurm"},
        roots=("$SCRATCH/packhorse", "$WORK/packhorse", "~/packhorse"),
    ),
    # After stored copies of NERSC's documentation:
    # https://docs.nersc.gov/jobs/policy/                    the QOS: 'debug' is what a job gets that names none, most
    # go to 'regular'
    # https://docs.nersc.gov/filesystems/perlmutter-scratch/ $PSCRATCH, for all nodes; what is not read for 8 weeks is
    # deleted
    #   https://nersc.gitlab.io/development/containers/        podman-hpc, with 'several advantages over' shifter
    # and after published job scripts and SSH configurations that refer to these pages of it:
    # https://docs.nersc.gov/systems/perlmutter/running-jobs/ jobs name account, QOS and constraint (cpu or gpu), and no
    # partition
    #   https://docs.nersc.gov/connect/mfa/#sshproxy            sshproxy leaves a key for a day in ~/.ssh/nersc
    "perlmutter": Profile(
        title="Perlmutter at NERSC",
        settings={
            "transport": "ssh",
            "host": "perlmutter.nersc.gov",
            "key_file": "~/.ssh/nersc",
            "scheduler": "slurm",
            "runtime": "podman_hpc",
            "qos": "regular",
            "constraint": "cpu",
        },
        roots=("$PSCRATCH/packhorse", "$SCRATCH/packhorse"),
        required=frozenset({"account"}),
        choices={"qos": ("regular", "debug", "shared"), "constraint": ("cpu", "gpu")},
        picks_queue=True,
        note=(
            "This profile follows NERSC's documentation and was not tried there: please run 'packhorse doctor' before"
            " you rely on it."
        ),
    ),
}


def profile(name: str) -> Profile:
    """Raises InvalidRequest with the names there are."""
    if name not in PROFILES:
        raise InvalidRequest(f"There is no profile '{name}'.", hint=f"There are: {', '.join(PROFILES)}.")
    return PROFILES[name]


def expand(path: str, environment: Mapping[str, str]) -> str | None:
    """``path`` with ``~`` and variables as they are at the site; None when that is not an absolute path or a variable
    is not known.
    """
    if path == "~" or path.startswith("~/"):
        path = f"$HOME{path[1:]}"
    if any(name not in environment for name in _VARIABLE.findall(path)):
        return None
    found = _VARIABLE.sub(lambda match: environment[match[1]], path)
    return os.path.normpath(found) if found.startswith("/") else None
