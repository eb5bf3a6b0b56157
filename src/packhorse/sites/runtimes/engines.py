"""What Docker's and Podman's command lines have in common."""

from __future__ import annotations

import csv
import io

from packhorse.sites.runtimes import layouts
from packhorse.sites.runtimes.base import Ability, Bind, CannotRun, ContainerSpec, Image

#: Not ranks: containers have names, and are no children of the command that starts them, which is what a launcher would
#: end.
ABILITIES = frozenset(Ability) - {Ability.RANKS, Ability.SET_UP_BY_JOB, Ability.OWN_STORE}


def load(image: Image, program: str, name: str) -> list[list[str]]:
    """Loads an OCI layout under a name, which the layout itself need not have: by way of an archive that says it."""
    archive = f"{layouts.partial(image)}/image.tar"
    copy = ["skopeo", "copy", "--quiet", layouts.source(image), f"docker-archive:{archive}:{name}"]
    return [*layouts.begin(image), copy, [program, "load", "--quiet", f"--input={archive}"], layouts.begin(image)[0]]


def pull_options(image: Image) -> list[str]:
    """How a registry is to be spoken to."""
    return [
        *([] if image.tls else ["--tls-verify=false"]),
        *([f"--authfile={image.authfile}"] if image.authfile else []),
    ]


def mount(bind: Bind, runtime: str) -> str:
    """The value of ``--mount``, whose fields are those of a line of CSV: commas and quotes are quoted, colons mean
    nothing.
    """
    if any(character in path for path in (bind.source, bind.target) for character in "\r\n"):
        raise CannotRun(
            f"{runtime} cannot run this: it cannot bind a path with a line break ({bind.source!r} to {bind.target!r})."
        )
    line = io.StringIO()
    fields = ["type=bind", f"source={bind.source}", f"target={bind.target}", *(["readonly"] if bind.read_only else [])]
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def environment(spec: ContainerSpec) -> list[str]:
    """Options for what the image does not set itself.

    A name alone is taken from the environment that the runtime is started in.
    """
    given = {name: value for name, value in spec.environment.items() if spec.config.env.get(name) != value}
    return [*(f"--env={name}={value}" for name, value in given.items()), *(f"--env={name}" for name in spec.pass_env)]


def limits(spec: ContainerSpec) -> list[str]:
    """Memory in bytes, without swap beyond it, and cores."""
    memory = (
        [] if spec.memory_bytes is None else [f"--memory={spec.memory_bytes}b", f"--memory-swap={spec.memory_bytes}b"]
    )
    return [*memory, *([] if spec.cores is None else [f"--cpus={spec.cores:g}"])]


def common(spec: ContainerSpec) -> list[str]:
    """Options of a run that both understand.

    ``--init``: a process with number 1 ignores every signal that it does not handle, SIGTERM too. ``--entrypoint=``:
    the command already holds all that is to be executed. ``--pull=never``: a node that was not prepared says so, and
    asks no registry.
    """
    return [
        "--rm", "--init", "--pull=never", "--entrypoint=", f"--workdir={spec.folder}",
        f"--network={'host' if spec.network else 'none'}",
        *([] if spec.writable_root else ["--read-only"]),
        *(["--interactive"] if spec.stdin is not None else []),
        *([] if spec.name is None else [f"--name={spec.name}"]),
        *limits(spec),
    ]  # fmt: skip
