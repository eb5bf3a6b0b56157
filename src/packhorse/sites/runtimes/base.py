"""What a container runtime is asked for, and the protocol that each runtime follows.

Pure: values in, lists of arguments out.

What of an image counts, after TES 1.1 (tesExecutor) and the OCI image specification:

- TES: "the first argument is the program to execute (i.e. argv)". So a command replaces CMD *and* ENTRYPOINT; the
  ENTRYPOINT runs only
  where it is asked for (``uses_entrypoint``), and then before the command. Without a command, the image's own is run.
- ENV of the image applies, the task's environment over it. WORKDIR is the default folder, as TES says.
- USER is not used: whatever a task writes must belong to the user who submitted it.
- HOME is the task's folder unless image or task say otherwise: no other folder is known to be writable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from packhorse.domain.errors import InvalidRequest

#: What Docker and Podman use for an image that sets no PATH.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotRun(InvalidRequest):
    """This runtime cannot do what a container needs, or its syntax cannot express it.

    The message says what, and which runtime.
    """

    code = "cannot_run_in_container"


class Ability(StrEnum):
    """What not every runtime can do.

    A spec that asks for more than a runtime can is refused with a sentence, never weakened.
    """

    IMAGES = "images"
    """Runs images at all; the host does not."""
    READ_ONLY_BINDS = "read_only_binds"
    """Can keep the task from writing to a folder that it is given."""
    READ_ONLY_ROOT = "read_only_root"
    """The image's files cannot be changed."""
    WRITABLE_ROOT = "writable_root"
    """The image's files can be changed for the time of the task; other tasks do not see it."""
    NEW_MOUNT_POINTS = "new_mount_points"
    """Binds to paths that the image does not have. Without it, prepare must make them, or the image must have them."""
    NO_NETWORK = "no_network"
    """Can take the network away."""
    LIMITS = "limits"
    """Limits memory and cores itself; elsewhere the processes stay in the cgroup of who starts them, which limits them.
    """
    GPUS = "gpus"
    """Gives the node's GPUs to the container."""
    RANKS = "ranks"
    """A launcher may start it on many nodes, once for each rank of one program: images are the site's, and containers
    need no name.
    """
    SET_UP_BY_JOB = "set_up_by_job"
    """The batch scheduler sets the image of a job up on its nodes, where ``directives`` name it (Shifter's plugin)."""
    OWN_STORE = "own_store"
    """Keeps prepared images in a store of its own at the site. Elsewhere they are a folder of ours."""


#: Variables by which launchers (srun, mpirun) and MPI tell a rank which one it is, and where the others are.
LAUNCHER_VARIABLES = ("PMI*", "PMIX*", "OMPI*", "SLURM*", "PALS*", "MPI*")
#: By which a batch scheduler tells which of the node's GPUs are the job's.
GPU_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
)
#: What a runtime's own program needs.
_PROGRAM_VARIABLES = ("PATH", "HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR")


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The part of an OCI image configuration that a runner needs."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    workdir: str | None = None

    @classmethod
    def from_oci(cls, document: Mapping[str, Any]) -> ImageConfig:
        """From an image's configuration as JSON (``skopeo inspect --config``); what is missing or null is empty."""
        config = document.get("config") or {}
        env = dict(item.partition("=")[::2] for item in config.get("Env") or ())
        words = {name: tuple(config.get(name) or ()) for name in ("Entrypoint", "Cmd")}
        return cls(words["Entrypoint"], words["Cmd"], env, config.get("User") or None, config.get("WorkingDir") or None)


