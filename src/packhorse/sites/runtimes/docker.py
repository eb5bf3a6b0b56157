"""Docker, for laptops and servers: its daemon is root, and starts the containers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from packhorse.sites.runtimes import engines
from packhorse.sites.runtimes.base import Ability, Bind, ContainerSpec, Image, RuntimeOptions
from packhorse.sites.runtimes.checks import check_image, check_spec


@dataclass(frozen=True, slots=True)
class Docker:
    """``docker run`` as the submitting user, who need not be known in the image."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "docker"
    abilities: frozenset[Ability] = engines.ABILITIES
    per_node: bool = True

    def prepared(self, image: Image) -> str:
        """A name in the daemon's storage."""
        check_image(image, self.name)
        return (
            f"localhost/packhorse:{image.digest.removeprefix('sha256:')}"
            if image.layout
            else f"{image.name}@{image.digest}"
        )

    def prepare(self, image: Image) -> list[list[str]]:
        """Pulls, or loads a layout. Whether a registry needs TLS is the daemon's configuration."""
        target = self.prepared(image)
        if image.layout:
            return engines.load(image, self.program, target)
        return [[self.program, "pull", "--quiet", target]]

    def has(self, image: Image) -> list[str] | None:
        """Whether the node's engine has it."""
        return [self.program, "image", "inspect", "--format=ok", self.prepared(image)]

    def mount(self, image: Image) -> list[str] | None:
        """None is needed."""
        return None

    def bind(self, bind: Bind) -> str:
        """Composes one option."""
        return f"--mount={engines.mount(bind, self.name)}"

    def directives(self, image: str, binds: Sequence[Bind]) -> list[str]:
        """None: a job has no image of its own."""
        return []

    def wrap(self, spec: ContainerSpec) -> list[str]:
        """Composes ``docker run``."""
        check_spec(spec, self.abilities, self.name)
        own_tmp = spec.writable_root or any(bind.target.rstrip("/") == "/tmp" for bind in spec.binds)  # noqa: S108
        return [
            self.program, "run", *engines.common(spec), f"--user={spec.uid}:{spec.gid}", "--log-driver=none",
            *([] if own_tmp else ["--tmpfs=/tmp"]),
            *([] if spec.cgroup_parent is None else [f"--cgroup-parent={spec.cgroup_parent}"]),
            *(["--gpus=all"] if spec.gpus else []),
            *map(self.bind, spec.binds), *spec.more,
            *engines.environment(spec), *self.options.extra, spec.image, *spec.command,
        ]  # fmt: skip

    def end(self, spec: ContainerSpec) -> list[list[str]]:
        """Removes the container with all its processes: they are the daemon's children."""
        return [] if spec.name is None else [[self.program, "rm", "--force", spec.name]]

    @property
    def program(self) -> str:
        """Its own name, unless the configuration says otherwise."""
        return self.options.program or "docker"
