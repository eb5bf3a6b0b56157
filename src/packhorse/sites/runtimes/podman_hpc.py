"""podman-hpc (NERSC): Podman with images as shared SquashFS files, and with modules for MPI and GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from packhorse.sites.runtimes import engines
from packhorse.sites.runtimes.base import Ability, Bind, CannotRun, ContainerSpec, Image, RuntimeOptions
from packhorse.sites.runtimes.checks import check_image, check_spec
from packhorse.sites.runtimes.podman import bind_option, run_options


@dataclass(frozen=True, slots=True)
class PodmanHpc:
    """``podman-hpc run``."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "podman_hpc"
    abilities: frozenset[Ability] = engines.ABILITIES | {Ability.OWN_STORE}
    per_node: bool = False

    def prepared(self, image: Image) -> str:
        """A name in the shared storage of squashed images."""
        check_image(image, self.name)
        if image.layout:
            raise CannotRun(
                f"{self.name} cannot prepare this: it migrates images that it pulls from a registry, not an OCI layout."
            )
        return f"{image.name}@{image.digest}"

    def prepare(self, image: Image) -> list[list[str]]:
        """Pulls, and squashes into the user's shared folder: its ``pull`` does both."""
        target = self.prepared(image)
        return [[self.program, "pull", *engines.pull_options(image), target]]

    def has(self, image: Image) -> list[str] | None:
        """None: its images are the site's."""
        return None

    def mount(self, image: Image) -> list[str] | None:
        """None is needed."""
        return None

    def bind(self, bind: Bind) -> str:
        """Composes one option."""
        return bind_option(bind, self.name)

    def directives(self, image: str, binds: Sequence[Bind]) -> list[str]:
        """None: a job has no image of its own."""
        return []

    def wrap(self, spec: ContainerSpec) -> list[str]:
        """Composes ``podman-hpc run``; ``--``, since it would take --help, --gpu and its other words anywhere on the
        line.
        """
        check_spec(spec, self.abilities, self.name)
        gpu = ["--gpu"] if spec.gpus else []
        return [
            self.program,
            "run",
            *gpu,
            *run_options(spec, self.options, self.name),
            "--",
            spec.image,
            *spec.command,
        ]

    def end(self, spec: ContainerSpec) -> list[list[str]]:
        """As with Podman."""
        return [] if spec.name is None else [[self.program, "rm", "--force", "--ignore", "--time=0", spec.name]]

    @property
    def program(self) -> str:
        """Its own name, unless the configuration says otherwise."""
        return self.options.program or "podman-hpc"
