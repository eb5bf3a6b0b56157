"""The container runtimes by name."""

from __future__ import annotations

from collections.abc import Callable

from packhorse.domain.errors import InvalidRequest
from packhorse.sites.runtimes.apptainer import Apptainer
from packhorse.sites.runtimes.base import Runtime, RuntimeOptions
from packhorse.sites.runtimes.charliecloud import Charliecloud
from packhorse.sites.runtimes.docker import Docker
from packhorse.sites.runtimes.none import NoRuntime
from packhorse.sites.runtimes.podman import Podman
from packhorse.sites.runtimes.podman_hpc import PodmanHpc
from packhorse.sites.runtimes.shifter import Shifter

RUNTIMES: dict[str, Callable[[RuntimeOptions], Runtime]] = {
    "apptainer": Apptainer,
    "charliecloud": Charliecloud,
    "docker": Docker,
    "none": NoRuntime,
    "podman": Podman,
    "podman_hpc": PodmanHpc,
    "shifter": Shifter,
}


def runtime(name: str, options: RuntimeOptions | None = None) -> Runtime:
    """The runtime that a site's configuration names. Raises InvalidRequest with the names there are."""
    if name not in RUNTIMES:
        raise InvalidRequest(f"There is no container runtime '{name}'.", hint=f"There are: {', '.join(RUNTIMES)}.")
    return RUNTIMES[name](options or RuntimeOptions())
