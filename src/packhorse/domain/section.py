"""What the sections of ``packhorse.toml`` have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the file: a key that it does not have is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
