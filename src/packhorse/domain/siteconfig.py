"""A site as the configuration file describes it: ``[sites.NAME]``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from packhorse.domain.numbers import Number, Truth, Whole
from packhorse.domain.resources import Estimates
from packhorse.domain.section import Section

SITE_NAME = r"^[a-z][a-z0-9_-]{0,63}$"


def _variable_name(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise ValueError(f"{name!r} is not the name of a variable")
    return name


def _variable_value(value: str) -> str:
    if "\0" in value:
        raise ValueError("the value of a variable cannot contain the character NUL")
    return value


def _passed_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*\*?", name):
        raise ValueError(
            f"{name!r} is neither the name of a variable nor the beginning of one with a '*', such as 'LMOD_*'"
        )
    if name.startswith("PACKHORSE_") or (name.endswith("*") and "PACKHORSE_".startswith(name[:-1])):
        raise ValueError(f"{name!r} would pass on Packhorse's own settings, and a token among them")
    return name


VariableName = Annotated[str, AfterValidator(_variable_name)]
VariableValue = Annotated[str, AfterValidator(_variable_value)]
PassedName = Annotated[str, AfterValidator(_passed_name)]


class SiteConfig(Section):
    """``[sites.NAME]``: a place where tasks run.

    A name is small letters, digits, ``-`` and ``_``; it begins with a letter.
    """

    transport: str = "local"
    """``local``: commands and files of this machine. ``ssh``: those of a login node."""
    scheduler: str = "local"
    """``local``: this machine runs the tasks. With the transport ``ssh`` it is ``slurm``."""
    runtime: str | None = None
    """The container runtime: ``apptainer``, ``charliecloud``, ``docker``, ``podman``, ``podman_hpc`` or ``shifter``.
    Without it, tasks run on the host's own programs, and those that name an image are refused.
    """
    runtime_program: str | None = None
    """Its program, where it is not on the PATH of the nodes."""
    runtime_options: list[str] = []
    """Further options of its run command: ``["--runtime=runc"]``."""
    squashfs: Truth = False
    """Charliecloud: images are SquashFS files, which each node mounts."""
    binds: list[Path] = []
    """Folders of the site that containers see beside ``root``, under the same paths."""
    registry: str | None = None
    """The site's own registry, as ``host:port/prefix``: images are copied there first, and taken from there."""
    images: Path | None = None
    """Where prepared images are kept; without it, ``root/images``."""
    image_tmp: Path | None = None
    """A folder for what is only needed while an image is prepared; without it, ``root/tmp``."""
    image_quota_gb: Number | None = Field(default=None, gt=0)
    """Room for prepared images: the least recently used leave, never one in use. Without it, there is no limit."""
    image_patience_s: Number = Field(default=3600.0, ge=0)
    """For how many seconds a registry that is away, or a disk that is full, is waited for; then the tasks that want the
    image fail.
    """
    architecture: str = "amd64"
    """The processors of its nodes, as OCI calls them."""
    shifter_gateway: str | None = Field(default=None, pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$")
    """Shifter: the URL of the site's image gateway, which then prepares images; without it, ``shifterimg`` at the site
    asks it.
    """
    shifter_system: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]+$")
    """What that gateway calls this system. Required with ``shifter_gateway``."""
    host: str | None = None
    """The login node, or its name in the SSH configuration, where its keys and jump hosts come from. Required with the
    transport ``ssh``.
    """
    port: Whole | None = Field(default=None, ge=1, le=65535)
    """Its SSH port; without it, that of the SSH configuration, else 22."""
    user: str | None = None
    """The user there; without it, that of the SSH configuration, else this one."""
    key_file: Path | None = None
    """The private key; without it, those of the SSH configuration and of the agent."""
    known_hosts: Path | None = None
    """The file of host keys to trust; without it, that of the SSH configuration, else ~/.ssh/known_hosts."""
    ssh_config: Path | None = None
    """The SSH configuration file; without it, ~/.ssh/config."""
    root: Path | None = None
    """A folder that all nodes share, as an absolute path. Required with the transport ``ssh``; else, without it, one
    below the home folder.
    """
    python: str | None = None
    """Python 3.6 or newer, on login and compute nodes; without it, ``python3``, and with the scheduler ``local`` that
    of Packhorse.
    """
    cores: Whole | None = Field(default=None, gt=0)
    """Cores to use, with the scheduler ``local``; without it, all."""
    memory_gb: Number | None = Field(default=None, gt=0)
    """Memory to use, with the scheduler ``local``; without it, nine tenths."""
    walltime_s: Number | None = Field(default=None, gt=0)
    """Walltime of an allocation when nothing is known of its tasks, in seconds; without it, an hour."""
    queue: str | None = None
    """The partition for tasks that name none; without it, the scheduler's default."""
    account: str | None = None
    """The account to charge; without it, your default one."""
    qos: str | None = None
    """The quality of service."""
    constraint: str | None = None
    """Node features, as ``sbatch --constraint`` takes them."""
    reservation: str | None = None
    """A reservation to run in."""
    submit_options: list[str] = []
    """Further arguments of the submit command: ``["--licenses=scratch"]``."""
    launcher: list[str] = []
    """What starts the ranks of a task with ``launch: ranks``, in place of ``srun`` with its usual options (``mpirun``
    with the scheduler ``local``): ``["srun", "--mpi=pmix", "--nodes={nodes}", "--ntasks={ranks}"]``; also
    ``{ranks_per_node}`` and ``{cores_per_rank}``.
    """
    env: dict[VariableName, VariableValue] = {}
    """Variables for every task, as a table ``[sites.NAME.env]``."""
    env_pass: list[PassedName] = []
    """What else passes from the environment of Packhorse, or of one's login at the site: names, or beginnings of names:
    ``["LMOD_*"]``.
    """
    max_allocations: Whole = Field(default=4, ge=1)
    """Jobs at a time."""
    max_nodes: Whole | None = Field(default=None, ge=1)
    """Nodes at a time, of all jobs together; without it, there is no limit."""
    fetch: Literal["engine", "site"] = "engine"
    """Who fetches data by URL: the engine, which brings it there, or the login node, which then needs a way to the
    internet.
    """
    data_quota_gb: Number | None = Field(default=None, gt=0)
    """Room for data fetched by URL: what was not used for longest leaves. Without it, there is no limit."""
    reuse: Truth = False
    """Whether runs that do not say so themselves take results of earlier tasks of their user, where nothing has changed
    (docs/reuse.md).
    """
    estimates: Estimates | None = None
    """Whether memory and walltime of tasks here are decided from what tasks like them used; without it, as
    ``[estimates]`` says.
    """
    linger_s: Number = Field(default=10.0, ge=0)
    """How many seconds an agent without work waits for more before it gives its node back."""
