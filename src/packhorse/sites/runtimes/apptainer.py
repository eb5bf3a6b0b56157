"""Apptainer, and Singularity from 3.10 on: images are SIF files; processes are children of the command, in its cgroup
and as the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from packhorse.sites.runtimes import engines, layouts
from packhorse.sites.runtimes.base import Ability, Bind, CannotRun, ContainerSpec, Image, RuntimeOptions
from packhorse.sites.runtimes.checks import check_image, check_spec
from packhorse.sites.script import in_environment

_ABILITIES = frozenset(Ability) - {
    Ability.LIMITS,  # its own limits take cgroups v2 and systemd on the node
    Ability.SET_UP_BY_JOB,
    Ability.OWN_STORE,
}


@dataclass(frozen=True, slots=True)
class Apptainer:
    """``apptainer exec``. /tmp and /var/tmp are small and in memory unless bound (``--contain``)."""

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "apptainer"
    abilities: frozenset[Ability] = _ABILITIES
    per_node: bool = False

    def prepared(self, image: Image) -> str:
        """One SIF file."""
        check_image(image, self.name)
        return f"{image.folder}/image.sif"

    def prepare(self, image: Image) -> list[list[str]]:
        """Builds the SIF file; from a registry without skopeo."""
        self.prepared(image)
        build = [
            self.program,
            "build",
            *([] if image.tls else ["--no-https"]),
            f"{layouts.partial(image)}/image.sif",
            layouts.source(image),
        ]
        return [*layouts.begin(image), build, *layouts.finish(image)]

    def has(self, image: Image) -> list[str] | None:
        """None: its images are the site's."""
        return None

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
        """Composes ``apptainer exec``.

        Variables travel as APPTAINERENV_..., since the values of ``--env`` are split at commas; ``--no-eval``: or a
        shell would expand them. It lets in either nothing of the environment it is started in or all of it: so that has
        little in it.
        """
        check_spec(spec, self.abilities, self.name)
        if "HOME" in spec.env:
            raise CannotRun(
                f"{self.name} cannot run this: it sets HOME itself.", hint="Leave HOME out of the task's environment."
            )
        given = [f"APPTAINERENV_{name}={value}" for name, value in spec.environment.items() if name != "HOME"]
        cleans = not (spec.pass_env or spec.ranks_on_node)
        return [
            *([] if cleans else in_environment([], spec.from_host)),
            "env", *given, self.program, "exec", "--contain", "--no-eval",
            *(["--cleanenv"] if cleans else []),
            f"--pwd={spec.folder}",
            *([] if spec.network else ["--net", "--network=none"]),
            *(["--writable-tmpfs"] if spec.writable_root else []),
            *(["--nv"] if spec.gpus else []),
            *map(self.bind, spec.binds), *spec.more,
            *self.options.extra, spec.image, *spec.command,
        ]  # fmt: skip

    def end(self, spec: ContainerSpec) -> list[list[str]]:
        """Nothing: the processes are in the group and cgroup of who started them."""
        return []

    @property
    def program(self) -> str:
        """Its own name, unless the configuration says otherwise."""
        return self.options.program or "apptainer"
