"""The container runtimes by name."""

from __future__ import annotations

from importlib import import_module

from packhorse.domain.errors import InvalidRequest
from packhorse.sites.runtimes.base import Runtime, RuntimeOptions

#: Class of each; its module, which has the runtime's own name, is imported when a site has that runtime.
RUNTIMES = {
    "apptainer": "Apptainer",
    "charliecloud": "Charliecloud",
    "docker": "Docker",
    "none": "NoRuntime",
    "podman": "Podman",
    "podman_hpc": "PodmanHpc",
    "shifter": "Shifter",
}


def runtime(name: str, options: RuntimeOptions | None = None) -> Runtime:
    """The runtime that a site's configuration names. Raises InvalidRequest with the names there are."""
    if name not in RUNTIMES:
        raise InvalidRequest(f"There is no container runtime '{name}'.", hint=f"There are: {', '.join(RUNTIMES)}.")
    made: Runtime = getattr(import_module(f"packhorse.sites.runtimes.{name}"), RUNTIMES[name])(
        options or RuntimeOptions()
    )
    return made
