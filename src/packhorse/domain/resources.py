"""What a task asks for and what it is granted."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from packhorse.domain.errors import InvalidRequest, Problem
from packhorse.domain.numbers import Number, Truth, Whole

MB = 1_000_000
GB = 1_000_000_000


class Launch(StrEnum):
    """Who starts the ranks of a task."""

    ONCE = "once"
    """The command runs once, on the first node, and starts its ranks itself, if it has any."""
    RANKS = "ranks"
    """The command is started on every rank, by the site's launcher."""


class Estimates(StrEnum):
    """Whether memory and walltime of a task are decided from what tasks like it used."""

    OFF = "off"
    """What is asked for is granted, and nothing is remembered."""
    OBSERVE = "observe"
    """What is asked for is granted; what would have been asked for can be seen."""
    ON = "on"
    """What is asked for is a hint: less is granted where less was used, and more after a failure for want of it."""


class Resources(BaseModel):
    """Resources of one task. Per node where a task spans several. ``None`` means: the site's default, or no limit.

    The first four fields are those of a TES task; the rest travel in its ``backend_parameters``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    cpu_cores: Number = Field(default=1, gt=0, le=100_000, description="CPU cores")
    ram_gb: Number | None = Field(
        default=None, gt=0, le=1_000_000, description="memory in GB (1e9 bytes); the task is ended above it"
    )
    disk_gb: Number | None = Field(
        default=None, ge=0, le=1e9, description="scratch disk in GB, as TES has it; nothing goes by it yet"
    )
    preemptible: Truth | None = Field(
        default=None, description="may run where its node can be taken away, as TES has it; nothing goes by it yet"
    )
    walltime_s: Number | None = Field(default=None, gt=0, le=1e9, description="seconds; the task is ended after it")
    nodes: Whole = Field(default=1, ge=1, le=100_000, description="nodes; all other numbers are for each of them")
    ranks_per_node: Whole | None = Field(default=None, ge=1, le=100_000, description="MPI ranks on each node")
    cpus_per_rank: Whole | None = Field(default=None, ge=1, le=100_000, description="cores of each rank")
    launch: Launch = Field(default=Launch.ONCE, description="who starts the ranks")
    gpus: Whole = Field(default=0, ge=0, le=100_000, description="GPUs")
    site: str | None = Field(default=None, description="the site where it has to run")
    queue: str | None = Field(default=None, description="the queue (partition) where it has to run")
    estimates: Estimates | None = Field(
        default=None,
        description="whether memory and walltime are decided from what such tasks used before: on, observe or off",
    )
    hard: Truth | None = Field(
        default=None, description="true: memory and walltime as asked for are limits that no attempt exceeds"
    )

    @property
    def ranks_problem(self) -> str | None:
        """Why a launcher cannot start the ranks; None when it can, or need not."""
        wanted = self.ranks_on_a_node * self.cores_per_rank
        if self.launch is Launch.ONCE or wanted <= self.cpu_cores:
            return None
        return f"{self.ranks_on_a_node} ranks on a node take {wanted} cores, and 'cpu_cores' is {self.cpu_cores:g}"

    @property
    def starts_ranks(self) -> bool:
        """Whether a task of these, or a launcher for it, starts processes all over its allocation."""
        return self.nodes > 1 or self.launch is Launch.RANKS

    @property
    def memory_mb(self) -> int | None:
        """Memory in MB (1e6 bytes), rounded up to a whole one."""
        return None if self.ram_gb is None else max(1, round(self.ram_gb * 1000))

    @property
    def ranks(self) -> int:
        """Ranks on all nodes together; where nothing is said of ranks, as many as the cores are enough for."""
        return self.nodes * (self.ranks_per_node or max(1, int(self.cpu_cores / (self.cpus_per_rank or 1))))

    @property
    def ranks_on_a_node(self) -> int:
        """Ranks on each node."""
        return self.ranks // self.nodes

    @property
    def cores_per_rank(self) -> int:
        """Cores that each rank may use, of those of its node."""
        return self.cpus_per_rank or max(1, int(self.cpu_cores / self.ranks_on_a_node))

    def override(self, changes: dict[str, Any]) -> Resources:
        """These resources with ``changes`` laid over them, validated."""
        return Resources.model_validate({**self.model_dump(), **changes}) if changes else self


TES_FIELDS = ("cpu_cores", "ram_gb", "disk_gb", "preemptible")
BACKEND_FIELDS = tuple(name for name in Resources.model_fields if name not in TES_FIELDS)
#: What of a TES document's ``backend_parameters`` is no resource: how its task is given secrets (domain.secretuse).
SECRETS = "secrets"
#: All that they may say.
BACKEND_PARAMETERS = (*BACKEND_FIELDS, SECRETS)


def resources_from_tes(cpu_cores: float | None, ram_gb: float | None, disk_gb: float | None, preemptible: bool | None,
                       backend: dict[str, Any] | None, where: str) -> Resources:  # fmt: skip
    """Resources from the fields of ``tesResources``.

    Backend parameters may be strings, as TES has them; unknown ones are refused.
    """
    values: dict[str, Any] = {
        name: value
        for name, value in zip(TES_FIELDS, (cpu_cores, ram_gb, disk_gb, preemptible), strict=True)
        if value is not None
    }
    problems = []
    for name, value in (backend or {}).items():
        if name == SECRETS:
            continue
        if name in BACKEND_FIELDS:
            values[name] = value
        else:
            known = ", ".join(BACKEND_PARAMETERS)
            problems.append(Problem(f"{where}, backend_parameters", f"'{name}' is not known here.", f"Known: {known}."))
    if problems:
        raise InvalidRequest("The task asks for backend parameters that do not exist.", problems=problems)
    return Resources.model_validate(values)
