"""Shifter (NERSC): images are registered with the site's gateway; the root is read-only, and mount points must exist in
the image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from packhorse.sites.runtimes.base import Ability, Bind, CannotRun, ContainerSpec, Image, RuntimeOptions, is_below
from packhorse.sites.runtimes.checks import absolute_problem, check_image, check_spec
from packhorse.sites.script import in_environment

#: Shifter drops every other character of a path without a word (userInputPathFilter).
_PATH = re.compile(r"[A-Za-z0-9_.+/-]+\Z")
_IMAGE = re.compile(r"(docker:[a-z0-9][a-zA-Z0-9._:/-]*:[A-Za-z0-9_][A-Za-z0-9_.-]*|id:[0-9a-f]+)\Z")
#: Shifter refuses every target that begins with these letters, /variants too, but for /var/tmp (VolumeMap.c); the
#: others it mounts itself.
_FORBIDDEN = ("/etc", "/var", "/opt/udiImage")
_MOUNTED = ("/dev", "/proc")


@dataclass(frozen=True, slots=True)
class Shifter:
    """``shifter``. Where a job names image and volumes as batch directives too, it starts faster at scale."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "shifter"
    abilities: frozenset[Ability] = frozenset(
        {
            Ability.IMAGES,
            Ability.READ_ONLY_BINDS,
            Ability.READ_ONLY_ROOT,
            Ability.GPUS,
            Ability.RANKS,
            Ability.SET_UP_BY_JOB,
            Ability.OWN_STORE,
        }
    )
    per_node: bool = False

    def prepared(self, image: Image) -> str:
        """The id in the gateway, the digest unless it told another, so that a tag that has moved since is not found
        instead of run.
        """
        check_image(image, self.name)
        if image.layout or not image.tag:
            raise CannotRun(f"{self.name} cannot prepare this: its gateway pulls from a registry, by tag.")
        return f"id:{image.id or image.digest.removeprefix('sha256:')}"

    def prepare(self, image: Image) -> list[list[str]]:
        """Asks the gateway, and waits until the image is ready."""
        self.prepared(image)
        return [[f"{self.program}img", "pull", f"docker:{image.name}:{image.tag}"]]

    def has(self, image: Image) -> list[str] | None:
        """None: its images are the site's."""
        return None

    def mount(self, image: Image) -> list[str] | None:
        """None is needed."""
        return None

    def bind(self, bind: Bind) -> str:
        """Composes one option."""
        return f"--volume={_volume(bind)}"

    def directives(self, image: str, binds: Sequence[Bind]) -> list[str]:
        """Options of sbatch that make Slurm's plugin set up image and volumes before a job starts, which scales best.

        ``image`` may also be ``docker:NAME:TAG``, looked up when the job is submitted. ``shifter`` must then be started
        with just these volumes. They must exist when the job is submitted. Of several ``--volume`` the plugin keeps the
        last: all go into one.
        """
        if not _IMAGE.match(image):
            raise CannotRun(
                f"shifter cannot run this: {image!r} is not an image of its gateway, docker:NAME:TAG or id:ID."
            )
        joined = ";".join(_volume(bind) for bind in binds)
        return [f"--image={image}", *([f"--volume={joined}"] if joined else [])]

    def wrap(self, spec: ContainerSpec) -> list[str]:
        """Composes ``shifter``.

        It lets in all of the environment it is started in, or nothing: so that has little in it.
        """
        check_spec(spec, self.abilities, self.name)
        given = {name: value for name, value in spec.environment.items() if spec.config.env.get(name) != value}
        if empty := [name for name, value in given.items() if not value]:
            raise CannotRun(f"{self.name} cannot run this: it cannot set a variable to nothing ({', '.join(empty)}).")
        cleans = not (spec.pass_env or spec.ranks_on_node)
        return [
            *([] if cleans else in_environment([], spec.from_host)),
            self.program, f"--image={spec.image}",
            *(["--clearenv"] if cleans else []),
            f"--workdir={spec.folder}",
            *(["--module=gpu"] if spec.gpus else []),
            *map(self.bind, spec.binds), *spec.more,
            *(f"--env={name}={value}" for name, value in given.items()),
            *self.options.extra, "--", *spec.command,
        ]  # fmt: skip

    def end(self, spec: ContainerSpec) -> list[list[str]]:
        """Nothing: the processes are in the group and cgroup of who started them."""
        return []

    @property
    def program(self) -> str:
        """Its own name, unless the configuration says otherwise."""
        return self.options.program or "shifter"


def _volume(bind: Bind) -> str:
    for path in (bind.source, bind.target):
        if not _PATH.match(path):
            raise CannotRun(
                "shifter cannot run this: a path that it binds may have letters, digits and _ . + - only, not"
                f" {path!r}."
            )
        if problem := absolute_problem(path) or ("it refuses '..' in a path" if ".." in path else None):
            raise CannotRun(f"shifter cannot run this: {problem}.")
    taken = bind.target.startswith(_FORBIDDEN) and bind.target != "/var/tmp"  # noqa: S108
    if taken or any(is_below(bind.target, folder) for folder in _MOUNTED) or bind.target.rstrip("/") in ("", "/opt"):
        raise CannotRun(f"shifter cannot run this: nothing can be bound to {bind.target}, which it keeps for itself.")
    return f"{bind.source}:{bind.target}{':ro' if bind.read_only else ''}"
