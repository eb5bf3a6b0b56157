"""Charliecloud: an unpacked folder or a SquashFS file, no daemon, no setuid; processes are children of the command, in
its cgroup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from packhorse.sites.runtimes import layouts
from packhorse.sites.runtimes.base import (
    LAUNCHER_VARIABLES,
    Ability,
    Bind,
    CannotRun,
    ContainerSpec,
    Image,
    RuntimeOptions,
)
from packhorse.sites.runtimes.checks import check_image, check_spec


@dataclass(frozen=True, slots=True)
class Charliecloud:
    """``ch-run``. It binds read-write only, and writes to an image only in place, which all tasks would see."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "charliecloud"
    abilities: frozenset[Ability] = frozenset(
        {Ability.IMAGES, Ability.READ_ONLY_ROOT, Ability.NO_NETWORK, Ability.RANKS}
    )
    per_node: bool = False

    def prepared(self, image: Image) -> str:
        """A folder with the image's files: unpacked, or where a node mounts the file with them."""
        check_image(image, self.name)
        if not self.options.squashfs:
            return f"{image.folder}/rootfs"
        if image.mounted is None:
            raise CannotRun(
                f"{self.name} cannot prepare this: a SquashFS file needs a folder on the node where it is mounted."
            )
        return image.mounted

    def prepare(self, image: Image) -> list[list[str]]:
        """Unpacks, with the mount points made, and packs again where one file is wanted."""
        self.prepared(image)
        growing = layouts.partial(image)
        squash = [
            ["mksquashfs", f"{growing}/rootfs", f"{growing}/image.sqfs", "-noappend", "-quiet", "-no-progress"],
            ["rm", "-rf", "--", f"{growing}/rootfs"],
        ]
        return [
            *layouts.begin(image),
            *layouts.unpack(image),
            *(squash if self.options.squashfs else []),
            *layouts.finish(image),
        ]

    def has(self, image: Image) -> list[str] | None:
        """None: its images are the site's."""
        return None

    def mount(self, image: Image) -> list[str] | None:
        """Serves the SquashFS file.

        Not left to ch-run, which then hides how the command ended: 0.31 says 0 after SIGTERM.
        """
        return (
            ["squashfuse", "-f", f"{image.folder}/image.sqfs", self.prepared(image)] if self.options.squashfs else None
        )

    def bind(self, bind: Bind) -> str:
        """Composes one option."""
        for path in (bind.source, bind.target):
            if ":" in path:
                raise CannotRun(
                    f"{self.name} cannot run this: ':' separates the two paths of a bind, and {path!r} contains one."
                )
        return f"--bind={bind.source}:{bind.target}"

    def directives(self, image: str, binds: Sequence[Bind]) -> list[str]:
        """None: a job has no image of its own."""
        return []

    def wrap(self, spec: ContainerSpec) -> list[str]:
        """Composes ``ch-run``.

        Quotes around a value are taken off again, once: so they are always there. It does not start without USER, which
        a job may lack. Not ``--join`` for ranks of a node: it fails the others when the first one ends before they have
        started.
        """
        check_spec(spec, self.abilities, self.name)
        if spec.ranks_on_node and self.options.squashfs:
            raise CannotRun(
                f"{self.name} cannot run this: a SquashFS file is mounted where its task starts, and not where its"
                " ranks do."
            )
        kept = [*spec.pass_env, *(LAUNCHER_VARIABLES if spec.ranks_on_node else ())]
        own_tmp = any(bind.target.rstrip("/") == "/tmp" for bind in spec.binds)  # noqa: S108
        return [
            *([] if spec.network else _WITHOUT_NETWORK),
            "env",
            f"USER={spec.uid}",
            self.program,
            *([] if spec.network else [f"--uid={spec.uid}", f"--gid={spec.gid}"]),
            f"--unset-env={'!(' + '|'.join(kept) + ')' if kept else '*'}",
            "--env-no-expand",
            *(
                f"--set-env={name}='{value}'"
                for name, value in {**(_FOR_RANKS if spec.ranks_on_node else {}), **spec.environment}.items()
            ),
            f"--cd={spec.folder}",
            *([] if own_tmp else ["--private-tmp"]),
            *map(self.bind, spec.binds),
            *spec.more,
            *self.options.extra,
            spec.image,
            "--",
            *spec.command,
        ]

    def end(self, spec: ContainerSpec) -> list[list[str]]:
        """Nothing: the processes are in the group and cgroup of who started them."""
        return []

    @property
    def program(self) -> str:
        """Its own name, unless the configuration says otherwise."""
        return self.options.program or "ch-run"


#: Open MPI copies from one rank to another by way of the kernel, which allows that within one user namespace only; so
#: by shared memory.
_FOR_RANKS = {"OMPI_MCA_btl_vader_single_copy_mechanism": "none"}
#: util-linux; a network namespace with nothing in it, for a user who is root in it until ch-run changes that back.
_WITHOUT_NETWORK = ["unshare", "--user", "--map-root-user", "--net", "--"]