@dataclass(frozen=True, slots=True)
class Image:
    """An image to be prepared at a site.

    ``name`` is registry and repository, ``digest`` that of its manifest (``sha256:...``), ``folder`` where its prepared
    form goes: a folder of its own that does not exist yet. ``layout`` is the path of an OCI layout at the site that
    holds it as ``tag``; without one it comes from the registry. ``mount_points`` are folders that shall exist in it,
    for runtimes without NEW_MOUNT_POINTS, and ``top_folders`` some of its root that are made where it has nothing of
    that name. ``mounted`` is where a node mounts it, for a runtime that needs that: a folder on the node's own
    filesystem. ``authfile`` is a file with credentials of registries at the site (containers-auth.json(5)). ``id`` is
    what the site's image gateway calls it, if one told.
    """

    name: str
    digest: str
    folder: str
    tag: str | None = None
    layout: str | None = None
    mount_points: tuple[str, ...] = ()
    mounted: str | None = None
    tls: bool = True
    authfile: str | None = None
    id: str | None = None
    top_folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host that the container sees. Both paths are absolute."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One command to run in one container.

    ``image`` is what ``Runtime.prepared`` says (empty on the host). ``pass_env`` are names of variables whose values
    the runtime takes from the environment it is started in, since they are known only there (PACKHORSE_TASK).
    ``ranks_on_node``: so many ranks of one program are started like this on each node, and take LAUNCHER_VARIABLES
    along; 0 is a command of its own. ``uid`` and ``gid`` are the submitting user's. ``stdin`` is the file on the host
    that whoever starts the runtime connects to its standard input, None for none. ``name`` must be unique on a node;
    ``cgroup_parent`` is the cgroup that the container must stay in, as /proc/self/cgroup says it.
    """

    argv: tuple[str, ...]
    image: str = ""
    config: ImageConfig = field(default_factory=ImageConfig)
    uses_entrypoint: bool = False
    binds: tuple[Bind, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    pass_env: tuple[str, ...] = ()
    ranks_on_node: int = 0
    workdir: str | None = None
    uid: int = 0
    gid: int = 0
    memory_bytes: int | None = None
    cores: float | None = None
    gpus: int = 0
    network: bool = True
    writable_root: bool = False
    stdin: str | None = None
    name: str | None = None
    cgroup_parent: str | None = None
    more: tuple[str, ...] = ()
    """Further options as they are, behind those of ``binds``: a place to be filled with what ``Runtime.bind`` says."""

    @property
    def command(self) -> tuple[str, ...]:
        """What is executed in the container."""
        return (
            *(self.config.entrypoint if self.uses_entrypoint or not self.argv else ()),
            *(self.argv or self.config.cmd),
        )

    @property
    def folder(self) -> str:
        """Where it is executed."""
        return self.workdir or self.config.workdir or "/"

    @property
    def environment(self) -> dict[str, str]:
        """The image's environment with the task's over it; not what ``pass_env`` names."""
        given = {"PATH": DEFAULT_PATH, "HOME": self.folder, **self.config.env, **self.env}
        return {name: value for name, value in given.items() if name not in self.pass_env}

    @property
    def from_host(self) -> tuple[str, ...]:
        """What a runtime may find in the environment that it is started in, where it cannot choose what of that the
        container sees.
        """
        ranks, gpus = LAUNCHER_VARIABLES if self.ranks_on_node else (), GPU_VARIABLES if self.gpus else ()
        return (*_PROGRAM_VARIABLES, *self.pass_env, *ranks, *gpus)

    def on_host(self, path: str) -> str | None:
        """The host's path for a path in the container (a TES stdin or stdout); None where no bind has it."""
        best = max(
            (bind for bind in self.binds if is_below(path, bind.target)),
            key=lambda bind: len(bind.target),
            default=None,
        )
        return None if best is None else best.source.rstrip("/") + path[len(best.target.rstrip("/")) :]


def is_below(path: str, folder: str) -> bool:
    """Whether an absolute path is ``folder`` itself or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """What a site's configuration adds.

    ``extra`` are further options of the runtime's run command, such as ``--runtime=runc``.
    """

    program: str | None = None
    extra: tuple[str, ...] = ()
    keep_id: bool = False
    """Podman: the user keeps the own uid inside.

    It takes subordinate ids; by default the user is root inside, and only there.
    """
    squashfs: bool = False
    """Charliecloud: an image is one SquashFS file, which a parallel filesystem likes better than a tree; nodes mount it
    (squashfuse).
    """


class Runtime(Protocol):
    """Composes the commands of one container runtime. Who carries them out is not its business."""

    @property
    def name(self) -> str:
        """As ``registry.runtime`` knows it."""
        ...

    @property
    def program(self) -> str:
        """Its program, by which a node tells whether it has this runtime; empty where there is none."""
        ...

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it can do beyond running a command."""
        ...

    @property
    def per_node(self) -> bool:
        """Whether an image is prepared on each node (Docker's and Podman's own storage), and not once for the site."""
        ...

    def prepared(self, image: Image) -> str:
        """What ``ContainerSpec.image`` must be once the commands of ``prepare`` have succeeded. Raises CannotRun."""
        ...

    def prepare(self, image: Image) -> list[list[str]]:
        """The commands, to be run in this order, that bring an image into the form this runtime wants.

        Raises CannotRun.

        A path in ``prepared`` appears whole or not at all; a preparation that was interrupted may be repeated.
        """
        ...

    def has(self, image: Image) -> list[str] | None:
        """A command that succeeds on a node where ``prepare`` need not run; None for a runtime whose images are the
        site's.
        """
        ...

    def mount(self, image: Image) -> list[str] | None:
        """A command that serves a prepared image's files at ``image.mounted`` of its node until it is ended; None where
        none is needed.
        """
        ...

    def bind(self, bind: Bind) -> str:
        """The option of the run command for one bind. Raises CannotRun."""
        ...

    def directives(self, image: str, binds: Sequence[Bind]) -> list[str]:
        """Options of a job that has ``image``, as ``prepared`` says, and ``binds`` set up on its nodes; none without
        SET_UP_BY_JOB. Raises CannotRun.
        """
        ...

    def wrap(self, spec: ContainerSpec) -> list[str]:
        """The command that runs ``spec``; its tail is ``spec.command``, unchanged. Raises CannotRun."""
        ...

    def end(self, spec: ContainerSpec) -> list[list[str]]:
        """Commands that end whatever is left after the process started by ``wrap`` was killed.

        None where all dies with its group.
        """
        ...
