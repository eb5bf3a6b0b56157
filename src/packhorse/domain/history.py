"""What an attempt at a task used, as it is remembered, exported and imported: without users' names and texts."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from packhorse.domain.failures import FailureClass


class Features(BaseModel):
    """What was known of a task before it started.

    ``inputs`` are bytes by the name of the input; ``compressed`` names those that are.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid")

    numbers: dict[str, float] = {}
    categories: dict[str, str] = {}
    """Digests: only whether two are equal counts."""
    inputs: dict[str, int] = {}
    compressed: list[str] = []


class HistoryRow(BaseModel):
    """One attempt that ended, or one of several that were alike (``stands_for``). None is: not known, or no limit."""

    model_config = ConfigDict(defer_build=True, extra="forbid")

    ended_at: float = Field(ge=0, lt=1e11)
    owner: str = Field(default="", pattern="^[0-9a-f]{0,16}$")
    """Stands for its user: a digest with a secret of the store where it ran."""
    app: str = Field(min_length=1, max_length=300)
    version: str = Field(default="", max_length=100)
    """With the digest of the app's folder."""
    part: str = Field(default="", pattern="^(gather)?$")
    step: str = Field(default="", max_length=100)
    attempt: int = Field(default=1, ge=1, lt=1 << 31)
    image: str | None = Field(default=None, max_length=80)
    """Digest."""
    executor: str = Field(default="", max_length=40)
    """Container runtime, or 'host'; and the kind of session."""
    site: str = Field(default="", max_length=64)
    node_type: str = Field(default="", max_length=100)
    """Its processor."""
    features: Features = Features.model_construct()
    asked_cores: float | None = Field(default=None, ge=0, lt=1e9)
    asked_memory_mb: float | None = Field(default=None, ge=0, lt=1e12)
    asked_walltime_s: float | None = Field(default=None, ge=0, lt=1e11)
    nodes: int = Field(default=1, ge=1, lt=1 << 31)
    cores: float | None = Field(default=None, ge=0, lt=1e9)
    """Granted on each node, as the next two."""
    memory_mb: float | None = Field(default=None, ge=0, lt=1e12)
    walltime_s: float | None = Field(default=None, ge=0, lt=1e11)
    peak_memory: int | None = Field(default=None, ge=0, lt=1 << 62)
    """Bytes."""
    cpu_s: float | None = Field(default=None, ge=0, lt=1e12)
    wall_s: float | None = Field(default=None, ge=0, lt=1e11)
    read_bytes: int | None = Field(default=None, ge=0, lt=1 << 62)
    write_bytes: int | None = Field(default=None, ge=0, lt=1 << 62)
    disk_bytes: int | None = Field(default=None, ge=0, lt=1 << 62)
    """The outputs that it left: at least this."""
    failure: FailureClass | None = None
    memory_censored: bool = False
    """It would have used more: at least this."""
    time_censored: bool = False
    stands_for: int = Field(default=1, ge=1, lt=1 << 31)
