"""No container: the host's own programs, in the environment of who starts them with the task's over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from packhorse.sites.runtimes.base import Ability, Bind, CannotRun, ContainerSpec, Image, RuntimeOptions
from packhorse.sites.runtimes.checks import check_spec


@dataclass(frozen=True, slots=True)
class NoRuntime:
    """The host.

    What lies elsewhere in a container has its own path here: binds are refused unless both paths are the same.
    """

    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    name: str = "none"
    program: str = ""
    abilities: frozenset[Ability] = frozenset()
    per_node: bool = False

    def prepared(self, image: Image) -> str:
        """Refused."""
        raise CannotRun(f"{image.name} cannot be prepared: this site runs no containers.")

    def prepare(self, image: Image) -> list[list[str]]:
        """Refused."""
        raise CannotRun(f"{image.name} cannot be prepared: this site runs no containers.")

    def has(self, image: Image) -> list[str] | None:
        """None: its images are the site's."""
        return None

    def mount(self, image: Image) -> list[str] | None:
        """None is needed."""
        return None

    def bind(self, bind: Bind) -> str:
        """Refused: the host's folders are where they are."""
        raise CannotRun(f"{bind.source} cannot be bound: this site runs no containers.")

    def directives(self, image: str, binds: Sequence[Bind]) -> list[str]:
        """None: a job has no image of its own."""
        return []

    def wrap(self, spec: ContainerSpec) -> list[str]:
        """The command itself; where folder or environment are asked for, behind env(1), which would take a program with
        '=' for one.
        """
        check_spec(spec, self.abilities, self.name)
        for bind in spec.binds:
            if bind.source != bind.target:
                raise CannotRun(
                    f"{self.name} cannot run this: without a container, {bind.source!r} cannot be seen as"
                    f" {bind.target!r}."
                )
        options = [] if spec.workdir is None else [f"--chdir={spec.workdir}"]
        given = [f"{name}={value}" for name, value in spec.env.items() if name not in spec.pass_env]
        if not options and not given:
            return list(spec.command)
        if "=" in spec.command[0]:
            raise CannotRun(f"{self.name} cannot run this: the name of the program, {spec.command[0]!r}, contains '='.")
        return ["env", *options, "--", *given, *spec.command]

    def end(self, spec: ContainerSpec) -> list[list[str]]:
        """Nothing: the processes are in the group and cgroup of who started them."""
        return []
