"""Podman, as root or rootless.

Its containers are children of conmon, not of the command that starts them: see ``end``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from packhorse.sites.runtimes import engines, layouts
from packhorse.sites.runtimes.base import Ability, Bind, ContainerSpec, Image, RuntimeOptions
from packhorse.sites.runtimes.checks import check_image, check_spec


@dataclass(frozen=True, slots=True)
class Podman:
    """``podman run``.

    Rootless or not, root inside is the submitting user outside, since it is the user who starts it.
    """

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "podman"
    abilities: frozenset[Ability] = engines.ABILITIES
    per_node: bool = True

    def prepared(self, image: Image) -> str:
        """A name in the node's storage."""
        check_image(image, self.name)
        return (
            f"localhost/packhorse:{image.digest.removeprefix('sha256:')}"
            if image.layout
            else f"{image.name}@{image.digest}"
        )

    def prepare(self, image: Image) -> list[list[str]]:
        """Pulls into the node's storage; skopeo copies a layout there, without an archive on the way."""
        target = self.prepared(image)
        if image.layout:
            return [["skopeo", "copy", "--quiet", layouts.source(image), f"containers-storage:{target}"]]
        return [[self.program, "pull", "--quiet", *engines.pull_options(image), target]]

    def has(self, image: Image) -> list[str] | None:
        """Whether it is in the node's storage."""
        return [self.program, "image", "exists", self.prepared(image)]

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
        """Composes ``podman run``."""
        check_spec(spec, self.abilities, self.name)
        return [self.program, "run", *run_options(spec, self.options, self.name), spec.image, *spec.command]

    def end(self, spec: ContainerSpec) -> list[list[str]]:
        """Removes the container with all its processes: it outlives the command that started it."""
        return [] if spec.name is None else [[self.program, "rm", "--force", "--ignore", "--time=0", spec.name]]

    @property
    def program(self) -> str:
        """Its own name, unless the configuration says otherwise."""
        return self.options.program or "podman"


def run_options(spec: ContainerSpec, options: RuntimeOptions, runtime: str) -> list[str]:
    """Options of ``podman run``; those that belong before the verb are understood here too.

    ``--log-driver=none``: output goes to who started it, and is not kept a second time. ``--http-proxy=false``: nor do
    the host's proxies come along.
    """
    parent = (
        [] if spec.cgroup_parent is None else ["--cgroup-manager=cgroupfs", f"--cgroup-parent={spec.cgroup_parent}"]
    )
    user = ["--userns=keep-id", f"--user={spec.uid}:{spec.gid}"] if options.keep_id and spec.uid else ["--user=0:0"]
    return [
        *parent, *engines.common(spec), *user, "--log-driver=none", "--http-proxy=false",
        *(["--device=nvidia.com/gpu=all"] if spec.gpus and runtime == "podman" else []),
        *(bind_option(bind, runtime) for bind in spec.binds), *spec.more,
        *engines.environment(spec), *options.extra,
    ]  # fmt: skip


def bind_option(bind: Bind, runtime: str) -> str:
    """``--mount`` of one bind."""
    return f"--mount={engines.mount(bind, runtime)}"
